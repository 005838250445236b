/*
 * The tiles of element-wise kernels, as fused programs call them: the same code, so that fusing
 * changes no bits.
 */
#ifndef TC_KERNELS_CPU_ISA_FUSED_TILES_H
#define TC_KERNELS_CPU_ISA_FUSED_TILES_H

#include "core/fused_program.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/fused_plan.h"

/** By code and type of the operands; NULL where there is none. */
extern const tc_tile_function TC_ISA_NAME(tc_fused_unary_tiles)[TC_FUSED_CODES][TC_FUSED_TYPES];
extern const tc_tile_function TC_ISA_NAME(tc_fused_binary_tiles)[TC_FUSED_CODES][TC_FUSED_TYPES];
/** Of where, by the logarithm of the bytes of an element. */
extern const tc_tile_function TC_ISA_NAME(tc_fused_where_tiles)[4];
/** By dtypes; NULL from 16-bit floats to others than f32 and from integers to them. */
extern const tc_tile_function TC_ISA_NAME(tc_fused_cast_tiles)[TC_BOOL + 1][TC_BOOL + 1];

#endif
