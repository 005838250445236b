/*
 * Convolution with kernels of 3 x 3 on images in blocks, by Winograd's algorithm F(4 x 4, 3 x 3)
 * (Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks"): a tile of 4 x 4
 * results needs 36 products for each channel and filter instead of 144. Tiles of 6 x 6 pixels and
 * the filters are transformed, 36 matrix products follow, which the register tiles of
 * conv2d_blocked.h compute as convolutions of 1 x 1, and their results are transformed back.
 *
 * Results round differently from the sum of products: with 256 channels the largest error is 2.1e-6
 * of the largest result, that of the sum 1.6e-6. A NaN or infinite element spoils the results of
 * its tiles. Transformed filters take four times the memory.
 */
#ifndef TC_KERNELS_CPU_WINOGRAD_H
#define TC_KERNELS_CPU_WINOGRAD_H

#include "base/threads.h"
#include "core/window.h"
#include "kernels/cpu/conv2d_blocked.h"

/** The polynomials are evaluated at 0, infinity and these points with both signs. With 1 and 2,
 * which are common, the largest error is five times as large. */
#define TC_WINOGRAD_NEAR 0.70710678118654752440
#define TC_WINOGRAD_FAR  1.41421356237309504880

typedef struct tc_winograd {
    int64_t channels, filters;
    int64_t blocks_in, blocks_out, wide_tiles; /* the last: register tiles of the filters */
    int64_t in[2], out[2], before[2];          /* height and width */
    int64_t rows, columns;                     /* of tiles in an image */
    int64_t tiles;                             /* of all images; 0: do not use this */
    int64_t round;                             /* tiles that are gone through at a time */
    int64_t pitch;                             /* pixels of one of the 36 planes of a round */
} tc_winograd;

/** Sets `*w` where the algorithm is faster, and leaves its tiles 0 elsewhere. */
void tc_winograd_plan(tc_winograd *w, const tc_window *window, int64_t images, int64_t channels,
                      int64_t filters, const tc_blocked_tiles *tiles);
size_t tc_winograd_weights_bytes(const tc_winograd *w);
/** For the transformed tiles of a round and their products. */
size_t tc_winograd_image_bytes(const tc_winograd *w);
size_t tc_winograd_worker_bytes(const tc_winograd *w, const tc_blocked_tiles *tiles);
/** `filter` is [filters, channels, 3, 3]. */
void tc_winograd_pack(const tc_winograd *w, const float *filter, float *to);
/** `steps` are those of the products: a block of channels each. */
void tc_winograd_run(const tc_winograd *w, const tc_blocked_call *call,
                     const tc_blocked_step *steps, const tc_blocked_tiles *tiles, tc_pool *pool,
                     float *image, char *scratch);

#endif
