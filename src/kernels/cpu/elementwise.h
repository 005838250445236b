/*
 * One driver for every element-wise operator. An operator brings a tile: the function on a run of
 * elements. The driver brings the rest: broadcasting, threads, 16-bit floats.
 */
#ifndef TC_KERNELS_CPU_ELEMENTWISE_H
#define TC_KERNELS_CPU_ELEMENTWISE_H

#include "core/broadcast.h"
#include "kernels/cpu/kernel.h"

#define TC_ELEMENTWISE_INPUTS TC_BROADCAST_INPUTS

/**
 * Computes y[0..n) from n elements of each input. Bit i of `scalars` says that input i is one
 * element instead. `y` may be one of the inputs.
 */
typedef void (*tc_tile_function)(const void *const *inputs, void *y, int64_t n, unsigned scalars);
typedef void (*tc_widen_function)(const uint16_t *x, float *y, int64_t n);
typedef void (*tc_narrow_function)(const float *x, uint16_t *y, int64_t n);

typedef struct tc_elementwise {
    tc_tile_function tile;
    int8_t inputs;
    bool scalars;                             /* whether the tile takes single elements */
    int8_t input_size[TC_ELEMENTWISE_INPUTS]; /* bytes of an element as stored */
    int8_t output_size;
    tc_widen_function widen;   /* inputs are 16-bit floats and the tile takes f32; else NULL */
    tc_narrow_function narrow; /* the tile gives f32 and the output is 16-bit floats; else NULL */
} tc_elementwise;

/** Plain data from tc_elementwise_prepare. */
typedef struct tc_elementwise_params {
    tc_broadcast broadcast;
    int32_t variant; /* free for the kernel */
} tc_elementwise_params;

/** Parameters for inputs that broadcast to output 0 by NumPy's rules; NULL: memory, which is
 * recorded. */
tc_elementwise_params *tc_elementwise_plan(tc_prepare *prepare);

/** prepare of kernels whose inputs broadcast to output 0 by NumPy's rules. */
tc_status tc_elementwise_prepare(tc_prepare *prepare);

/** run of such a kernel. */
void tc_elementwise_run(const tc_elementwise *code, const tc_elementwise_params *params,
                        const void *const *inputs, void *output, const tc_kernel_context *context);

/** TC_ELEMENTWISE_RUN(add, f32, code): a function run_add_f32 for a kernel table; `code` is the
 * initializer. */
#define TC_ELEMENTWISE_RUN(op, tag, ...)                                                      \
    static tc_status run_##op##_##tag(const void *params, const void *const *inputs,          \
                                      void *const *outputs, const tc_kernel_context *context) \
    {                                                                                         \
        static const tc_elementwise code = __VA_ARGS__;                                       \
        tc_elementwise_run(&code, params, inputs, outputs[0], context);                       \
        return TC_OK;                                                                         \
    }

#endif
