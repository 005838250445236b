#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

#define TC_ARENA_FIRST_BLOCK   ((size_t)4 << 10)
#define TC_ARENA_LARGEST_BLOCK ((size_t)1 << 20)

struct tc_arena_block {
    tc_arena_block *next; /* the first block is the one being filled */
    size_t size;          /* with this header */
    size_t used;
};

static void *take(tc_arena_block *block, size_t size, size_t alignment)
{
    uintptr_t base = (uintptr_t)block;
    size_t start = tc_align_up(base + block->used, alignment) - base;
    if (start > block->size || size > block->size - start)
        return NULL;
    block->used = start + size;
    return (char *)block + start;
}

void *tc_arena_alloc_aligned(tc_arena *arena, size_t size, size_t alignment)
{
    assert(alignment && (alignment & (alignment - 1)) == 0 && alignment <= TC_ALIGNMENT);
    tc_arena_block *head = arena->blocks;
    void *memory = head ? take(head, size, alignment) : NULL;
    if (memory)
        return memory;
    size_t bytes = TC_ARENA_FIRST_BLOCK;
    if (head)
        bytes = head->size >= TC_ARENA_LARGEST_BLOCK / 2 ? TC_ARENA_LARGEST_BLOCK : head->size * 2;
    size_t least;
    if (!tc_add_size(size, sizeof(tc_arena_block) + alignment, &least))
        return NULL;
    bool single = least > bytes;
    if (single)
        bytes = least;
    tc_arena_block *block = tc_alloc_zero(1, bytes);
    if (!block)
        return NULL;
    block->size = bytes;
    block->used = sizeof *block;
    if (single && head) { /* filled at once: the free end of the head stays in use */
        block->next = head->next;
        head->next = block;
    } else {
        block->next = head;
        arena->blocks = block;
    }
    arena->bytes += bytes;
    return take(block, size, alignment);
}

void *tc_arena_alloc(tc_arena *arena, size_t size)
{
    return tc_arena_alloc_aligned(arena, size, 16);
}

void *tc_arena_array(tc_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!tc_mul_size(count, size, &bytes))
        return NULL;
    return tc_arena_alloc(arena, bytes);
}

char *tc_arena_strdup(tc_arena *arena, const char *text)
{
    return tc_arena_strndup(arena, text, strlen(text));
}

char *tc_arena_strndup(tc_arena *arena, const char *text, size_t length)
{
    if (length == SIZE_MAX)
        return NULL;
    char *copy = tc_arena_alloc_aligned(arena, length + 1, 1);
    if (copy && length)
        memcpy(copy, text, length); /* the terminator is there: arena memory is zeroed */
    return copy;
}

void *tc_arena_memdup(tc_arena *arena, const void *data, size_t size)
{
    void *copy = tc_arena_alloc(arena, size);
    if (copy && size)
        memcpy(copy, data, size);
    return copy;
}

void tc_arena_free(tc_arena *arena)
{
    for (tc_arena_block *block = arena->blocks; block;) {
        tc_arena_block *next = block->next;
        tc_free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->bytes = 0;
}
