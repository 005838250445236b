#include "shuffle.h"

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t next(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state);
}

__extension__ typedef unsigned __int128 wide;

/* A number below `bound`, which is at least 1. */
static uint64_t below(uint64_t *state, uint64_t bound)
{
    uint64_t threshold = (0 - bound) % bound;
    for (;;) {
        wide product = (wide)next(state) * bound;
        if ((uint64_t)product >= threshold)
            return (uint64_t)(product >> 64);
    }
}

void tc_shuffle(int64_t *order, int64_t count, uint64_t seed, int64_t epoch)
{
    uint64_t state = mix(seed ^ mix((uint64_t)epoch + 0x9e3779b97f4a7c15u));
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)below(&state, (uint64_t)i + 1);
        int64_t row = order[i];
        order[i] = order[j];
        order[j] = row;
    }
}
