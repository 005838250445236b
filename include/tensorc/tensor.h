/*
 * Tensors: dense row-major arrays over reference-counted storage.
 *
 * A tensor is immutable in dtype and shape. Its elements may be written through tc_tensor_data by
 * whoever holds the only reference; the library never writes to a tensor it was given except as an
 * output of a run. All functions are thread-safe for different tensors; tc_tensor_retain and
 * tc_tensor_release are thread-safe for one tensor.
 */
#ifndef TENSORC_TENSOR_H
#define TENSORC_TENSOR_H

#include <stdio.h>

#include <tensorc/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_tensor tc_tensor;

/**
 * Creates a tensor with uninitialized elements, aligned to 64 bytes. Every dimension of `shape`
 * must be known. The caller owns one reference to `*out`; on failure `*out` is NULL. Errors:
 * INVALID_ARGUMENT (dtype, shape), RESOURCE_EXHAUSTED (memory).
 */
TC_MUST_USE TC_API tc_status tc_tensor_create(tc_dtype dtype, tc_shape shape, tc_tensor **out);

/** As tc_tensor_create, with the elements copied from `data`, dense row-major, tc_tensor_bytes
 * long. */
TC_MUST_USE TC_API tc_status tc_tensor_create_copy(tc_dtype dtype, tc_shape shape, const void *data,
                                                   tc_tensor **out);

/**
 * Wraps caller memory without copying. `deleter(context)` is called when the last reference goes,
 * on the thread that released it; NULL when the caller keeps the memory alive by other means.
 * `data` must be aligned to the element size. On failure the deleter is not called.
 */
TC_MUST_USE TC_API tc_status tc_tensor_wrap(tc_dtype dtype, tc_shape shape, void *data,
                                            void (*deleter)(void *context), void *context,
                                            tc_tensor **out);

/** A rank-0 tensor holding `value` converted to `dtype`. */
TC_MUST_USE TC_API tc_status tc_tensor_create_scalar(tc_dtype dtype, double value, tc_tensor **out);

/** Adds a reference and returns `tensor`. NULL is allowed. */
TC_API tc_tensor *tc_tensor_retain(tc_tensor *tensor);
/** Drops a reference; the last one frees the tensor. NULL is allowed. */
TC_API void tc_tensor_release(tc_tensor *tensor);

TC_API tc_dtype tc_tensor_dtype(const tc_tensor *tensor);
/** Shape, borrowed from the tensor. */
TC_API const tc_shape *tc_tensor_shape(const tc_tensor *tensor);
/** Number of elements. */
TC_API int64_t tc_tensor_size(const tc_tensor *tensor);
/** Bytes of all elements. */
TC_API size_t tc_tensor_bytes(const tc_tensor *tensor);
/** Elements, borrowed from the tensor; NULL only when the tensor is NULL. */
TC_API void *tc_tensor_data(const tc_tensor *tensor);

/** A tensor of the same elements with another shape of equal size; shares the storage. */
TC_MUST_USE TC_API tc_status tc_tensor_reshape(tc_tensor *tensor, tc_shape shape, tc_tensor **out);

/**
 * Element `index` (row-major) as a double; 0 when the index or the tensor is invalid. For printing
 * and tests, not for speed. Integers beyond 2^53 are rounded.
 */
TC_API double tc_tensor_get(const tc_tensor *tensor, int64_t index);
/** Sets element `index` (row-major), converting from double. Errors: OUT_OF_RANGE,
 * INVALID_ARGUMENT. */
TC_MUST_USE TC_API tc_status tc_tensor_set(tc_tensor *tensor, int64_t index, double value);

/**
 * Prints dtype, shape and elements in nested brackets; long dimensions are shortened to their ends.
 * Errors: INVALID_ARGUMENT, UNAVAILABLE where writing to `file` fails.
 */
TC_MUST_USE TC_API tc_status tc_tensor_print(const tc_tensor *tensor, FILE *file);

/*
 * DLPack 1.0. `struct DLManagedTensorVersioned` is the type of the DLPack standard; include its
 * header, or any framework's copy, to look inside.
 */
struct DLManagedTensorVersioned;

/** Exports without copying; the result holds a reference until its deleter is called. */
TC_MUST_USE TC_API tc_status tc_tensor_to_dlpack(tc_tensor *tensor,
                                                 struct DLManagedTensorVersioned **out);

/**
 * Imports a CPU tensor. On success the library owns `managed` and calls its deleter when the last
 * reference goes; on failure the caller keeps it. Strided (not dense row-major) tensors are refused
 * with FAILED_PRECONDITION unless `copy_strided`, which makes a dense copy and calls the deleter at
 * once. Errors: INVALID_ARGUMENT, UNIMPLEMENTED (device, dtype, lanes, version).
 */
TC_MUST_USE TC_API tc_status tc_tensor_from_dlpack(struct DLManagedTensorVersioned *managed,
                                                   bool copy_strided, tc_tensor **out);

/*
 * Memory. Every byte the library allocates on the host comes from one replaceable allocator.
 */
typedef struct tc_allocator {
    /** Returns `size` bytes aligned to `alignment` (a power of two), or NULL. Called from any
     * thread. */
    void *(*allocate)(void *context, size_t size, size_t alignment);
    /** Frees what `allocate` returned. Called from any thread. */
    void (*deallocate)(void *context, void *memory);
    void *context;
} tc_allocator;

/**
 * Replaces the process-wide host allocator; NULL restores the default. Call it while no object of
 * the library exists. Not thread-safe.
 */
TC_API void tc_allocator_set(const tc_allocator *allocator);

/** `size` bytes from that allocator, aligned to 64; NULL when exhausted. Size 0 gives a pointer
 * too. Thread-safe. */
TC_API void *tc_memory_allocate(size_t size);
/** Frees what tc_memory_allocate gave. NULL is allowed. Thread-safe. */
TC_API void tc_memory_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif
