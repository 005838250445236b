/* Maxima and sums over a row of floats. Sums run in vectors over a few thousand elements and go on
 * in f64. */
#ifndef TC_KERNELS_CPU_ISA_ROWS_H
#define TC_KERNELS_CPU_ISA_ROWS_H

#include "kernels/cpu/isa/simd.h"

#define ROW(name) tc_f32_##name
#define R         float
#define V         tc_f32v
#define I         tc_i32v
#define N         TC_F32_LANES
#include "kernels/cpu/isa/rows_body.h"

#define ROW(name) tc_f64_##name
#define R         double
#define V         tc_f64v
#define I         tc_i64v
#define N         TC_F64_LANES
#include "kernels/cpu/isa/rows_body.h"

#endif
