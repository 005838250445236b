/* Element types. Everything here is thread-safe. */
#ifndef TC_CORE_DTYPE_H
#define TC_CORE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include <tensorc/types.h>

/**
 * Bytes of one element; 0 for everything that this version cannot store (invalid and reserved
 * numbers).
 */
size_t tc_dtype_size(tc_dtype dtype);

/** INVALID_ARGUMENT naming the dtype when tensors of it cannot exist in this version. */
TC_MUST_USE tc_status tc_dtype_valid(tc_dtype dtype);

/** The element at `element` (aligned to its size) as a double; 0 for dtypes without a size. */
double tc_dtype_load(tc_dtype dtype, const void *element);

/**
 * Stores `value` at `element`. Floats are rounded to nearest even; integers are truncated towards
 * zero and saturated, NaN gives 0; bool is 1 for everything but 0. Does nothing for dtypes without
 * a size.
 */
void tc_dtype_store(tc_dtype dtype, void *element, double value);

#endif
