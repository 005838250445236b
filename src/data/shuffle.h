/* The order of rows in an epoch. */
#ifndef TC_DATA_SHUFFLE_H
#define TC_DATA_SHUFFLE_H

#include <stdint.h>

/**
 * Writes a permutation of 0..count-1, a function of seed and epoch alone: Fisher-Yates, with
 * unbiased bounded numbers (Lemire 2019) from SplitMix64 (Steele, Lea & Flood 2014).
 */
void tc_shuffle(int64_t *order, int64_t count, uint64_t seed, int64_t epoch);

#endif
