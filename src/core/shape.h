/*
 * Shapes with partly unknown dimensions: comparison, broadcasting, strides, text.
 *
 * Nothing here allocates or keeps pointers, and everything is thread-safe. Functions that take a
 * shape accept any contents; where the rank is invalid they say so or return false.
 */
#ifndef TC_CORE_SHAPE_H
#define TC_CORE_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include <tensorc/types.h>

/** Large enough for every shape with names of usual length; longer ones are cut. */
#define TC_SHAPE_TEXT_SIZE 320

static inline bool tc_dim_is_known(tc_dim dim)
{
    return dim.size >= 0;
}

/**
 * Same size and, where unknown, same name. Two anonymous dimensions are equal in this sense (the
 * text agrees).
 */
bool tc_dim_equal(tc_dim a, tc_dim b);

/**
 * True when the two dimensions have the same size in every run: known and equal, or unknown with
 * the same name.
 */
bool tc_dim_same(tc_dim a, tc_dim b);

/** True when rank and every dimension are known and valid. */
bool tc_shape_is_known(const tc_shape *shape);

/**
 * INVALID_ARGUMENT when `shape` is NULL, its rank is outside 0..TC_MAX_RANK, a size is below -1, a
 * name is empty or belongs to a known size, or all sizes are known and the number of elements does
 * not fit in an int64_t.
 */
TC_MUST_USE tc_status tc_shape_valid(const tc_shape *shape);

/**
 * NumPy broadcasting of `a` and `b` into `*out` (which may be either of them). An unknown dimension
 * against 1 stays as it is, against another known size becomes that size, against the same name
 * keeps the name, and against any other unknown becomes anonymous. Returns false, leaving `*out`
 * unchanged, when they can never be broadcast.
 */
bool tc_shape_broadcast(const tc_shape *a, const tc_shape *b, tc_shape *out);

/**
 * True when the two could be equal at run time: same rank, no two known sizes that differ, no name
 * with two sizes.
 */
bool tc_shape_compatible(const tc_shape *a, const tc_shape *b);

/** `axis` in 0..rank-1, where negative ones count from the end; -1 when it is out of range. */
int tc_axis_normalize(int64_t axis, int32_t rank);

/**
 * Row-major strides in elements of a known shape, 0 beyond its rank. Dimensions of size 0 count as
 * 1, so that strides are never 0 within the rank.
 */
void tc_shape_strides(const tc_shape *shape, int64_t strides[TC_MAX_RANK]);

/** tc_shape_format into `buffer`, returned for use as a printf argument. NULL gives "[invalid]". */
const char *tc_shape_text(const tc_shape *shape, char buffer[TC_SHAPE_TEXT_SIZE]);

#endif
