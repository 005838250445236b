/*
 * Inside of tensors, for the rest of the library. Functions return statuses and references as
 * include/tensorc/tensor.h says; thread safety is the same.
 */
#ifndef TC_CORE_TENSOR_H
#define TC_CORE_TENSOR_H

#include <stdatomic.h>
#include <stdbool.h>

#include <tensorc/tensor.h>

#include "base/text.h"

/** What can be asked of where the elements of a tensor lie. */
typedef struct tc_tensor_source {
    /** DATA_LOSS when the elements are not what was once written. Thread-safe. */
    tc_status (*check)(void *context);
    /** Takes the pages out of memory; reading brings them back. Thread-safe. */
    void (*forget)(void *context);
} tc_tensor_source;

/**
 * Everything but `references` and `read_only` is constant from creation on. The storage is one of
 *   - a block that follows the header in the same allocation (small tensors),
 *   - a block of its own, freed by `deleter`,
 *   - caller memory, given back by `deleter` (which may be NULL),
 *   - the storage of `base`, to which this tensor holds a reference (reshaped views).
 */
struct tc_tensor {
    atomic_size_t references;
    tc_dtype dtype;
    atomic_bool read_only; /* imported memory, or the elements of a constant */
    tc_shape shape;        /* every dimension known, without names */
    int64_t size;
    size_t bytes;
    void *data; /* never NULL */
    void (*deleter)(void *context);
    void *context;
    const tc_tensor_source *source; /* of a mapped file, called with `context`; NULL: memory */
    tc_tensor *base;                /* never itself a view */
};

/** As tc_tensor_create, with all bits zero. */
TC_MUST_USE tc_status tc_tensor_create_zero(tc_dtype dtype, tc_shape shape, tc_tensor **out);

/** As tc_tensor_wrap for memory that nobody may write: never give such a tensor as an output. */
TC_MUST_USE tc_status tc_tensor_wrap_read_only(tc_dtype dtype, tc_shape shape, const void *data,
                                               void (*deleter)(void *context), void *context,
                                               tc_tensor **out);

/**
 * Checks dtype and shape of a tensor to be and gives its element count and bytes.
 * Errors: INVALID_ARGUMENT (dtype, shape, unknown dimension), RESOURCE_EXHAUSTED (bytes do not fit
 * in memory).
 */
TC_MUST_USE tc_status tc_tensor_measure(tc_dtype dtype, const tc_shape *shape, int64_t *size,
                                        size_t *bytes);

/**
 * True when this is the only reference and the storage is shared with no view: then the holder may
 * write.
 */
bool tc_tensor_is_unique(const tc_tensor *tensor);

/** From now on nobody writes the elements: a graph relies on them. Thread-safe. */
void tc_tensor_freeze(tc_tensor *tensor);

/** True when the storage must not be written. */
bool tc_tensor_is_read_only(const tc_tensor *tensor);

/**
 * True for elements in a mapped file, which nobody can write: they may be shared instead of copied.
 */
bool tc_tensor_is_mapped(const tc_tensor *tensor);

/** Checks the elements of a mapped tensor, once; TC_OK for any other. Thread-safe. */
TC_MUST_USE tc_status tc_tensor_check(const tc_tensor *tensor);

/** Gives memory back to the system that a mapped tensor can do without until it is read again. */
void tc_tensor_forget(const tc_tensor *tensor);

/** Appends what tc_tensor_print prints, without the final newline. */
void tc_tensor_format(const tc_tensor *tensor, tc_text *text);

#endif
