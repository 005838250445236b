#include "base/alloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define TC_MALLOC_ALIGNMENT 16

static void *default_allocate(void *context, size_t size, size_t alignment)
{
    (void)context;
    if (alignment <= TC_MALLOC_ALIGNMENT)
        return malloc(size);
    return aligned_alloc(alignment, tc_align_up(size, alignment)); /* C11 wants a multiple */
}

static void default_deallocate(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static const tc_allocator default_allocator = {default_allocate, default_deallocate, NULL};

/*
 * The one process-wide setting of this folder: memory is freed far from where a runtime handle
 * would be at hand.
 */
static tc_allocator current = {default_allocate, default_deallocate, NULL};

void tc_allocator_set(const tc_allocator *allocator)
{
    if (allocator && (!allocator->allocate || !allocator->deallocate)) {
        tc_fail(TC_INVALID_ARGUMENT, "tc_allocator_set: a function of the allocator is NULL; the "
                                     "allocator in use stays");
        return;
    }
    current = allocator ? *allocator : default_allocator;
}

void *tc_alloc_aligned(size_t size, size_t alignment)
{
    assert(alignment && (alignment & (alignment - 1)) == 0);
    if (size > PTRDIFF_MAX) /* pointers within such a block could not be subtracted */
        return NULL;
    if (alignment <
        TC_MALLOC_ALIGNMENT) /* posix_memalign, for one, refuses less than a pointer's */
        alignment = TC_MALLOC_ALIGNMENT;
    return current.allocate(current.context, size ? size : 1, alignment);
}

void *tc_alloc(size_t size)
{
    return tc_alloc_aligned(size, TC_MALLOC_ALIGNMENT);
}

void *tc_alloc_zero(size_t count, size_t size)
{
    size_t bytes;
    if (!tc_mul_size(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    if (current.allocate == default_allocate) /* fresh pages from the system are zero already */
        return calloc(1, bytes ? bytes : 1);
    void *memory = tc_alloc(bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

void *tc_realloc(void *memory, size_t used, size_t size)
{
    assert(used <= size);
    void *moved = tc_alloc(size);
    if (!moved)
        return NULL;
    if (memory && used)
        memcpy(moved, memory, used);
    tc_free(memory);
    return moved;
}

void tc_free(void *memory)
{
    if (memory)
        current.deallocate(current.context, memory);
}

char *tc_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = tc_alloc(size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

bool tc_vector_reserve_bytes(void **data, size_t *capacity, size_t count, size_t element)
{
    if (count <= *capacity)
        return true;
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < count)
        wanted = wanted > SIZE_MAX / 2 ? count : wanted * 2;
    size_t bytes;
    if (!tc_mul_size(wanted, element, &bytes))
        return false;
    /*
     * Copied as bytes: what `data` points at is declared as a pointer to the element type, not as
     * void *.
     */
    void *old;
    memcpy(&old, data, sizeof old);
    void *moved = tc_realloc(old, *capacity * element, bytes);
    if (!moved)
        return false;
    memcpy(data, &moved, sizeof moved);
    *capacity = wanted;
    return true;
}

void *tc_memory_allocate(size_t size)
{
    return tc_alloc_aligned(size ? size : 1, TC_ALIGNMENT);
}

void tc_memory_free(void *memory)
{
    tc_free(memory);
}
