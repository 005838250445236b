/*
 * Convolution of images in blocks of 16 channels, [n, ceil(c / 16), h, w, 16].
 *
 * A register tile holds a few output pixels, which may lie anywhere, times all channels of one to
 * four blocks. What adds to it are steps: a kernel element and a block of input channels, that is a
 * run of neighbouring input elements for each pixel, and as many rows of packed weights. Pixels are
 * found by pointers, so that stride, dilation and the ends of rows cost nothing, and where a window
 * leaves the image its pointer is one to zeros: nothing is copied or padded.
 *
 * Images of few channels ([n, c, h, w], a first layer) are interleaved and padded before; there a
 * step is a whole row of the kernel. Depthwise convolution is the same with vectors in the place of
 * single input elements.
 */
#ifndef TC_KERNELS_CPU_CONV2D_BLOCKED_H
#define TC_KERNELS_CPU_CONV2D_BLOCKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/extend.h>

enum {
    TC_BLOCK = 16,             /* channels of a block */
    TC_BLOCKED_PIXELS_MAX = 8, /* of a register tile */
    TC_BLOCKED_WIDEST = 4      /* blocks of a register tile */
};

/** In the order of the words of the attribute "activation". */
typedef enum tc_blocked_activation {
    TC_BLOCKED_NONE,
    TC_BLOCKED_RELU,
    TC_BLOCKED_SIGMOID,
    TC_BLOCKED_TANH,
    TC_BLOCKED_GELU,
    TC_BLOCKED_GELU_TANH
} tc_blocked_activation;

/** What one kernel element adds for one block of input channels. */
typedef struct tc_blocked_step {
    int64_t delta; /* elements from the first of a window to those that are read */
    int64_t y, x;  /* the same in rows and columns of pixels */
    int64_t run;   /* elements read for each pixel, and rows of weights */
} tc_blocked_step;

/** One register tile. Pixels beyond `count` repeat the last one. */
typedef struct tc_blocked_tile {
    const float *image; /* of the group */
    const float *weights;
    const tc_blocked_step *steps, *end;
    int64_t height, width;                 /* of the image */
    int64_t offset[TC_BLOCKED_PIXELS_MAX]; /* of the windows in the image, in elements */
    int64_t y[TC_BLOCKED_PIXELS_MAX], x[TC_BLOCKED_PIXELS_MAX]; /* and in pixels */
    bool inside;                                                /* no window leaves the image */
    int64_t spacing;     /* elements between the windows; 0 where they are not in one row */
    bool first, last;    /* of the steps: sums begin with 0; become results */
    float *sums;         /* where they wait in between */
    const float *factor; /* of each channel */
    const float *shift;
    const float *residual; /* NULL: none; as the result */
    float *out;            /* pixel 0 */
    int64_t out_block;     /* elements between the blocks of the result */
    int32_t count;
    tc_blocked_activation activation;
} tc_blocked_tile;

/** A tile of 4 x 4 results of Winograd's algorithm, for one block of channels. */
typedef struct tc_blocked_square {
    const float *from; /* of 6 x 6 products, `pitch` elements apart */
    int64_t pitch;
    const float *factor, *shift, *residual; /* as of tc_blocked_tile */
    float *out;
    int64_t row;           /* elements between rows of the result */
    int32_t rows, columns; /* that are in the result */
    tc_blocked_activation activation;
} tc_blocked_square;

/** Register tiles of one instruction set. */
typedef struct tc_blocked_tiles {
    int32_t pixels;
    int32_t few;    /* pixels of a smaller tile, for what is left */
    int32_t widest; /* blocks that a tile has at most */
    void (*dense[TC_BLOCKED_WIDEST])(const tc_blocked_tile *tile); /* of 1, 2, ... blocks */
    void (*dense_few)(const tc_blocked_tile *tile);                /* of the most blocks */
    void (*depthwise)(const tc_blocked_tile *tile);
    /* Transforms 6 x 6 pixels in rows of `row` elements to as many blocks, `pitch` apart. */
    void (*square_in)(const float *image, int64_t row, float *to, int64_t pitch);
    void (*square_out)(const tc_blocked_square *square);
} tc_blocked_tiles;

/** What a run computes with. */
typedef struct tc_blocked_call {
    const float *x, *weights; /* weights are packed */
    const float *scale, *bias, *residual;
    float *out;
    int64_t filters;
    float alpha;
    tc_blocked_activation activation;
} tc_blocked_call;

/** Factor and shift of `lanes` channels from `filter` on. */
void tc_blocked_vectors(const tc_blocked_call *call, int64_t filter, int64_t lanes, float *factor,
                        float *shift);
/** Steps from `begin` on whose weights fit in the first cache, at least one. `rows`: theirs. */
const tc_blocked_step *tc_blocked_chunk(const tc_blocked_step *begin, const tc_blocked_step *end,
                                        int64_t lanes, int64_t *rows);

/* The phases of the kernel. */
tc_status tc_conv2d_blocked_prepare(tc_prepare *prepare, const tc_blocked_tiles *tiles);
void tc_conv2d_blocked_pack(const void *params, const void *weights, void *blob);
tc_status tc_conv2d_blocked_run(const void *params, const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context, const tc_blocked_tiles *tiles);

#endif
