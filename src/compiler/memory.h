/* The memory planner: a pure function from lifetimes to offsets. */
#ifndef TC_COMPILER_MEMORY_H
#define TC_COMPILER_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include <tensorc/status.h>

/** A block of memory that is in use from step `first` to step `last`, both included. */
typedef struct tc_lifetime {
    size_t bytes;
    int32_t first;
    int32_t last;
    int32_t alias; /* index of the block this one shares memory with (its `bytes` are no larger),
                      -1: none */
    size_t offset; /* result, a multiple of 64 */
} tc_lifetime;

/**
 * Gives every block an offset so that blocks alive at one step do not overlap (aliases apart) and
 * writes the size that holds all into `*total`. The result depends on the arguments alone.
 * RESOURCE_EXHAUSTED when sizes overflow or scratch memory is exhausted.
 */
tc_status tc_memory_plan(tc_lifetime *blocks, int32_t count, size_t *total);

#endif
