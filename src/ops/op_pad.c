/* Elements around a value, and their gradient. */
#include "core/shape.h"
#include "ops/build.h"
#include "tensorc/ops/shape.h"

static const char *const mode_names[] = {"constant", "reflect", "edge"};

static tc_pad_mode read_mode(const tc_attrs *attrs)
{
    const char *name = tc_attrs_string(attrs, "mode");
    tc_pad_mode mode = TC_PAD_CONSTANT;
    for (int i = TC_PAD_CONSTANT; i <= TC_PAD_EDGE; i++)
        if (strcmp(name, mode_names[i]) == 0)
            mode = (tc_pad_mode)i;
    return mode;
}

/* infer: the padded shape of `x`. */
static tc_status pad_shape(tc_infer *infer, const tc_shape *x, tc_shape *out)
{
    int32_t n_before, n_after;
    const int64_t *before = tc_attrs_ints(infer->attrs, "before", &n_before);
    const int64_t *after = tc_attrs_ints(infer->attrs, "after", &n_after);
    tc_pad_mode mode = read_mode(infer->attrs);
    char text[TC_SHAPE_TEXT_SIZE];
    if (n_before != x->rank || n_after != x->rank)
        return tc_infer_fail(infer,
                             "before has %d entries and after %d, but %s needs %d of each, one per "
                             "dimension",
                             (int)n_before, (int)n_after, tc_shape_text(x, text), (int)x->rank);
    *out = *x;
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t size = x->dims[i].size, padded;
        if (before[i] < 0 || after[i] < 0)
            return tc_infer_fail(infer,
                                 "the padding of dimension %d is %lld and %lld, but must not be "
                                 "negative; cut with tc_slice",
                                 (int)i, (long long)before[i], (long long)after[i]);
        int64_t most = before[i] > after[i] ? before[i] : after[i];
        if (most == 0)
            continue;
        out->dims[i] = (tc_dim){-1, NULL};
        if (size < 0)
            continue;
        int64_t needed = mode == TC_PAD_REFLECT ? most + (most < INT64_MAX) : mode == TC_PAD_EDGE;
        if (size < needed)
            return tc_infer_fail(infer, "dimension %d of %s is too small for %s padding by %lld",
                                 (int)i, tc_shape_text(x, text), mode_names[mode], (long long)most);
        if (__builtin_add_overflow(before[i], after[i], &padded) ||
            __builtin_add_overflow(padded, size, &padded))
            return tc_infer_fail(infer, "the padded size of dimension %d overflows", (int)i);
        out->dims[i].size = padded;
    }
    return TC_OK;
}

static tc_status pad_infer(tc_infer *infer)
{
    return pad_shape(infer, &infer->inputs[0].shape, &infer->outputs[0].shape);
}

static void pad_grad(tc_grad *grad)
{
    int32_t rank;
    const int64_t *before = tc_attrs_ints(grad->attrs, "before", &rank);
    const int64_t *after = tc_attrs_ints(grad->attrs, "after", NULL);
    tc_location at = TC_WITHIN(grad->at);
    tc_value dy = grad->output_gradients[0];
    tc_ints begin = {before, (size_t)rank}, tail = {after, (size_t)rank};
    tc_pad_options options = {.struct_size = sizeof options, .mode = read_mode(grad->attrs)};
    if (options.mode != TC_PAD_CONSTANT) {
        grad->input_gradients[0] = tc_pad_grad_at(at, dy, grad->inputs[0], begin, tail, &options);
        return;
    }
    int64_t end[TC_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        end[i] = after[i] ? -after[i] : TC_TO_END;
    grad->input_gradients[0] = tc_slice_at(at, dy, begin, (tc_ints){end, (size_t)rank}, NULL);
}

static const tc_port pad_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port pad_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "x with its padding"}};
static const tc_attr_def pad_attrs[] = {
    {"before", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "elements before each dimension"},
    {"after", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "elements after each dimension"},
    {"mode",
     TC_ATTR_STRING,
     {.type = TC_ATTR_STRING, .s = "constant"},
     "constant|reflect|edge",
     "where they come from"},
    {"value", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT}, NULL, "of constant padding"},
};

const tc_op tc_op_pad = {
    .name = "pad",
    .version = 1,
    .doc = "adds elements around x",
    TC_LIST(inputs, pad_inputs),
    TC_LIST(outputs, pad_outputs),
    TC_LIST(attrs, pad_attrs),
    .infer = pad_infer,
    .grad = pad_grad,
};

/* Fails for a mode of no name; then its name is not asked for. */
static bool mode_is_valid(tc_pad_mode mode)
{
    return (unsigned)mode < sizeof mode_names / sizeof mode_names[0];
}

static tc_value mode_fail(tc_location at, tc_value x, const char *op, tc_pad_mode mode)
{
    return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "%s: there is no padding mode %d", op,
                         (int)mode);
}

tc_value tc_pad_at(tc_location at, tc_value x, tc_ints before, tc_ints after,
                   const tc_pad_options *options)
{
    TC_OPTIONS(tc_pad_options, o, options);
    if (!mode_is_valid(o.mode))
        return mode_fail(at, x, "pad", o.mode);
    return TC_NODE_WITH("pad", o.name, at, (x), {"before", tc_attr_ints(before.data, before.count)},
                        {"after", tc_attr_ints(after.data, after.count)},
                        {"mode", tc_attr_string(mode_names[o.mode])},
                        {"value", tc_attr_float(o.value)});
}

static tc_status pad_grad_infer(tc_infer *infer)
{
    const tc_shape *like = &infer->inputs[1].shape;
    tc_shape padded;
    TC_TRY(pad_shape(infer, like, &padded));
    if (!tc_shape_compatible(&padded, &infer->inputs[0].shape)) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE], c[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "dy has shape %s, but %s padded has shape %s",
                             tc_shape_text(&infer->inputs[0].shape, a), tc_shape_text(like, b),
                             tc_shape_text(&padded, c));
    }
    infer->outputs[0].shape = *like;
    return TC_OK;
}

/* Padding is linear but for its constant, which is 0 in this direction. */
static void pad_grad_grad(tc_grad *grad)
{
    int32_t rank;
    const int64_t *before = tc_attrs_ints(grad->attrs, "before", &rank);
    const int64_t *after = tc_attrs_ints(grad->attrs, "after", NULL);
    tc_pad_options options = {.struct_size = sizeof options, .mode = read_mode(grad->attrs)};
    grad->input_gradients[0] =
        tc_pad_at(TC_WITHIN(grad->at), grad->output_gradients[0], (tc_ints){before, (size_t)rank},
                  (tc_ints){after, (size_t)rank}, &options);
}

static const tc_port pad_grad_inputs[] = {
    {"dy", TC_DTYPES_NUMBER, 'T', 0, "of the padded shape"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "what was padded"},
};
static const tc_port pad_grad_outputs[] = {
    {"dx", TC_DTYPES_NUMBER, 'T', 0, "sums over the copies of each element"}};
static const tc_attr_def pad_grad_attrs[] = {
    {"before", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "elements before each dimension"},
    {"after", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "elements after each dimension"},
    {"mode",
     TC_ATTR_STRING,
     {.type = TC_ATTR_STRING, .s = "constant"},
     "constant|reflect|edge",
     "where they came from"},
};

const tc_op tc_op_pad_grad = {
    .name = "pad_grad",
    .version = 1,
    .doc = "gradient of pad: each element of dy added to the one it was a copy of",
    TC_LIST(inputs, pad_grad_inputs),
    TC_LIST(outputs, pad_grad_outputs),
    TC_LIST(attrs, pad_grad_attrs),
    .infer = pad_grad_infer,
    .grad = pad_grad_grad,
};

tc_value tc_pad_grad_at(tc_location at, tc_value dy, tc_value like, tc_ints before, tc_ints after,
                        const tc_pad_options *options)
{
    TC_OPTIONS(tc_pad_options, o, options);
    if (!mode_is_valid(o.mode))
        return mode_fail(at, dy, "pad_grad", o.mode);
    return TC_NODE_WITH("pad_grad", o.name, at, (dy, like),
                        {"before", tc_attr_ints(before.data, before.count)},
                        {"after", tc_attr_ints(after.data, after.count)},
                        {"mode", tc_attr_string(mode_names[o.mode])});
}
