/* Cross entropy with class ids and with probabilities, and its gradients. */
#include "rows.h"

typedef struct loss_options {
    tc_reduction reduction;
    bool ignore;
    int64_t ignore_index;
} loss_options;

static const loss_options none = {.reduction = TC_REDUCTION_NONE};
static const loss_options none_ignoring = {TC_REDUCTION_NONE, true, -100};
static const loss_options sum = {.reduction = TC_REDUCTION_SUM};
static const loss_options sum_ignoring = {TC_REDUCTION_SUM, true, 2};
static const loss_options mean_ignoring = {TC_REDUCTION_MEAN, true, 2};

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    const loss_options *o = options;
    (void)graph;
    if (!o)
        return tc_softmax_cross_entropy(in[0], in[1]);
    if (!o->ignore)
        return tc_softmax_cross_entropy(in[0], in[1], .reduction = o->reduction);
    return tc_softmax_cross_entropy(in[0], in[1], .reduction = o->reduction,
                                    .ignore_index = TC_SOME(o->ignore_index));
}

/* The gradient operator of the losses: dloss, logits, labels. */
static tc_value build_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    const loss_options *o = options ? options : &none;
    (void)graph;
    tc_softmax_cross_entropy_options each = {.struct_size = sizeof each,
                                             .reduction = TC_REDUCTION_NONE,
                                             .ignore_index = {o->ignore, o->ignore_index}};
    tc_value lse = tc_output(tc_softmax_cross_entropy_at(TC_HERE, in[1], in[2], &each), 1);
    if (TC_DTYPES_FLOAT & TC_DTYPE_BIT(tc_value_dtype(in[2])))
        return tc_node_build(NULL, &(tc_node_spec){.op = "softmax_cross_entropy_dense_grad",
                                                   .at = TC_HERE,
                                                   TC_SPEC_INPUTS(in[0], in[1], in[2], lse)});
    return tc_node_build(
        NULL, &(tc_node_spec){.op = "softmax_cross_entropy_grad",
                              .at = TC_HERE,
                              TC_SPEC_INPUTS(in[0], in[1], in[2], lse),
                              TC_SPEC_ATTRS({"ignore", tc_attr_bool(o->ignore)},
                                            {"ignore_index", tc_attr_int(o->ignore_index)})});
}

static bool is_dense(const op_run *run, int logits, int labels)
{
    return run->input_shapes[labels].rank == run->input_shapes[logits].rank;
}

static double target(const op_run *run, int labels, bool dense, int64_t row, int64_t count,
                     int64_t k)
{
    const double *t = run->inputs[labels];
    return dense ? t[row * count + k] : t[row] == (double)k;
}

static bool is_ignored(const op_run *run, int labels, bool dense, int64_t row)
{
    const loss_options *o = run->options;
    return o && o->ignore && !dense && run->inputs[labels][row] == (double)o->ignore_index;
}

static void reference(const op_run *run)
{
    axis_view v = view_along(&run->input_shapes[0], -1);
    const loss_options *o = run->options;
    tc_reduction reduction = o ? o->reduction : TC_REDUCTION_MEAN;
    bool dense = is_dense(run, 0, 1);
    double total = 0, counted = 0;
    for (int64_t row = 0; row < v.outer; row++) {
        const double *x = run->inputs[0] + row * v.count;
        double lse = log_sum_exp(x, v.count, 1), loss = 0;
        bool ignored = is_ignored(run, 1, dense, row);
        for (int64_t k = 0; k < v.count && !ignored; k++) {
            double t = target(run, 1, dense, row, v.count, k);
            loss += t != 0 ? t * (lse - x[k]) : 0;
        }
        total += loss;
        counted += !ignored;
        if (reduction == TC_REDUCTION_NONE) {
            run->outputs[0][row] = loss;
            run->outputs[1][row] = lse;
        }
    }
    if (reduction == TC_REDUCTION_SUM)
        run->outputs[0][0] = total;
    if (reduction == TC_REDUCTION_MEAN)
        run->outputs[0][0] = o && o->ignore && counted == 0 ? 0 : total / counted;
}

static void grad_reference(const op_run *run)
{
    axis_view v = view_along(&run->input_shapes[1], -1);
    bool dense = is_dense(run, 1, 2);
    for (int64_t row = 0; row < v.outer; row++) {
        const double *x = run->inputs[1] + row * v.count;
        double lse = log_sum_exp(x, v.count, 1), weight = run->inputs[0][row], mass = 0;
        for (int64_t k = 0; k < v.count; k++)
            mass += target(run, 2, dense, row, v.count, k);
        for (int64_t k = 0; k < v.count; k++) {
            double t = target(run, 2, dense, row, v.count, k);
            run->outputs[0][row * v.count + k] =
                is_ignored(run, 2, dense, row) ? 0 : weight * (exp(x[k] - lse) * mass - t);
        }
    }
}

#define LOGITS(...)                                 \
    {                                               \
        OP_SHAPE(__VA_ARGS__), .low = -4, .high = 4 \
    }
#define IDS(type, classes, ...)                                                                  \
    {                                                                                            \
        .dtype = type, OP_SHAPE(__VA_ARGS__), .fill = OP_INTEGERS, .low = 0, .high = (classes)-1 \
    }
#define WIDE (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))
#define HALF (TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16))
/* Losses of shape `examples`; the saved output is f32 where the logits are of 16 bits. */
#define EACH(sample_name, logits, labels, examples, options_, flat)                               \
    {.name = sample_name,                                                                         \
     .inputs = {logits, labels},                                                                  \
     .outputs = {{examples}, {examples}},                                                         \
     .options = options_,                                                                         \
     .dtypes = WIDE,                                                                              \
     .no_gradients = flat},                                                                       \
    {                                                                                             \
        .name = sample_name ", 16 bits", .inputs = {logits, labels},                              \
        .outputs = {{examples}, {.dtype = TC_F32, examples}}, .options = options_, .dtypes = HALF \
    }
#define L(...) LOGITS(__VA_ARGS__)
#define TO_SCALAR(sample_name, logits, labels, options_)                           \
    {                                                                              \
        .name = sample_name, .inputs = {logits, labels}, .outputs = {{.rank = 0}}, \
        .options = options_                                                        \
    }
#define ONLY_CLASS                                   \
    {                                                \
        .dtype = TC_I64, OP_SHAPE(3), OP_ELEMENTS(0) \
    }
#define ONE_ID                                     \
    {                                              \
        .dtype = TC_I64, .rank = 0, OP_ELEMENTS(3) \
    }
#define IGNORED(...)                                           \
    {                                                          \
        .dtype = TC_I64, OP_SHAPE(4), OP_ELEMENTS(__VA_ARGS__) \
    }
static const op_sample samples[] = {
    TO_SCALAR("mean", L(4, 5), IDS(TC_I64, 5, 4), NULL),
    TO_SCALAR("sum", L(2, 3, 5), IDS(TC_I32, 5, 2, 3), &sum),
    TO_SCALAR("sum without ignored", L(4, 3), IGNORED(0, 2, 1, 2), &sum_ignoring),
    TO_SCALAR("mean without ignored", L(4, 3), IGNORED(0, 2, 1, 2), &mean_ignoring),
    TO_SCALAR("mean of none", L(4, 3), IGNORED(2, 2, 2, 2), &mean_ignoring),
    EACH("vector", L(5), ONE_ID, .rank = 0, &none, false),
    EACH("losses", L(3, 4), IDS(TC_I32, 4, 3), OP_SHAPE(3), &none, false),
    EACH("losses without ignored", L(4, 3), IGNORED(0, -100, 1, 2), OP_SHAPE(4), &none_ignoring,
         false),
    EACH("many classes", L(7, 3001), IDS(TC_I64, 3001, 7), OP_SHAPE(7), &none, true),
    EACH("many examples", L(1200, 10), IDS(TC_I64, 10, 1200), OP_SHAPE(1200), &none, true),
    EACH("one class", L(3, 1), ONLY_CLASS, OP_SHAPE(3), &none, false),
    EACH("no examples", L(0, 4), IDS(TC_I64, 4, 0), OP_SHAPE(0), &none, true),
    {.name = "far apart",
     .inputs = {{OP_SHAPE(3, 3), OP_ELEMENTS(1000, 0, -1000, 30000, 30000, 1, -INFINITY, 0, 0)},
                {.dtype = TC_I64, OP_SHAPE(3), OP_ELEMENTS(2, 0, 1)}},
     .outputs = {{OP_SHAPE(3)}, {OP_SHAPE(3)}},
     .options = &none,
     .dtypes = WIDE,
     .no_gradients = true},
};
#define PROBABILITIES(...)                             \
    {                                                  \
        OP_SHAPE(__VA_ARGS__), .low = 0.125, .high = 1 \
    }
static const op_sample dense_samples[] = {
    TO_SCALAR("mean", L(4, 5), PROBABILITIES(4, 5), NULL),
    TO_SCALAR("sum", L(2, 3, 5), PROBABILITIES(2, 3, 5), &sum),
    EACH("vector", L(5), PROBABILITIES(5), .rank = 0, &none, false),
    EACH("losses", L(3, 4), PROBABILITIES(3, 4), OP_SHAPE(3), &none, false),
    EACH("many classes", L(7, 3001), PROBABILITIES(7, 3001), OP_SHAPE(7), &none, true),
    EACH("no examples", L(0, 4), PROBABILITIES(0, 4), OP_SHAPE(0), &none, true),
    {.name = "impossible and certain",
     .inputs = {{OP_SHAPE(2, 3), OP_ELEMENTS(-INFINITY, 0, 1, 2, -INFINITY, 1)},
                {OP_SHAPE(2, 3), OP_ELEMENTS(0, 1, 0, 0.5, 0, 0.5)}},
     .outputs = {{OP_SHAPE(2)}, {OP_SHAPE(2)}},
     .options = &none,
     .dtypes = WIDE,
     .no_gradients = true},
};
#define GRAD(sample_name, examples, logits, labels, y, options_, flat)                 \
    {                                                                                  \
        .name = sample_name, .inputs = {{examples}, logits, labels}, .outputs = {{y}}, \
        .options = options_, .no_gradients = flat                                      \
    }
static const op_sample grad_samples[] = {
    GRAD("rows", OP_SHAPE(3), L(3, 4), IDS(TC_I64, 4, 3), OP_SHAPE(3, 4), &none, false),
    GRAD("ignored", OP_SHAPE(4), L(4, 3), IGNORED(0, -100, 1, 2), OP_SHAPE(4, 3), &none_ignoring,
         false),
    GRAD("many classes", OP_SHAPE(7), L(7, 3001), IDS(TC_I32, 3001, 7), OP_SHAPE(7, 3001), &none,
         true),
    GRAD("many examples", OP_SHAPE(1200), L(1200, 10), IDS(TC_I64, 10, 1200), OP_SHAPE(1200, 10),
         &none, true),
    GRAD("no examples", OP_SHAPE(0), L(0, 4), IDS(TC_I64, 4, 0), OP_SHAPE(0, 4), &none, true),
};
static const op_sample dense_grad_samples[] = {
    GRAD("rows", OP_SHAPE(3), L(3, 4), PROBABILITIES(3, 4), OP_SHAPE(3, 4), &none, false),
    GRAD("many classes", OP_SHAPE(7), L(7, 3001), PROBABILITIES(7, 3001), OP_SHAPE(7, 3001), &none,
         true),
    GRAD("no examples", OP_SHAPE(0), L(0, 4), PROBABILITIES(0, 4), OP_SHAPE(0, 4), &none, true),
};

static const op_bad bad[] = {
    {.inputs = {{.rank = 0}, {.rank = 0, .dtype = TC_I64}}, .message = "logits are a scalar"},
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(4), .dtype = TC_I64}},
     .message = "class ids [4] do not fit logits [3, 4]: expected [3]"},
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3), .dtype = TC_I8}}, .message = "is i8"},
    {.inputs = {L(2, 4), {.dtype = TC_I64, OP_SHAPE(2), OP_ELEMENTS(3, 4)}},
     .message = "labels[1] is 4, but there are 4 classes",
     .at_run = true},
    {.inputs = {L(2, 2, 4), {.dtype = TC_I32, OP_SHAPE(2, 2), OP_ELEMENTS(3, 0, -1, 9)}},
     .message = "labels[1, 0] is -1, but there are 4 classes",
     .at_run = true},
    {.inputs = {L(4, 3), IGNORED(0, -100, 7, -100)},
     .options = &none_ignoring,
     .message = "labels[2] is 7",
     .at_run = true},
};
static const op_bad dense_bad[] = {
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 5)}},
     .message = "probabilities [3, 5] do not fit logits [3, 4]"},
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 4)}},
     .options = &none_ignoring,
     .message = "ignore_index is for class ids"},
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 4), .dtype = TC_F64}},
     .message = "must have the same dtype"},
};
static const op_bad grad_bad[] = {
    {.inputs = {{OP_SHAPE(2)}, L(3, 4), IDS(TC_I64, 4, 3)},
     .message = "dloss [2] does not fit logits [3, 4]"},
};
static const op_bad dense_grad_bad[] = {
    {.inputs = {{OP_SHAPE(2)}, L(3, 4), PROBABILITIES(3, 4)},
     .message = "dloss [2] does not fit logits [3, 4]"},
};

#define CASE(name, builder, judge, set, bad_set, inputs, checked)                             \
    extern const op_case op_case_softmax_cross_entropy##name;                                 \
    const op_case op_case_softmax_cross_entropy##name = {.op = "softmax_cross_entropy" #name, \
                                                         .build = builder,                    \
                                                         .reference = judge,                  \
                                                         OP_LIST(set),                        \
                                                         OP_BAD(bad_set),                     \
                                                         .n_inputs = inputs,                  \
                                                         .dtypes = TC_DTYPES_FLOAT,           \
                                                         .gradients = checked};
CASE(, build, reference, samples, bad, 2, OP_INPUT(0))
CASE(_dense, build, reference, dense_samples, dense_bad, 2, OP_INPUT(0) | OP_INPUT(1))
CASE(_grad, build_grad, grad_reference, grad_samples, grad_bad, 3, OP_INPUT(0) | OP_INPUT(1))
CASE(_dense_grad, build_grad, grad_reference, dense_grad_samples, dense_grad_bad, 3,
     OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2))
