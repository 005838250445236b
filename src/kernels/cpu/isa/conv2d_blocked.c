/* Register tiles of blocked convolution for every instruction set (see conv2d_blocked.h). */
#include "kernels/cpu/conv2d_blocked.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/winograd.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* PIXELS times vectors of sums, AT_ONCE vectors of weights and one of input fill the registers. */
#if TC_ISA_LEVEL == 2
#define PIXELS  7
#define WIDEST  4
#define AT_ONCE 3
#elif TC_ISA_LEVEL == 1
#define PIXELS  6
#define WIDEST  1
#define AT_ONCE 2
#elif TC_ISA_LEVEL == 3
#define PIXELS  6
#define WIDEST  1
#define AT_ONCE 4
#else
#define PIXELS  3
#define WIDEST  1
#define AT_ONCE 2
#endif

#define FEW     ((PIXELS + 1) / 2)
#define VECTORS (TC_BLOCK / TC_F32_LANES) /* of a block */

typedef float memory __attribute__((vector_size(TC_VECTOR_BYTES), aligned(4), may_alias));
#define LOAD(p)     ((tc_f32v)(*(const memory *)(p)))
#define STORE(p, v) (*(memory *)(p) = (memory)(v))

/* What a pixel outside the image reads. */
static const float zeros[TC_BLOCK] __attribute__((aligned(64))) = {0};

/* `yes` or `no` without a branch, which would be mispredicted at the ends of rows. */
TC_INLINE const float *choose(bool condition, const float *yes, const float *no)
{
    uintptr_t mask = (uintptr_t)0 - (uintptr_t)condition;
    return (const float *)(((uintptr_t)yes & mask) | ((uintptr_t)no & ~mask));
}

/* Where each pixel reads in this step; false when none does. */
static __attribute__((noinline)) bool locate(const tc_blocked_tile *t, const tc_blocked_step *step,
                                             const float *at[PIXELS])
{
    bool any = false;
    if (t->spacing && (uint64_t)(t->y[0] + step->y) >= (uint64_t)t->height)
        return false;
    for (int i = 0; i < PIXELS; i++) {
        bool in = ((uint64_t)(t->y[i] + step->y) < (uint64_t)t->height) &
                  ((uint64_t)(t->x[i] + step->x) < (uint64_t)t->width);
        at[i] = choose(in, t->image + (t->offset[i] + step->delta), zeros);
        any |= in;
    }
    return any;
}

/* The same for pixels of one row, which takes half the time where a step is one vector. */
static __attribute__((noinline)) bool locate_row(const tc_blocked_tile *t,
                                                 const tc_blocked_step *step,
                                                 const float *at[PIXELS])
{
    int64_t offset = t->offset[0] + step->delta;
    if ((uint64_t)(t->y[0] + step->y) >= (uint64_t)t->height)
        return false;
    for (int i = 0; i < PIXELS; i++, offset += t->spacing)
        at[i] = (uint64_t)(t->x[i] + step->x) < (uint64_t)t->width ? t->image + offset : zeros;
    return true;
}

static __attribute__((noinline)) void activate(tc_blocked_activation activation, float *y,
                                               int64_t n)
{
    switch (activation) {
    case TC_BLOCKED_SIGMOID: tc_f32_map(tc_f32_sigmoid, y, y, n); break;
    case TC_BLOCKED_TANH: tc_f32_map(tc_f32_tanh, y, y, n); break;
    case TC_BLOCKED_GELU: tc_f32_map(tc_f32_gelu, y, y, n); break;
    case TC_BLOCKED_GELU_TANH: tc_f32_map(tc_f32_gelu_tanh, y, y, n); break;
    case TC_BLOCKED_RELU:
    case TC_BLOCKED_NONE: break;
    }
}

/* `k`, such that the compiler reads what it indexes from memory again. */
TC_INLINE int64_t again(int64_t k)
{
    __asm__ volatile("" : "+r"(k));
    return k;
}

#define MOST (WIDEST * VECTORS) /* vectors of a pixel */

/* `pixels` and `blocks` are constants in every inlined copy, of these and of what calls them. */
TC_INLINE void begin(const int pixels, const int blocks, const tc_blocked_tile *t,
                     tc_f32v sum[PIXELS][MOST])
{
    const int vectors = blocks * VECTORS;
    UNROLL for (int i = 0; i < pixels; i++)
    {
        UNROLL for (int j = 0; j < vectors; j++) sum[i][j] =
            t->first ? (tc_f32v){0} : LOAD(t->sums + (i * vectors + j) * TC_F32_LANES);
    }
}

TC_INLINE void finish(const int pixels, const int blocks, const tc_blocked_tile *t,
                      tc_f32v sum[PIXELS][MOST])
{
    const int vectors = blocks * VECTORS, lanes = TC_F32_LANES;
    if (!t->last) {
        UNROLL for (int i = 0; i < pixels; i++)
        {
            UNROLL for (int j = 0; j < vectors; j++)
                STORE(t->sums + (i * vectors + j) * lanes, sum[i][j]);
        }
        return;
    }
    bool relu = t->activation == TC_BLOCKED_RELU;
    UNROLL for (int j = 0; j < vectors; j++)
    {
        tc_f32v factor = LOAD(t->factor + j * lanes), shift = LOAD(t->shift + j * lanes);
        int64_t at = j / VECTORS * t->out_block + j % VECTORS * lanes;
        UNROLL for (int i = 0; i < pixels; i++)
        {
            if (i < t->count) {
                tc_f32v y = tc_f32_fma(sum[i][j], factor, shift);
                if (t->residual)
                    y += LOAD(t->residual + at + i * TC_BLOCK);
                STORE(t->out + at + i * TC_BLOCK, relu ? tc_f32_max((tc_f32v){0}, y) : y);
            }
        }
    }
    if (t->activation > TC_BLOCKED_RELU)
        for (int b = 0; b < blocks; b++)
            activate(t->activation, t->out + b * t->out_block, (int64_t)t->count * TC_BLOCK);
}

/* `depthwise` is a constant in every inlined copy. */
TC_INLINE void tile(const int pixels, const int blocks, const bool depthwise,
                    const tc_blocked_tile *t)
{
    const int vectors = blocks * VECTORS, lanes = TC_F32_LANES;
    tc_f32v sum[PIXELS][MOST];
    begin(pixels, blocks, t, sum);
    int64_t offset[PIXELS];
    UNROLL for (int i = 0; i < pixels; i++) offset[i] = t->offset[i];
    const float *weights = t->weights;
    for (const tc_blocked_step *step = t->steps; step < t->end; step++) {
        const float *at[PIXELS], *found[PIXELS], *from = t->image + step->delta;
        bool row = depthwise && t->spacing;
        if (!t->inside && !(row ? locate_row(t, step, found) : locate(t, step, found))) {
            weights += step->run * vectors * lanes;
            continue;
        }
        UNROLL for (int i = 0; i < pixels; i++) at[i] = t->inside ? from + offset[i] : found[i];
        for (int64_t k = 0, run = step->run; k < run; k++, weights += vectors * lanes) {
            /* Registers do not hold all vectors of weights beside the sums. */
            UNROLL for (int first = 0; first < vectors; first += AT_ONCE)
            {
                const int some = vectors - first < AT_ONCE ? vectors - first : AT_ONCE;
                int64_t p = again(k);
                tc_f32v right[AT_ONCE];
                UNROLL for (int j = 0; j < some; j++) right[j] =
                    LOAD(weights + (first + j) * lanes);
                UNROLL for (int i = 0; i < pixels; i++)
                {
                    tc_f32v left = at[i][p] - (tc_f32v){0};
                    UNROLL for (int j = 0; j < some; j++)
                    {
                        if (depthwise)
                            left = LOAD(at[i] + (first + j) * lanes);
                        sum[i][first + j] = tc_f32_fma(left, right[j], sum[i][first + j]);
                    }
                }
            }
        }
    }
    finish(pixels, blocks, t, sum);
}

/* A depthwise tile of pixels of one row, `spacing` elements apart, which is a constant too. */
TC_INLINE void depthwise_row(const int spacing, const tc_blocked_tile *t)
{
    tc_f32v sum[PIXELS][MOST];
    begin(PIXELS, 1, t, sum);
    const float *weights = t->weights, *image = t->image + t->offset[0];
    for (const tc_blocked_step *step = t->steps; step < t->end; step++) {
        const float *from = image + step->delta;
        UNROLL for (int j = 0; j < VECTORS; j++, weights += TC_F32_LANES)
        {
            tc_f32v right = LOAD(weights);
            UNROLL for (int i = 0; i < PIXELS; i++) sum[i][j] =
                tc_f32_fma(LOAD(from + i * spacing + j * TC_F32_LANES), right, sum[i][j]);
        }
    }
    finish(PIXELS, 1, t, sum);
}

#define DENSE(blocks)                                    \
    static void dense_##blocks(const tc_blocked_tile *t) \
    {                                                    \
        tile(PIXELS, blocks, false, t);                  \
    }
DENSE(1)
#if WIDEST == 4
DENSE(2)
DENSE(3)
DENSE(4)
#endif

static void dense_few(const tc_blocked_tile *t)
{
    tile(FEW, WIDEST, false, t);
}

static void depthwise(const tc_blocked_tile *t)
{
    if (t->inside && t->spacing == TC_BLOCK)
        depthwise_row(TC_BLOCK, t);
    else if (t->inside && t->spacing == 2 * TC_BLOCK)
        depthwise_row(2 * TC_BLOCK, t);
    else
        tile(PIXELS, 1, true, t);
}

/*
 * Winograd's algorithm (see winograd.h): products with the matrices of F(4, 3) from both sides. The
 * squares of the points near and far are 1/2 and 2.
 */
#define SPLAT(x) ((tc_f32v){0} + (x))

TC_INLINE void input_line(const tc_f32v d[6], tc_f32v b[6])
{
    const tc_f32v half = SPLAT(0.5f), two = SPLAT(2.0f), middle = SPLAT(2.5f);
    const tc_f32v near = SPLAT((float)TC_WINOGRAD_NEAR), far = SPLAT((float)TC_WINOGRAD_FAR);
    tc_f32v near_even = tc_f32_fma(-two, d[2], d[4]), near_odd = tc_f32_fma(-two, d[1], d[3]);
    tc_f32v far_even = tc_f32_fma(-half, d[2], d[4]), far_odd = tc_f32_fma(-half, d[1], d[3]);
    b[0] = tc_f32_fma(-middle, d[2], d[0] + d[4]);
    b[1] = tc_f32_fma(near, near_odd, near_even);
    b[2] = tc_f32_fma(-near, near_odd, near_even);
    b[3] = tc_f32_fma(far, far_odd, far_even);
    b[4] = tc_f32_fma(-far, far_odd, far_even);
    b[5] = tc_f32_fma(-middle, d[3], d[1] + d[5]);
}

TC_INLINE void output_line(const tc_f32v m[6], tc_f32v y[4])
{
    const tc_f32v half = SPLAT(0.5f), two = SPLAT(2.0f);
    const tc_f32v near = SPLAT((float)TC_WINOGRAD_NEAR), far = SPLAT((float)TC_WINOGRAD_FAR);
    tc_f32v near_even = m[1] + m[2], near_odd = (m[1] - m[2]) * near;
    tc_f32v far_even = m[3] + m[4], far_odd = (m[3] - m[4]) * far;
    y[0] = m[0] + (near_even + far_even);
    y[1] = near_odd + far_odd;
    y[2] = tc_f32_fma(half, near_even, two * far_even);
    y[3] = tc_f32_fma(half, near_odd, tc_f32_fma(two, far_odd, m[5]));
}

static void square_in(const float *image, int64_t row, float *to, int64_t pitch)
{
    for (int j = 0; j < VECTORS; j++, image += TC_F32_LANES, to += TC_F32_LANES) {
        tc_f32v lines[6][6];
        for (int x = 0; x < 6; x++) {
            tc_f32v d[6], b[6];
            UNROLL for (int y = 0; y < 6; y++) d[y] = LOAD(image + y * row + x * TC_BLOCK);
            input_line(d, b);
            UNROLL for (int y = 0; y < 6; y++) lines[y][x] = b[y];
        }
        for (int y = 0; y < 6; y++) {
            tc_f32v b[6];
            input_line(lines[y], b);
            UNROLL for (int x = 0; x < 6; x++) STORE(to + (y * 6 + x) * pitch, b[x]);
        }
    }
}

/* What follows on a row of pixels. */
static void finish_row(const tc_blocked_square *s, const float *sums, int row)
{
    bool relu = s->activation == TC_BLOCKED_RELU;
    float *out = s->out + row * s->row;
    for (int at = 0; at < s->columns * TC_BLOCK; at += TC_F32_LANES) {
        int lane = at % TC_BLOCK;
        tc_f32v y = tc_f32_fma(LOAD(sums + at), LOAD(s->factor + lane), LOAD(s->shift + lane));
        if (s->residual)
            y += LOAD(s->residual + row * s->row + at);
        STORE(out + at, relu ? tc_f32_max((tc_f32v){0}, y) : y);
    }
    if (s->activation > TC_BLOCKED_RELU)
        activate(s->activation, out, (int64_t)s->columns * TC_BLOCK);
}

static void square_out(const tc_blocked_square *s)
{
    float sums[4][4 * TC_BLOCK];
    for (int j = 0; j < VECTORS; j++) {
        const float *from = s->from + j * TC_F32_LANES;
        tc_f32v lines[4][6];
        for (int x = 0; x < 6; x++) {
            tc_f32v m[6], y[4];
            UNROLL for (int i = 0; i < 6; i++) m[i] = LOAD(from + (i * 6 + x) * s->pitch);
            output_line(m, y);
            UNROLL for (int i = 0; i < 4; i++) lines[i][x] = y[i];
        }
        for (int i = 0; i < 4; i++) {
            tc_f32v y[4];
            output_line(lines[i], y);
            UNROLL for (int x = 0; x < 4; x++)
                STORE(&sums[i][x * TC_BLOCK + j * TC_F32_LANES], y[x]);
        }
    }
    for (int i = 0; i < s->rows; i++)
        finish_row(s, sums[i], i);
}

static const tc_blocked_tiles tiles = {
    .pixels = PIXELS,
    .few = FEW,
    .widest = WIDEST,
#if WIDEST == 4
    .dense = {dense_1, dense_2, dense_3, dense_4},
#else
    .dense = {dense_1},
#endif
    .dense_few = dense_few,
    .depthwise = depthwise,
    .square_in = square_in,
    .square_out = square_out,
};

static tc_status prepare(tc_prepare *p)
{
    return tc_conv2d_blocked_prepare(p, &tiles);
}

static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    return tc_conv2d_blocked_run(params, inputs, outputs, context, &tiles);
}

static const tc_kernel kernels[] = {
    TC_KERNEL(conv2d_blocked, f32, .prepare = prepare, .pack = tc_conv2d_blocked_pack, .run = run)};
TC_KERNEL_TABLE(conv2d_blocked, kernels);
