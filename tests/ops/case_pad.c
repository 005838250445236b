/* Padding in its three modes. */
#include "places.h"

typedef struct padding {
    tc_ints before, after;
    tc_pad_mode mode;
    double value;
} padding;
#define PADDING(...) (&(const padding){__VA_ARGS__})
#define L(...)       COUNTED(__VA_ARGS__)

/* Where element i of a padded dimension of `size` comes from; -1: the constant. */
static int64_t origin(const padding *p, int32_t d, int64_t i, int64_t size)
{
    i -= p->before.data[d];
    if (i >= 0 && i < size)
        return i;
    switch (p->mode) {
    case TC_PAD_REFLECT: return i < 0 ? -i : size - 1 - (i - (size - 1));
    case TC_PAD_EDGE: return i < 0 ? 0 : size - 1;
    default: return -1;
    }
}

/* The element of `x` that element i of the padded `y` is a copy of; -1: the constant. */
static int64_t copied(const padding *p, const tc_shape *x, const tc_shape *y, int64_t i)
{
    int64_t place[TC_MAX_RANK];
    place_of(y, i, place);
    for (int32_t d = 0; d < x->rank; d++) {
        place[d] = origin(p, d, place[d], x->dims[d].size);
        if (place[d] < 0)
            return -1;
    }
    return index_of(x, place);
}

static tc_value build_pad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const padding *p = options;
    return tc_pad(in[0], p->before, p->after, .mode = p->mode, .value = p->value);
}

static void pad_reference(const op_run *run)
{
    const padding *p = run->options;
    for (int64_t i = 0; i < elements_of(&run->output_shapes[0]); i++) {
        int64_t from = copied(p, &run->input_shapes[0], &run->output_shapes[0], i);
        run->outputs[0][i] = from < 0 ? p->value : run->inputs[0][from];
    }
}

static const padding plane_zero = {.before = L(0, 0, 1, 2), .after = L(0, 0, 3, 0)};
static const padding plane_reflect = {
    .before = L(0, 0, 1, 2), .after = L(0, 0, 2, 1), .mode = TC_PAD_REFLECT};
static const padding plane_edge = {
    .before = L(0, 0, 1, 2), .after = L(0, 0, 5, 1), .mode = TC_PAD_EDGE};
static const padding last_reflect = {
    .before = L(1, 1, 0), .after = L(0, 2, 0), .mode = TC_PAD_REFLECT};
static const padding last_edge = {.before = L(2, 0, 0), .after = L(1, 7, 0), .mode = TC_PAD_EDGE};
static const padding one_edge = {.before = L(4), .after = L(3), .mode = TC_PAD_EDGE};
static const padding nothing_zero = {.before = L(0, 0), .after = L(0, 0)};
static const padding nothing_edge = {.before = L(0, 0), .after = L(0, 0), .mode = TC_PAD_EDGE};
static const padding full_reflect = {.before = L(4, 0), .after = L(4, 600), .mode = TC_PAD_REFLECT};
static const padding scalar = {.before = {NULL, 0}};

static const op_sample pad_samples[] = {
    {.name = "vector",
     .inputs = {{OP_SHAPE(3)}},
     .outputs = {{OP_SHAPE(6)}},
     .options = PADDING(.before = L(1), .after = L(2), .value = 1)},
    {.name = "images",
     .inputs = {{OP_SHAPE(2, 3, 4, 5)}},
     .outputs = {{OP_SHAPE(2, 3, 8, 7)}},
     .options = &plane_zero},
    {.name = "reflect",
     .inputs = {{OP_SHAPE(1, 2, 3, 4)}},
     .outputs = {{OP_SHAPE(1, 2, 6, 7)}},
     .options = &plane_reflect},
    {.name = "edge",
     .inputs = {{OP_SHAPE(1, 2, 3, 4)}},
     .outputs = {{OP_SHAPE(1, 2, 9, 7)}},
     .options = &plane_edge},
    {.name = "last stays, reflect",
     .inputs = {{OP_SHAPE(2, 3, 5)}},
     .outputs = {{OP_SHAPE(3, 6, 5)}},
     .options = &last_reflect},
    {.name = "last stays, edge",
     .inputs = {{OP_SHAPE(2, 1, 5)}},
     .outputs = {{OP_SHAPE(5, 8, 5)}},
     .options = &last_edge},
    {.name = "one element",
     .inputs = {{OP_SHAPE(1)}},
     .outputs = {{OP_SHAPE(8)}},
     .options = &one_edge},
    {.name = "whole mirror",
     .inputs = {{OP_SHAPE(5, 700)}},
     .outputs = {{OP_SHAPE(13, 1300)}},
     .options = &full_reflect,
     .no_gradients = true},
    {.name = "nothing",
     .inputs = {{OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = &nothing_zero},
    {.name = "nothing, empty",
     .inputs = {{OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = &nothing_edge},
    {.name = "scalar", .inputs = {{.rank = 0}}, .outputs = {{.rank = 0}}, .options = &scalar},
    {.name = "of nothing",
     .inputs = {{OP_SHAPE(0, 2)}},
     .outputs = {{OP_SHAPE(3, 3)}},
     .options = PADDING(.before = L(1, 0), .after = L(2, 1), .value = 1)},
    {.name = "infinity",
     .inputs = {{OP_SHAPE(3, 2)}},
     .outputs = {{OP_SHAPE(4, 4)}},
     .options = PADDING(.before = L(1, 1), .after = L(0, 1), .value = -INFINITY),
     .dtypes = TC_DTYPES_FLOAT,
     .no_gradients = true},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)}},
     .outputs = {{OP_SHAPE(2, 2, 1, 3, 1, 2, 2, 3)}},
     .options = PADDING(.before = L(1, 0, 0, 0, 0, 0, 1, 0), .after = L(0, 0, 0, 1, 0, 0, 0, 1))},
};

static const op_bad pad_bad[] = {
    {.inputs = {{OP_SHAPE(3, 2)}},
     .options = PADDING(.before = L(1), .after = L(1, 1)),
     .message = "before has 1 entries and after 2, but [3, 2] needs 2 of each"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = PADDING(.before = L(-1), .after = L(1)),
     .message = "the padding of dimension 0 is -1 and 1, but must not be negative"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = PADDING(.before = L(3), .after = L(0), .mode = TC_PAD_REFLECT),
     .message = "dimension 0 of [3] is too small for reflect padding by 3"},
    {.inputs = {{OP_SHAPE(0)}},
     .options = PADDING(.before = L(1), .after = L(0), .mode = TC_PAD_EDGE),
     .message = "dimension 0 of [0] is too small for edge padding by 1"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = PADDING(.before = L(INT64_MAX), .after = L(1)),
     .message = "the padded size of dimension 0 overflows"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = PADDING(.before = L(1), .after = L(1), .mode = (tc_pad_mode)3),
     .message = "there is no padding mode 3"},
};

extern const op_case op_case_pad;
const op_case op_case_pad = {.op = "pad",
                             .build = build_pad,
                             .reference = pad_reference,
                             OP_LIST(pad_samples),
                             OP_BAD(pad_bad),
                             .n_inputs = 1,
                             .dtypes = TC_DTYPES_ANY,
                             .gradients = OP_INPUT(0)};

static tc_value build_pad_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const padding *p = options;
    tc_pad_options o = {.struct_size = sizeof o, .mode = p->mode};
    return tc_pad_grad_at(TC_HERE, in[0], in[1], p->before, p->after, &o);
}

static void pad_grad_reference(const op_run *run)
{
    for (int64_t i = 0; i < elements_of(&run->output_shapes[0]); i++)
        run->outputs[0][i] = 0;
    for (int64_t i = 0; i < elements_of(&run->input_shapes[0]); i++) {
        int64_t to = copied(run->options, &run->output_shapes[0], &run->input_shapes[0], i);
        if (to >= 0)
            run->outputs[0][to] += run->inputs[0][i];
    }
}

/* Small integers, whose sums are exact in every dtype and do not wrap around. */
#define DY(...)                                               \
    {                                                         \
        __VA_ARGS__, .fill = OP_INTEGERS, .low = 0, .high = 3 \
    }
static const op_sample pad_grad_samples[] = {
    {.name = "zero",
     .inputs = {DY(OP_SHAPE(2, 3, 8, 7)), {OP_SHAPE(2, 3, 4, 5)}},
     .outputs = {{OP_SHAPE(2, 3, 4, 5)}},
     .options = &plane_zero},
    {.name = "reflect",
     .inputs = {DY(OP_SHAPE(1, 2, 6, 7)), {OP_SHAPE(1, 2, 3, 4)}},
     .outputs = {{OP_SHAPE(1, 2, 3, 4)}},
     .options = &plane_reflect},
    {.name = "edge",
     .inputs = {DY(OP_SHAPE(1, 2, 9, 7)), {OP_SHAPE(1, 2, 3, 4)}},
     .outputs = {{OP_SHAPE(1, 2, 3, 4)}},
     .options = &plane_edge},
    {.name = "last stays, reflect",
     .inputs = {DY(OP_SHAPE(3, 6, 5)), {OP_SHAPE(2, 3, 5)}},
     .outputs = {{OP_SHAPE(2, 3, 5)}},
     .options = &last_reflect},
    {.name = "last stays, edge",
     .inputs = {DY(OP_SHAPE(5, 8, 5)), {OP_SHAPE(2, 1, 5)}},
     .outputs = {{OP_SHAPE(2, 1, 5)}},
     .options = &last_edge},
    {.name = "one element",
     .inputs = {DY(OP_SHAPE(8)), {OP_SHAPE(1)}},
     .outputs = {{OP_SHAPE(1)}},
     .options = &one_edge},
    {.name = "whole mirror",
     .inputs = {DY(OP_SHAPE(13, 1300)), {OP_SHAPE(5, 700)}},
     .outputs = {{OP_SHAPE(5, 700)}},
     .options = &full_reflect,
     .no_gradients = true},
    {.name = "nothing",
     .inputs = {DY(OP_SHAPE(2, 3)), {OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = &nothing_zero},
    {.name = "empty",
     .inputs = {DY(OP_SHAPE(0, 3)), {OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = &nothing_edge},
    {.name = "scalar",
     .inputs = {{.rank = 0}, {.rank = 0}},
     .outputs = {{.rank = 0}},
     .options = &scalar},
};

static const op_bad pad_grad_bad[] = {
    {.inputs = {{OP_SHAPE(7)}, {OP_SHAPE(1)}},
     .options = &one_edge,
     .message = "dy has shape [7], but [1] padded has shape [8]"},
};

extern const op_case op_case_pad_grad;
const op_case op_case_pad_grad = {.op = "pad_grad",
                                  .build = build_pad_grad,
                                  .reference = pad_grad_reference,
                                  OP_LIST(pad_grad_samples),
                                  OP_BAD(pad_grad_bad),
                                  .n_inputs = 2,
                                  .dtypes = TC_DTYPES_NUMBER,
                                  .gradients = OP_INPUT(0)};
