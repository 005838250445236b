/*
 * Host memory. Everything goes through the replaceable allocator of tensor.h; NULL means exhausted.
 */
#ifndef TC_BASE_ALLOC_H
#define TC_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/tensor.h>

/** Alignment of tensor storage and arenas: a cache line and an AVX-512 register. */
#define TC_ALIGNMENT 64

void *tc_alloc(size_t size);                           /* aligned to 16 */
void *tc_alloc_aligned(size_t size, size_t alignment); /* power of two */
void *tc_alloc_zero(size_t count, size_t size);        /* NULL on overflow too */
/**
 * Moves `used` bytes of `memory` (may be NULL) into a new block of `size` bytes; on NULL the old
 * block is unchanged.
 */
void *tc_realloc(void *memory, size_t used, size_t size);
void tc_free(void *memory); /* for all of the above; NULL allowed */
char *tc_strdup(const char *text);

/* Checked arithmetic: false on overflow, then *out is unchanged. */
static inline bool tc_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool tc_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool tc_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline size_t tc_align_up(size_t value, size_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/*
 * Growable array: `TC_VECTOR(int) v = {0};` then tc_vector_push(&v, 3) (false when memory is
 * exhausted).
 */
#define TC_VECTOR(type)  \
    struct {             \
        type *data;      \
        size_t count;    \
        size_t capacity; \
    }

bool tc_vector_reserve_bytes(void **data, size_t *capacity, size_t count, size_t element);

#define tc_vector_reserve(vector, wanted)                                            \
    tc_vector_reserve_bytes((void **)&(vector)->data, &(vector)->capacity, (wanted), \
                            sizeof *(vector)->data)
#define tc_vector_push(vector, item)                          \
    (tc_vector_reserve(vector, (vector)->count + 1)           \
         ? ((vector)->data[(vector)->count++] = (item), true) \
         : false)
#define tc_vector_free(vector) \
    (tc_free((vector)->data), (vector)->data = NULL, (vector)->count = (vector)->capacity = 0)

#endif
