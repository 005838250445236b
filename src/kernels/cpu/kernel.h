/*
 * Naming and tables of CPU kernels.
 *
 * A file in isa/ is compiled once per instruction set with TC_ISA_SUFFIX (scalar, avx2, avx512,
 * neon) and TC_ISA_LEVEL (tc_isa) defined; it gives what it exports a name of its own with
 * TC_ISA_NAME. A file beside this one is compiled once.
 */
#ifndef TC_KERNELS_CPU_KERNEL_H
#define TC_KERNELS_CPU_KERNEL_H

#include "base/threads.h"
#include "core/kernel_table.h"

#define TC_PASTE_(a, b)     a##b
#define TC_PASTE(a, b)      TC_PASTE_(a, b)
#define TC_PASTE3_(a, b, c) a##b##c
#define TC_PASTE3(a, b, c)  TC_PASTE3_(a, b, c)
#define TC_TEXT_(a)         #a
#define TC_TEXT(a)          TC_TEXT_(a)

#ifdef TC_ISA_LEVEL
/** name_avx2 where this is compiled for AVX2. */
#define TC_ISA_NAME(name) TC_PASTE3(name, _, TC_ISA_SUFFIX)
#define TC_KERNEL_ISA     TC_ISA_LEVEL
#define TC_KERNEL_SUFFIX  "_" TC_TEXT(TC_ISA_SUFFIX)
#else
#define TC_ISA_NAME(name) name
#define TC_KERNEL_ISA     0
#define TC_KERNEL_SUFFIX  ""
#endif

/*
 * Entry of a kernel array. `tag` is the dtype in lower case, or `any`; the symbol is
 * "cpu_<op>_<tag>[_<isa>]": TC_KERNEL(softmax, f32, .prepare = prepare, .run = run_f32)
 */
#define TC_KERNEL(op_name, tag, ...)                                                               \
    {                                                                                              \
        .op = #op_name, .dtype = TC_TAG_DTYPE(tag), .device = TC_DEVICE_CPU, .isa = TC_KERNEL_ISA, \
        .symbol = "cpu_" #op_name "_" #tag TC_KERNEL_SUFFIX, __VA_ARGS__                           \
    }

/** TC_F32 from f32. */
#define TC_TAG_DTYPE(tag)  TC_TAG_DTYPE_(tag)
#define TC_TAG_DTYPE_(tag) TC_TAG_##tag
#define TC_TAG_any         TC_DTYPE_INVALID
#define TC_TAG_f32         TC_F32
#define TC_TAG_f64         TC_F64
#define TC_TAG_f16         TC_F16
#define TC_TAG_bf16        TC_BF16
#define TC_TAG_i8          TC_I8
#define TC_TAG_i16         TC_I16
#define TC_TAG_i32         TC_I32
#define TC_TAG_i64         TC_I64
#define TC_TAG_u8          TC_U8
#define TC_TAG_u16         TC_U16
#define TC_TAG_u32         TC_U32
#define TC_TAG_u64         TC_U64
#define TC_TAG_bool        TC_BOOL
#define TC_TAG__Bool       TC_BOOL /* what stdbool.h makes of bool */

/** float from f32; 16-bit floats are their bits. */
#define TC_TYPE(tag) TC_PASTE(TC_TYPE_, tag)
#define TC_TYPE_f32  float
#define TC_TYPE_f64  double
#define TC_TYPE_f16  uint16_t
#define TC_TYPE_bf16 uint16_t
#define TC_TYPE_i8   int8_t
#define TC_TYPE_i16  int16_t
#define TC_TYPE_i32  int32_t
#define TC_TYPE_i64  int64_t
#define TC_TYPE_u8   uint8_t
#define TC_TYPE_u16  uint16_t
#define TC_TYPE_u32  uint32_t
#define TC_TYPE_u64  uint64_t
#define TC_TYPE_bool uint8_t

/** Exports `array` as the table of `family`; the name goes into kernels.def. */
#define TC_KERNEL_TABLE(family, array)                                       \
    extern const tc_kernel_table TC_ISA_NAME(TC_PASTE(tc_kernels_, family)); \
    const tc_kernel_table TC_ISA_NAME(TC_PASTE(tc_kernels_, family)) = {     \
        (array), sizeof(array) / sizeof((array)[0])}

#endif
