/* Convolutions: how they are cut into launches, and what those of cuDNN lack. */
#include <string.h>

#include "kernels/cuda/conv2d_tiles.cuh"

/* Adds the parts of sums, in order. */
template <typename T>
static __global__ void add_parts(uint32_t count, int32_t n_parts,
                                 const typename tc_compute<T>::type *parts, T *y)
{
    typedef typename tc_compute<T>::type C;
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        C sum = 0;
        for (int32_t part = 0; part < n_parts; part++)
            sum += parts[static_cast<int64_t>(part) * count + i];
        y[i] = tc_store<T>(sum);
    }
}

/* What follows a convolution of cuDNN; `from` may be y. */
template <typename T>
static __global__ void finish_images(tc_cuda_divisor plane, tc_cuda_divisor channels, int32_t first,
                                     uint32_t count, const T *from, T *y, tc_cuda_finish finish)
{
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        int32_t channel;
        (void)tc_split(first + tc_quotient(static_cast<int32_t>(i), plane), channels, &channel);
        const int64_t at = static_cast<int64_t>(first) * plane.by + i;
        y[at] = tc_store<T>(tc_cuda_finish_at<T>(finish, tc_load(from[at]), at, channel));
    }
}

/*
 * Prepare
 */
static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t at_least_one(int64_t a)
{
    return a > 1 ? a : 1;
}

/* Cuts the sum of the gradient of the filter, of `tiles` blocks, as its shape says. */
static void split_sum(tc_cuda_conv *p, int64_t tiles)
{
    const int64_t wanted = ceil_div(BLOCKS, tiles), most = p->depth / LEAST_SPLIT;
    const int64_t splits = at_least_one(wanted < most ? wanted : most);
    const int64_t each = ceil_div(ceil_div(p->depth, splits), DEPTH) * DEPTH;
    p->split_depth = static_cast<int32_t>(each);
    p->splits = static_cast<int32_t>(each > 0 ? ceil_div(p->depth, each) : 1);
}

/* Whether the kernels of groups of one channel compute it. */
static bool is_single(const tc_cuda_conv *p)
{
    return p->channels == 1;
}

/* Everything of `p` but what belongs to one way to compute it. False where counts are too large. */
static bool describe(const tc_prepare *prepare, const tc_window *window, const tc_shape *w,
                     tc_cuda_conv *p)
{
    const int64_t filters = w->dims[0].size, channels = w->dims[1].size;
    const int64_t kernel = w->dims[2].size * w->dims[3].size;
    const int64_t groups = tc_attrs_int(prepare->attrs, "groups");
    for (int i = 0; i < 2; i++)
        if (!tc_cuda_axis_of(&window->axis[i], &p->axis[i]))
            return false;
    const tc_cuda_axis *h = &p->axis[0], *v = &p->axis[1];
    p->x_plane = static_cast<int64_t>(h->in) * v->in;
    p->y_plane = static_cast<int64_t>(h->out) * v->out;
    p->image_channels = groups * channels;
    p->image_filters = filters;
    if (kernel > TC_CUDA_MOST_INDEX || p->image_channels > TC_CUDA_MOST_INDEX / kernel ||
        filters > TC_CUDA_MOST_INDEX / kernel || p->x_plane > TC_CUDA_MOST_INDEX ||
        p->y_plane > TC_CUDA_MOST_INDEX)
        return false;
    p->groups = static_cast<int32_t>(groups);
    p->channels = static_cast<int32_t>(channels);
    p->filters = static_cast<int32_t>(filters / groups);
    p->w_plane = static_cast<int32_t>(kernel);
    p->x = tc_cuda_planes_of(at_least_one(h->in), at_least_one(v->in));
    p->y = tc_cuda_planes_of(at_least_one(h->out), at_least_one(v->out));
    p->w = tc_cuda_planes_of(h->kernel, v->kernel);
    p->by_groups = tc_cuda_divisor_of(groups);
    p->by_filters = tc_cuda_divisor_of(at_least_one(p->filters));
    p->by_image_filters = tc_cuda_divisor_of(at_least_one(filters));
    return true;
}

/* Tiles, classes and parts of the kernels above. False where there are too many. */
static bool plan_tiles(tc_cuda_conv_params *params, bool wide)
{
    tc_cuda_conv *p = &params->conv;
    const bool input = p->kind == TC_CUDA_CONV_GRAD_INPUT,
               filter = p->kind == TC_CUDA_CONV_GRAD_FILTER;
    const int64_t plane = input ? p->x_plane : p->y_plane;
    int64_t tiles = params->count, classes[2] = {1, 1};
    params->at_a_time = tc_cuda_at_a_time(plane);
    if (is_single(p) && !filter)
        return true;
    if (params->at_a_time > params->images)
        params->at_a_time = at_least_one(params->images);
    p->depth = static_cast<int32_t>(filter  ? params->at_a_time * plane
                                    : input ? p->filters * p->w_plane
                                            : p->channels * p->w_plane);
    if (!is_single(p)) {
        const int64_t rows = input ? p->channels : p->filters;
        int64_t columns = filter ? p->channels * p->w_plane : params->at_a_time * plane;
        for (int i = 0; input && i < 2; i++)
            classes[i] = p->axis[i].stride < p->axis[i].in ? p->axis[i].stride : p->axis[i].in;
        if (input)
            columns = params->at_a_time * ceil_div(p->axis[0].in, classes[0]) *
                      ceil_div(p->axis[1].in, classes[1]);
        params->tile_rows = rows <= 32 ? 16 : wide ? 32 : 64;
        p->row_tiles = tc_cuda_divisor_of(ceil_div(rows, params->tile_rows));
        p->column_tiles = tc_cuda_divisor_of(ceil_div(columns, COLUMNS));
        for (int i = 0; i < 2; i++)
            p->classes[i] = tc_cuda_divisor_of(classes[i]);
        tiles = static_cast<int64_t>(p->row_tiles.by) * p->column_tiles.by * p->groups;
        if (tiles > INT32_MAX / (classes[0] * classes[1]))
            return false;
        tiles *= classes[0] * classes[1];
    }
    p->splits = 1;
    p->split_depth = p->depth;
    if (filter)
        split_sum(p, tiles);
    const int64_t launches = at_least_one(ceil_div(params->images, params->at_a_time));
    const int64_t parts = filter ? p->splits * launches : 1;
    p->parts = static_cast<int32_t>(parts);
    params->blocks = tiles;
    return parts <= UINT16_MAX && tiles <= INT32_MAX / p->splits;
}

static tc_status prepare(tc_prepare *prepare, tc_cuda_conv_kind kind, const tc_shape *x,
                         const tc_shape *w)
{
    char why[TC_WINDOW_MESSAGE];
    tc_window window;
    tc_cuda_conv_params *params =
        static_cast<tc_cuda_conv_params *>(tc_prepare_params(prepare, sizeof *params));
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params->count = tc_shape_size(&prepare->outputs[0].shape);
    if (params->count == 0)
        return TC_OK;
    const tc_dtype dtype = prepare->outputs[0].dtype;
    const int64_t in[2] = {x->dims[2].size, x->dims[3].size};
    const int64_t kernel[2] = {w->dims[2].size, w->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, kernel, &window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    params->images = x->dims[0].size;
    params->epilogue = tc_cuda_epilogue_read(prepare);
    tc_cuda_conv *p = &params->conv;
    p->kind = kind;
    if (!describe(prepare, &window, w, p) || !plan_tiles(params, dtype == TC_F64))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the padded images are too large");
    if (p->parts > 1)
        prepare->workspace_bytes = static_cast<size_t>(params->count) *
                                   static_cast<size_t>(p->parts) *
                                   (dtype == TC_F64 ? sizeof(double) : sizeof(float));
#ifdef TC_CUDA_CUDNN
    TC_TRY(tc_cuda_conv_plan(prepare, params));
    const size_t bytes = params->result_bytes + params->plan.workspace_bytes;
    if (params->plan.index && bytes > prepare->workspace_bytes)
        prepare->workspace_bytes = bytes;
#endif
    return TC_OK;
}

static tc_status prepare_conv(tc_prepare *p)
{
    return prepare(p, TC_CUDA_CONV, &p->inputs[0].shape, &p->inputs[1].shape);
}

static tc_status prepare_grad_input(tc_prepare *p)
{
    return prepare(p, TC_CUDA_CONV_GRAD_INPUT, &p->outputs[0].shape, &p->inputs[0].shape);
}

static tc_status prepare_grad_filter(tc_prepare *p)
{
    return prepare(p, TC_CUDA_CONV_GRAD_FILTER, &p->inputs[0].shape, &p->outputs[0].shape);
}

/*
 * Run
 */
static dim3 blocks_for(int64_t count)
{
    return dim3(tc_cuda_blocks(count, 256, TC_CUDA_MOST_BLOCKS));
}

#ifdef TC_CUDA_CUDNN
/* cuDNN is promised tensors at multiples of 16 bytes, where views need not begin. */
static bool plan_takes(const tc_cuda_conv_params *params, const void *const *inputs, const void *y,
                       const tc_cuda_finish &finish)
{
    uintptr_t bits = reinterpret_cast<uintptr_t>(inputs[0]) |
                     reinterpret_cast<uintptr_t>(inputs[1]) | reinterpret_cast<uintptr_t>(y);
    if (params->fused)
        bits |= reinterpret_cast<uintptr_t>(finish.scale) |
                reinterpret_cast<uintptr_t>(finish.bias) |
                reinterpret_cast<uintptr_t>(finish.residual);
    return params->plan.index && bits % 16 == 0;
}

template <typename T>
static tc_status run_plan(const tc_cuda_conv_params *params, const void *const *inputs, void *y,
                          const tc_cuda_finish &finish, const tc_kernel_context *context)
{
    const tc_cuda_conv *p = &params->conv;
    char *workspace = static_cast<char *>(context->workspace);
    void *result = params->result_bytes ? workspace : y;
    TC_TRY(tc_cuda_conv_run(params, inputs, result, workspace + params->result_bytes, context));
    if (params->fused)
        return TC_OK;
    return tc_cuda_in_turn(
        params->images * p->image_filters, tc_cuda_at_a_time(p->y_plane),
        [&](int64_t first, int64_t planes) {
            const int64_t count = planes * p->y_plane;
            return tc_cuda_launch(finish_images<T>, blocks_for(count), dim3(256), 0, context,
                                  tc_cuda_divisor_of(p->y_plane), p->by_image_filters, first, count,
                                  static_cast<const T *>(result), static_cast<T *>(y), finish);
        });
}
#endif

/* Groups of one channel: planes of the result in turn. */
template <typename T>
static tc_status run_single(const tc_cuda_conv_params *params, const T *a, const T *b, T *y,
                            const tc_cuda_finish &finish, const tc_kernel_context *context)
{
    const tc_cuda_conv *p = &params->conv;
    const bool input = p->kind == TC_CUDA_CONV_GRAD_INPUT;
    const int64_t plane = input ? p->x_plane : p->y_plane;
    return tc_cuda_in_turn(
        params->count / plane, params->at_a_time, [&](int64_t first, int64_t planes) {
            const int64_t count = planes * plane;
            if (input)
                return tc_cuda_launch(conv_single_grad_input<T>, blocks_for(count), dim3(256), 0,
                                      context, *p, first, count, a, b, y);
            return tc_cuda_launch(conv_single<T>, blocks_for(count), dim3(256), 0, context, *p,
                                  first, count, b, a, y, finish);
        });
}

/* Images in turn; of grad_filter they add parts of sums. */
template <typename T>
static tc_status run_tiles(const tc_cuda_conv_params *params, const T *a, const T *b, T *y,
                           const tc_cuda_finish &finish, const tc_kernel_context *context)
{
    typedef typename tc_compute<T>::type C;
    constexpr int most = sizeof(C) == sizeof(double) ? 4 : 8; /* what registers hold */
    const tc_cuda_conv_kind kind = params->conv.kind;
    const bool filter = kind == TC_CUDA_CONV_GRAD_FILTER, few = params->tile_rows == 16;
    auto tiles = filter ? (few ? conv_tiles<T, 2, true> : conv_tiles<T, most, true>)
                        : (few ? conv_tiles<T, 2, false> : conv_tiles<T, most, false>);
    const int64_t x_image = params->conv.image_channels * params->conv.x_plane,
                  y_image = params->conv.image_filters * params->conv.y_plane;
    const int64_t a_image = filter ? y_image : 0,
                  b_image = kind == TC_CUDA_CONV_GRAD_INPUT ? y_image : x_image,
                  image = filter                 ? 0
                          : kind == TC_CUDA_CONV ? y_image
                                                 : x_image;
    C *parts = static_cast<C *>(context->workspace);
    TC_TRY(tc_cuda_in_turn(
        at_least_one(params->images), params->at_a_time, [&](int64_t first, int64_t images) {
            tc_cuda_conv conv = params->conv;
            tc_cuda_finish after = finish;
            conv.images = static_cast<int32_t>(images < params->images ? images : params->images);
            if (filter)
                conv.depth = static_cast<int32_t>(conv.images * conv.y_plane);
            if (after.residual)
                after.residual = static_cast<const T *>(after.residual) + first * image;
            const T *left = a + first * a_image, *right = b + first * b_image;
            C *own_parts = conv.parts > 1
                               ? parts + first / params->at_a_time * conv.splits * params->count
                               : nullptr;
            const unsigned blocks = static_cast<unsigned>(params->blocks);
            if (is_single(&conv))
                return tc_cuda_launch(conv_single_grad_filter<T>,
                                      dim3(blocks, static_cast<unsigned>(conv.splits)),
                                      dim3(THREADS), 0, context, conv, right, left, y, own_parts);
            return tc_cuda_launch(tiles, dim3(blocks * static_cast<unsigned>(conv.splits)),
                                  dim3(THREADS), 0, context, conv, left, right, y + first * image,
                                  own_parts, after);
        }));
    if (params->conv.parts == 1)
        return TC_OK;
    return tc_cuda_launch(add_parts<T>, blocks_for(params->count), dim3(256), 0, context,
                          params->count, params->conv.parts, static_cast<const C *>(parts), y);
}

template <typename T>
static tc_status run(const void *data, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const tc_cuda_conv_params *params = static_cast<const tc_cuda_conv_params *>(data);
    if (params->count == 0)
        return TC_OK;
    const tc_cuda_finish finish = tc_cuda_epilogue_bind(&params->epilogue, inputs);
#ifdef TC_CUDA_CUDNN
    if (plan_takes(params, inputs, outputs[0], finish))
        return run_plan<T>(params, inputs, outputs[0], finish, context);
#endif
    /* The operands of the product: conv has x, w, the others w, dy and x, dy. */
    const bool input = params->conv.kind == TC_CUDA_CONV_GRAD_INPUT;
    const T *a = static_cast<const T *>(inputs[input ? 0 : 1]);
    const T *b = static_cast<const T *>(inputs[input ? 1 : 0]);
    T *y = static_cast<T *>(outputs[0]);
    if (is_single(&params->conv) && params->conv.kind != TC_CUDA_CONV_GRAD_FILTER)
        return run_single<T>(params, a, b, y, finish, context);
    return run_tiles<T>(params, a, b, y, finish, context);
}

#define KERNELS(tag, T)                                                     \
    TC_CUDA_KERNEL(conv2d, tag, prepare_conv, run<T>),                      \
        TC_CUDA_KERNEL(conv2d_fused, tag, prepare_conv, run<T>),            \
        TC_CUDA_KERNEL(conv2d_grad_input, tag, prepare_grad_input, run<T>), \
        TC_CUDA_KERNEL(conv2d_grad_filter, tag, prepare_grad_filter, run<T>)
static const tc_kernel kernels[] = {KERNELS(f32, float), KERNELS(f64, double),
                                    KERNELS(f16, tc_half), KERNELS(bf16, tc_bfloat)};

TC_CUDA_TABLE(conv2d, kernels);
