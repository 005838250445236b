/* Bump allocation for data that lives and dies with one owner (a graph, a program, a plan). */
#ifndef TC_BASE_ARENA_H
#define TC_BASE_ARENA_H

#include <stddef.h>

typedef struct tc_arena_block tc_arena_block;

/** Zero-initialize; tc_arena_free releases everything at once. Not thread-safe. */
typedef struct tc_arena {
    tc_arena_block *blocks;
    size_t bytes; /* total taken from the allocator */
} tc_arena;

/** `size` zeroed bytes aligned to 16, or NULL. Size 0 gives a valid pointer. */
void *tc_arena_alloc(tc_arena *arena, size_t size);
/** As above with another alignment (a power of two, at most 64). */
void *tc_arena_alloc_aligned(tc_arena *arena, size_t size, size_t alignment);
/** `count` elements; NULL on overflow. */
void *tc_arena_array(tc_arena *arena, size_t count, size_t size);
char *tc_arena_strdup(tc_arena *arena, const char *text);
char *tc_arena_strndup(tc_arena *arena, const char *text, size_t length);
void *tc_arena_memdup(tc_arena *arena, const void *data, size_t size);
void tc_arena_free(tc_arena *arena);

#endif
