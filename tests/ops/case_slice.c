/* Ranges of dimensions. What each range takes is written down by hand. */
#include "places.h"

typedef struct ranges {
    tc_ints begin, end, strides, axes;
    int64_t first[TC_MAX_RANK], step[TC_MAX_RANK]; /* of every dimension; step 0: 1 */
} ranges;
#define RANGES(...) (&(const ranges){__VA_ARGS__})
#define L(...)      COUNTED(__VA_ARGS__)

static int64_t taken(const ranges *r, int32_t d, int64_t i)
{
    return r->first[d] + i * (r->step[d] ? r->step[d] : 1);
}

static tc_value build_slice(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const ranges *r = options;
    return tc_slice(in[0], r->begin, r->end, .strides = r->strides, .axes = r->axes);
}

static void slice_reference(const op_run *run)
{
    const tc_shape *x = &run->input_shapes[0], *y = &run->output_shapes[0];
    for (int64_t i = 0; i < elements_of(y); i++) {
        int64_t place[TC_MAX_RANK];
        place_of(y, i, place);
        for (int32_t d = 0; d < x->rank; d++)
            place[d] = taken(run->options, d, place[d]);
        run->outputs[0][i] = run->inputs[0][index_of(x, place)];
    }
}

static const ranges whole_backwards = {
    .begin = L(-1), .end = L(TC_TO_END), .strides = L(-1), .first = {6}, .step = {-1}};
static const ranges every_second = {.begin = L(0, 1),
                                    .end = L(TC_TO_END, TC_TO_END),
                                    .strides = L(2, 3),
                                    .first = {0, 1},
                                    .step = {2, 3}};
static const ranges mixed = {
    .begin = L(-2, 0), .end = L(TC_TO_END, -1), .axes = L(-1, 0), .first = {0, 0, 2}};
static const ranges back_and_forth = {.begin = L(-1, 1, 7),
                                      .end = L(-4, 3, TC_TO_END),
                                      .strides = L(-2, 1, -3),
                                      .first = {4, 1, 5},
                                      .step = {-2, 1, -3}};
static const ranges corner = {.begin = L(1, 1), .end = L(3, 3), .first = {1, 1}};
static const ranges nothing_listed = {.begin = {NULL, 0}};

static const op_sample slice_samples[] = {
    {.name = "corner",
     .inputs = {{OP_SHAPE(4, 5)}},
     .outputs = {{OP_SHAPE(2, 2)}},
     .options = &corner},
    {.name = "first only",
     .inputs = {{OP_SHAPE(4, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = RANGES(.begin = L(2), .end = L(TC_TO_END), .first = {2})},
    {.name = "backwards",
     .inputs = {{OP_SHAPE(7)}},
     .outputs = {{OP_SHAPE(7)}},
     .options = &whole_backwards},
    {.name = "strides",
     .inputs = {{OP_SHAPE(5, 8)}},
     .outputs = {{OP_SHAPE(3, 3)}},
     .options = &every_second},
    {.name = "listed axes",
     .inputs = {{OP_SHAPE(3, 2, 4)}},
     .outputs = {{OP_SHAPE(2, 2, 2)}},
     .options = &mixed},
    {.name = "back and forth",
     .inputs = {{OP_SHAPE(5, 4, 6)}},
     .outputs = {{OP_SHAPE(2, 2, 2)}},
     .options = &back_and_forth},
    {.name = "cut off",
     .inputs = {{OP_SHAPE(4)}},
     .outputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(-9), .end = L(9), .first = {0})},
    {.name = "cut off, stride",
     .inputs = {{OP_SHAPE(4)}},
     .outputs = {{OP_SHAPE(2)}},
     .options = RANGES(.begin = L(-5), .end = L(9), .strides = L(2), .first = {0}, .step = {2})},
    {.name = "cut off, backwards",
     .inputs = {{OP_SHAPE(4)}},
     .outputs = {{OP_SHAPE(2)}},
     .options = RANGES(.begin = L(9), .end = L(-9), .strides = L(-2), .first = {3}, .step = {-2})},
    {.name = "huge strides",
     .inputs = {{OP_SHAPE(4, 4)}},
     .outputs = {{OP_SHAPE(1, 1)}},
     .options = RANGES(.begin = L(1, -1), .end = L(TC_TO_END, TC_TO_END),
                       .strides = L(INT64_MAX, INT64_MIN), .first = {1, 3})},
    {.name = "nothing",
     .inputs = {{OP_SHAPE(4, 2)}},
     .outputs = {{OP_SHAPE(0, 2)}},
     .options = RANGES(.begin = L(3), .end = L(1))},
    {.name = "wrong way",
     .inputs = {{OP_SHAPE(4)}},
     .outputs = {{OP_SHAPE(0)}},
     .options = RANGES(.begin = L(1), .end = L(3), .strides = L(-1))},
    {.name = "of nothing",
     .inputs = {{OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(0, 2)}},
     .options = RANGES(.begin = L(-1, 1), .end = L(TC_TO_END, TC_TO_END), .strides = L(-1, 1),
                       .first = {0, 1})},
    {.name = "scalar",
     .inputs = {{.rank = 0}},
     .outputs = {{.rank = 0}},
     .options = &nothing_listed},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(2, 1, 2, 1, 2, 1, 2, 4)}},
     .outputs = {{OP_SHAPE(1, 1, 2, 1, 1, 1, 2, 2)}},
     .options = RANGES(.begin = L(1, 0, 1), .end = L(2, 1, TC_TO_END), .strides = L(1, 1, 2),
                       .axes = L(0, 4, 7), .first = {1, 0, 0, 0, 0, 0, 0, 1},
                       .step = {1, 1, 1, 1, 1, 1, 1, 2})},
    {.name = "large",
     .inputs = {{OP_SHAPE(301, 700)}},
     .outputs = {{OP_SHAPE(300, 333)}},
     .options = RANGES(.begin = L(1, 1), .end = L(TC_TO_END, 667), .strides = L(1, 2),
                       .first = {1, 1}, .step = {1, 2}),
     .no_gradients = true},
    {.name = "large corner",
     .inputs = {{OP_SHAPE(301, 700)}},
     .outputs = {{OP_SHAPE(300, 666)}},
     .options = RANGES(.begin = L(1, 1), .end = L(TC_TO_END, 667), .first = {1, 1}),
     .no_gradients = true},
};

static const op_bad slice_bad[] = {
    {.inputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(0), .end = L(1, 2)),
     .message = "cannot slice [4]: begin and end must have the same number"},
    {.inputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(0), .end = L(1), .strides = L(1, 1)),
     .message = "strides must have as many"},
    {.inputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(0), .end = L(1), .axes = L(0, 1)),
     .message = "axes must have as many"},
    {.inputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(0, 0), .end = L(1, 1)),
     .message = "more entries than the value has dimensions"},
    {.inputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(0), .end = L(1), .strides = L(0)),
     .message = "a stride must not be 0"},
    {.inputs = {{OP_SHAPE(4)}},
     .options = RANGES(.begin = L(0), .end = L(1), .axes = L(1)),
     .message = "is not a dimension"},
    {.inputs = {{OP_SHAPE(4, 4)}},
     .options = RANGES(.begin = L(0, 0), .end = L(1, 1), .axes = L(1, -1)),
     .message = "axes lists a dimension twice"},
};

extern const op_case op_case_slice;
const op_case op_case_slice = {.op = "slice",
                               .build = build_slice,
                               .reference = slice_reference,
                               OP_LIST(slice_samples),
                               OP_BAD(slice_bad),
                               .n_inputs = 1,
                               .dtypes = TC_DTYPES_ANY,
                               .gradients = OP_INPUT(0)};

static tc_value build_slice_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const ranges *r = options;
    tc_slice_options o = {.struct_size = sizeof o, .strides = r->strides, .axes = r->axes};
    return tc_slice_grad_at(TC_HERE, in[0], in[1], r->begin, r->end, &o);
}

static void slice_grad_reference(const op_run *run)
{
    const tc_shape *dy = &run->input_shapes[0], *dx = &run->output_shapes[0];
    for (int64_t i = 0; i < elements_of(dx); i++)
        run->outputs[0][i] = 0;
    for (int64_t i = 0; i < elements_of(dy); i++) {
        int64_t place[TC_MAX_RANK];
        place_of(dy, i, place);
        for (int32_t d = 0; d < dx->rank; d++)
            place[d] = taken(run->options, d, place[d]);
        run->outputs[0][index_of(dx, place)] = run->inputs[0][i];
    }
}

static const op_sample slice_grad_samples[] = {
    {.name = "corner",
     .inputs = {{OP_SHAPE(2, 2)}, {OP_SHAPE(4, 5)}},
     .outputs = {{OP_SHAPE(4, 5)}},
     .options = &corner},
    {.name = "backwards",
     .inputs = {{OP_SHAPE(7)}, {.dtype = TC_I8, OP_SHAPE(7)}},
     .outputs = {{OP_SHAPE(7)}},
     .options = &whole_backwards},
    {.name = "strides",
     .inputs = {{OP_SHAPE(3, 3)}, {OP_SHAPE(5, 8)}},
     .outputs = {{OP_SHAPE(5, 8)}},
     .options = &every_second},
    {.name = "listed axes",
     .inputs = {{OP_SHAPE(2, 2, 2)}, {OP_SHAPE(3, 2, 4)}},
     .outputs = {{OP_SHAPE(3, 2, 4)}},
     .options = &mixed},
    {.name = "back and forth",
     .inputs = {{OP_SHAPE(2, 2, 2)}, {OP_SHAPE(5, 4, 6)}},
     .outputs = {{OP_SHAPE(5, 4, 6)}},
     .options = &back_and_forth},
    {.name = "nothing",
     .inputs = {{OP_SHAPE(0, 2)}, {OP_SHAPE(4, 2)}},
     .outputs = {{OP_SHAPE(4, 2)}},
     .options = RANGES(.begin = L(3), .end = L(1))},
    {.name = "of nothing",
     .inputs = {{OP_SHAPE(0)}, {OP_SHAPE(0)}},
     .outputs = {{OP_SHAPE(0)}},
     .options = RANGES(.begin = L(0), .end = L(3))},
    {.name = "scalar",
     .inputs = {{.rank = 0}, {.rank = 0}},
     .outputs = {{.rank = 0}},
     .options = &nothing_listed},
};

static const op_bad slice_grad_bad[] = {
    {.inputs = {{OP_SHAPE(3, 2)}, {OP_SHAPE(4, 5)}},
     .options = &corner,
     .message = "dy has shape [3, 2], but the slice of [4, 5] has shape [2, 2]"},
};

extern const op_case op_case_slice_grad;
const op_case op_case_slice_grad = {.op = "slice_grad",
                                    .build = build_slice_grad,
                                    .reference = slice_grad_reference,
                                    OP_LIST(slice_grad_samples),
                                    OP_BAD(slice_grad_bad),
                                    .n_inputs = 2,
                                    .dtypes = TC_DTYPES_ANY,
                                    .gradients = OP_INPUT(0)};
