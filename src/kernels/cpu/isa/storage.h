/*
 * For bodies that are included once per dtype, with TAG defined as f32, f64, f16 or bf16: STORED is
 * the element in memory, REAL what is computed with, VECTOR a vector of LANES of those, NAME(run)
 * is run_f32, MATH(exp) is tc_f32_exp.
 *
 *     const REAL *x = FETCH(source, n, buffer);   the elements themselves, or converted into the
 * buffer REAL *y = PLACE(target, buffer);            where results go DELIVER(target, buffer, n);
 * after they were written
 */
#ifndef TC_KERNELS_CPU_ISA_STORAGE_H
#define TC_KERNELS_CPU_ISA_STORAGE_H

#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/rows.h"
#include "kernels/cpu/kernel.h"

/** Workspace of a worker; NULL where there is none, as for the dtypes that need no buffers. */
TC_INLINE void *worker_scratch(void *workspace, size_t bytes, int worker)
{
    return workspace ? (char *)workspace + bytes * (size_t)worker : NULL;
}

#define STORED     TC_PASTE(STORED_, TAG)
#define REAL       TC_PASTE(REAL_, TAG)
#define VECTOR     TC_PASTE(VECTOR_, TAG)
#define LANES      TC_PASTE(LANES_, TAG)
#define NAME(name) TC_PASTE3(name, _, TAG)
#define MATH(name) TC_PASTE(TC_PASTE(PREFIX_, TAG), name)

#define STORED_f32  float
#define STORED_f64  double
#define STORED_f16  uint16_t
#define STORED_bf16 uint16_t
#define REAL_f32    float
#define REAL_f64    double
#define REAL_f16    float
#define REAL_bf16   float
#define VECTOR_f32  tc_f32v
#define VECTOR_f64  tc_f64v
#define VECTOR_f16  tc_f32v
#define VECTOR_bf16 tc_f32v
#define LANES_f32   TC_F32_LANES
#define LANES_f64   TC_F64_LANES
#define LANES_f16   TC_F32_LANES
#define LANES_bf16  TC_F32_LANES
#define PREFIX_f32  tc_f32_
#define PREFIX_f64  tc_f64_
#define PREFIX_f16  tc_f32_
#define PREFIX_bf16 tc_f32_

#define FETCH(source, n, buffer)   TC_PASTE(FETCH_, TAG)(source, n, buffer)
#define PLACE(target, buffer)      TC_PASTE(PLACE_, TAG)(target, buffer)
#define DELIVER(target, buffer, n) TC_PASTE(DELIVER_, TAG)(target, buffer, n)

#define GATHER(source, n, buffer)  TC_PASTE(GATHER_, TAG)(source, n, buffer)
#define SCATTER(target, buffer, n) TC_PASTE(SCATTER_, TAG)(target, buffer, n)

#define GATHER_f32(source, n, buffer)   memcpy(buffer, source, (size_t)(n) * sizeof(float))
#define GATHER_f64(source, n, buffer)   memcpy(buffer, source, (size_t)(n) * sizeof(double))
#define GATHER_f16(source, n, buffer)   convert_from_f16(source, buffer, n)
#define GATHER_bf16(source, n, buffer)  convert_from_bf16(source, buffer, n)
#define SCATTER_f32(target, buffer, n)  memcpy(target, buffer, (size_t)(n) * sizeof(float))
#define SCATTER_f64(target, buffer, n)  memcpy(target, buffer, (size_t)(n) * sizeof(double))
#define SCATTER_f16(target, buffer, n)  convert_to_f16(buffer, target, n)
#define SCATTER_bf16(target, buffer, n) convert_to_bf16(buffer, target, n)

#define FETCH_f32(source, n, buffer)    ((void)sizeof(n), (void)sizeof((buffer)[0]), (source))
#define FETCH_f64(source, n, buffer)    ((void)sizeof(n), (void)sizeof((buffer)[0]), (source))
#define FETCH_f16(source, n, buffer)    (convert_from_f16(source, buffer, n), (buffer))
#define FETCH_bf16(source, n, buffer)   (convert_from_bf16(source, buffer, n), (buffer))
#define PLACE_f32(target, buffer)       ((void)sizeof((buffer)[0]), (target))
#define PLACE_f64(target, buffer)       ((void)sizeof((buffer)[0]), (target))
#define PLACE_f16(target, buffer)       (buffer)
#define PLACE_bf16(target, buffer)      (buffer)
#define DELIVER_f32(target, buffer, n)  ((void)0)
#define DELIVER_f64(target, buffer, n)  ((void)0)
#define DELIVER_f16(target, buffer, n)  convert_to_f16(buffer, target, n)
#define DELIVER_bf16(target, buffer, n) convert_to_bf16(buffer, target, n)

#endif
