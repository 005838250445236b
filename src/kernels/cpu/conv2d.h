/*
 * How a convolution becomes products of matrices without copying every window (no im2col).
 *
 * The image is copied once into padded planes, one per residue of the stride that a kernel element
 * can hit, so that along each row of a plane neighbouring outputs read neighbouring elements. Then
 * the input elements that kernel element (channel, ky, kx) meets are one contiguous run for all
 * outputs: output (y, x) is column y * pitch + x, where `pitch` is the distance of rows, and row p
 * of the matrix is the plane at an offset that depends on p alone. Columns with x beyond the
 * output's width are computed and dropped.
 *
 * The gradient of the input is the same with the gradient of the output as image: the input pixels
 * of one residue of the stride form one such product, a "part", whose weights are rearranged. The
 * gradient of the filter takes dot products of rows of the output's gradient, widened to the pitch
 * with zeros, with those same runs.
 */
#ifndef TC_KERNELS_CPU_CONV2D_H
#define TC_KERNELS_CPU_CONV2D_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/extend.h>

#include "base/cpu.h"
#include "kernels/cpu/epilogue.h"

/** Padded planes of an image. */
typedef struct tc_conv_planes {
    int64_t channels;      /* of one image, all groups */
    int64_t height, width; /* of a plane as it is given */
    int64_t stride[2];
    int64_t residues[2]; /* residues of the stride in use; planes per channel are their product */
    int64_t rows, pitch, plane; /* of a padded plane: height, distance of rows, size */
    int64_t before[2]; /* padding at top and left; negative: elements that no output reads */
    bool copied;       /* false: the image itself is the only plane */
} tc_conv_planes;

/** One product of matrices per image and group. */
typedef struct tc_conv_part {
    int64_t depth;      /* rows of the matrix of runs: channels per group times kernel elements */
    int64_t offsets;    /* index of its first offset */
    int64_t weights;    /* element of its first weight among the arranged ones */
    int64_t weights_ld; /* elements between rows of weights */
    int64_t rows, columns; /* outputs */
    int64_t first[2];      /* the output pixel (y, x) of the part is first + y * step, ... */
} tc_conv_part;

/** Everything that is decided ahead; followed in memory by parts, offsets and residues. Plain data
 * without pointers. */
typedef struct tc_conv {
    tc_isa isa; /* whose register tiles compute it */
    tc_dtype dtype;
    int64_t images, groups;
    int64_t filters, group_channels; /* filters of all groups; input channels of one */
    int64_t kernel[2];
    tc_conv_planes planes;
    int64_t out_channels, out_height, out_width; /* of one result image */
    int64_t m; /* rows of the product: result channels per group */
    int64_t step[2];
    int32_t n_parts;
    int64_t n_offsets;
    int64_t arranged; /* elements of the arranged weights; 0: the filter is read as it is */
    bool gradient;    /* of the input: the filter is arranged by taps */
    bool direct_out;  /* tiles are written to the result itself */
    bool sparse_out;  /* some result pixels belong to no part and are zero */
    int64_t chunk;    /* images whose planes are held at a time */
    int64_t row_tile, column_tile;
    size_t weights_bytes, planes_bytes,
        second_bytes; /* parts of the workspace shared by all workers */
    size_t worker_bytes;
    tc_epilogue epilogue; /* of conv2d_fused; scale and bias along the result's channels */
} tc_conv;

static inline tc_conv_part *tc_conv_parts(const tc_conv *conv)
{
    return (tc_conv_part *)(conv + 1);
}

static inline int64_t *tc_conv_offsets(const tc_conv *conv)
{
    return (int64_t *)(tc_conv_parts(conv) + conv->n_parts);
}

/** The residues in use: planes.residues[0] of the height, then planes.residues[1] of the width. */
static inline int64_t *tc_conv_residues(const tc_conv *conv)
{
    return tc_conv_offsets(conv) + conv->n_offsets;
}

/** Kernel element (index into the filter's plane) of each offset within one channel of a gradient's
 * part. */
static inline int64_t *tc_conv_taps(const tc_conv *conv)
{
    return tc_conv_residues(conv) + conv->planes.residues[0] + conv->planes.residues[1];
}

/** Columns of the product of a part. */
static inline int64_t tc_conv_run(const tc_conv *conv, const tc_conv_part *part)
{
    return (part->rows - 1) * conv->planes.pitch + part->columns;
}

/** Bytes of an element while computing: of f64, or of f32 for the others. */
static inline size_t tc_conv_element(const tc_conv *conv)
{
    return conv->dtype == TC_F64 ? sizeof(double) : sizeof(float);
}

/* prepare of the three kernels (the first is that of conv2d_fused as well), for register tiles of
 * `isa`: params is a tc_conv with what follows it. */
tc_status tc_conv2d_prepare(tc_prepare *prepare, tc_isa isa);
tc_status tc_conv2d_grad_input_prepare(tc_prepare *prepare, tc_isa isa);
tc_status tc_conv2d_grad_filter_prepare(tc_prepare *prepare, tc_isa isa);

/* pack of the first two: arranges a constant filter. */
void tc_conv2d_pack(const void *params, const void *weights, void *blob);

/* run. */
tc_status tc_conv2d_run(const void *params, const void *const *inputs, void *const *outputs,
                        const tc_kernel_context *context);
tc_status tc_conv2d_grad_input_run(const void *params, const void *const *inputs,
                                   void *const *outputs, const tc_kernel_context *context);
tc_status tc_conv2d_grad_filter_run(const void *params, const void *const *inputs,
                                    void *const *outputs, const tc_kernel_context *context);

#endif
