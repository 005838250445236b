/* Rows of a column in the dtype that batches deliver. */
#ifndef TC_DATA_CONVERT_H
#define TC_DATA_CONVERT_H

#include <tensorc/data.h>

/** True when tc_convert_rows can deliver `column`. */
bool tc_can_convert(const tc_column *column);

/** Writes rows `order[0..count)`, or `first`, `first` + 1, ... where `order` is NULL, dense to
 * `out`. */
void tc_convert_rows(const tc_column *column, const int64_t *order, int64_t first, int64_t count,
                     void *out);

#endif
