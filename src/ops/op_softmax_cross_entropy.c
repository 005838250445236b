/*
 * Cross entropy between labels and a softmax over the last axis: with class ids, and ("dense") with
 * probabilities. The log-sum-exp of each example is saved for the gradient, where it gives the
 * softmax p = exp(logits - lse) in one pass.
 */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/nn.h"
#include "tensorc/ops/reduce.h"
#include "tensorc/ops/shape.h"

enum { LOGITS, LABELS };                                /* inputs of the loss */
enum { GRAD_LOSS, GRAD_LOGITS, GRAD_LABELS, GRAD_LSE }; /* inputs of its gradient */

static tc_shape without_classes(const tc_shape *shape)
{
    tc_shape examples = *shape;
    examples.dims[--examples.rank] = (tc_dim){0, NULL};
    return examples;
}

static bool is_dense(const tc_attrs *attrs)
{
    return strstr(attrs->op->name, "dense") != NULL;
}

/* Logits of rank 1 at least, and labels that go with them. */
static tc_status check(tc_infer *infer, const tc_shape *logits, const tc_shape *labels)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE], c[TC_SHAPE_TEXT_SIZE];
    if (logits->rank < 1)
        return tc_infer_fail(infer, "logits are a scalar, but need a last axis of classes");
    bool dense = is_dense(infer->attrs);
    tc_shape expected = dense ? *logits : without_classes(logits);
    if (!tc_shape_compatible(labels, &expected))
        return tc_infer_fail(infer, "%s %s do not fit logits %s: expected %s",
                             dense ? "probabilities" : "class ids", tc_shape_text(labels, a),
                             tc_shape_text(logits, b), tc_shape_text(&expected, c));
    return TC_OK;
}

static tc_status loss_infer(tc_infer *infer)
{
    const tc_shape *logits = &infer->inputs[LOGITS].shape;
    TC_TRY(check(infer, logits, &infer->inputs[LABELS].shape));
    tc_dtype dtype = infer->inputs[LOGITS].dtype;
    infer->outputs[0].shape = infer->outputs[1].shape = without_classes(logits);
    infer->outputs[1].dtype = dtype == TC_F64 ? TC_F64 : TC_F32;
    return TC_OK;
}

static tc_status gradient_infer(tc_infer *infer)
{
    const tc_shape *logits = &infer->inputs[GRAD_LOGITS].shape;
    TC_TRY(check(infer, logits, &infer->inputs[GRAD_LABELS].shape));
    tc_shape examples = without_classes(logits);
    static const int per_example[] = {GRAD_LOSS, GRAD_LSE};
    for (int i = 0; i < 2; i++) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        const tc_shape *shape = &infer->inputs[per_example[i]].shape;
        if (!tc_shape_compatible(shape, &examples))
            return tc_infer_fail(infer, "%s %s does not fit logits %s",
                                 infer->attrs->op->inputs[per_example[i]].name,
                                 tc_shape_text(shape, a), tc_shape_text(logits, b));
    }
    infer->outputs[0].shape = *logits;
    return TC_OK;
}

static tc_value add_classes(tc_location at, tc_value x)
{
    static const int64_t last = -1;
    return tc_unsqueeze_at(at, x, (tc_ints){&last, 1});
}

static tc_value sum_classes(tc_location at, tc_value x, bool keep_dims)
{
    static const int64_t last = -1;
    return tc_reduce_sum_at(at, x,
                            &(tc_reduce_options){.struct_size = sizeof(tc_reduce_options),
                                                 .axes = {&last, 1},
                                                 .keep_dims = keep_dims});
}

/* The gradient operator that goes with the node whose gradient is built. */
static tc_value gradient(tc_grad *g, tc_value loss, tc_value logits, tc_value labels, tc_value lse)
{
    if (is_dense(g->attrs))
        return TC_NODE("softmax_cross_entropy_dense_grad", NULL, TC_WITHIN(g->at),
                       (loss, logits, labels, lse));
    return TC_NODE_WITH("softmax_cross_entropy_grad", NULL, TC_WITHIN(g->at),
                        (loss, logits, labels, lse), {"ignore", *tc_attrs_get(g->attrs, "ignore")},
                        {"ignore_index", *tc_attrs_get(g->attrs, "ignore_index")});
}

static void loss_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value logits = g->inputs[LOGITS], lse = g->outputs[1];
    tc_value dloss = g->output_gradients[0], dlse = g->output_gradients[1];
    if (g->needed[LOGITS]) {
        tc_value dx = TC_NO_VALUE;
        if (dloss.node >= 0)
            dx = gradient(g, dloss, logits, g->inputs[LABELS], lse);
        if (dlse.node >= 0) {
            tc_value weight = add_classes(at, tc_cast_at(at, dlse, tc_value_dtype(logits)));
            tc_value part = tc_mul_at(at, weight, tc_softmax_at(at, logits, NULL));
            dx = dloss.node >= 0 ? tc_add_at(at, dx, part) : part;
        }
        g->input_gradients[LOGITS] = dx;
    }
    if (g->needed[LABELS] && is_dense(g->attrs) && dloss.node >= 0)
        g->input_gradients[LABELS] = tc_neg_at(
            at, tc_mul_at(at, add_classes(at, dloss), tc_log_softmax_at(at, logits, NULL)));
}

/*
 * Gradients of dlogits = w (p T - t), where w is the gradient of the loss, t the (one-hot) labels
 * and T their sum; both 0 for an ignored example. With u the gradient of dlogits: of w it is sum(u
 * (p T - t)), of the logits w T softmax_grad(u), of the labels w (sum(u p) - u). The saved lse is a
 * function of the logits and counted with them.
 */
static void gradient_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value u = g->output_gradients[0], w = g->inputs[GRAD_LOSS];
    tc_value logits = g->inputs[GRAD_LOGITS], labels = g->inputs[GRAD_LABELS];
    bool dense = is_dense(g->attrs);
    if (g->needed[GRAD_LOSS]) {
        tc_value unit = gradient(g, tc_ones_like_at(at, w), logits, labels, g->inputs[GRAD_LSE]);
        g->input_gradients[GRAD_LOSS] = sum_classes(at, tc_mul_at(at, u, unit), false);
    }
    if (!g->needed[GRAD_LOGITS] && !(dense && g->needed[GRAD_LABELS]))
        return;
    tc_value p = tc_softmax_at(at, logits, NULL), weight = add_classes(at, w);
    if (g->needed[GRAD_LOGITS]) {
        tc_value centered = tc_sub_at(at, u, sum_classes(at, tc_mul_at(at, u, p), true));
        if (dense) {
            weight = tc_mul_at(at, weight, sum_classes(at, labels, true));
        } else if (tc_attrs_bool(g->attrs, "ignore")) {
            int64_t ignored = tc_attrs_int(g->attrs, "ignore_index");
            tc_value counts =
                tc_not_equal_at(at, labels, tc_constant_like(at, labels, (double)ignored));
            weight =
                tc_mul_at(at, weight, add_classes(at, tc_cast_at(at, counts, tc_value_dtype(w))));
        }
        g->input_gradients[GRAD_LOGITS] = tc_mul_at(at, weight, tc_mul_at(at, p, centered));
    }
    if (dense && g->needed[GRAD_LABELS]) {
        tc_value mean = sum_classes(at, tc_mul_at(at, u, p), true);
        g->input_gradients[GRAD_LABELS] = tc_mul_at(at, add_classes(at, w), tc_sub_at(at, mean, u));
    }
}

#define STATISTIC (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))

static const tc_port loss_inputs[] = {
    {"logits", TC_DTYPES_FLOAT, 'T', 0, "[..., classes]"},
    {"labels", TC_DTYPES_INDEX, 0, 0, "class ids [...]"},
};
static const tc_port dense_inputs[] = {
    {"logits", TC_DTYPES_FLOAT, 'T', 0, "[..., classes]"},
    {"labels", TC_DTYPES_FLOAT, 'T', 0, "probabilities of the classes, in the shape of logits"},
};
static const tc_port loss_outputs[] = {
    {"loss", TC_DTYPES_FLOAT, 'T', 0, "per example [...]"},
    {"lse", STATISTIC, 0, 0, "log of the sum of exp(logits) [...]"},
};
static const tc_port gradient_inputs[] = {
    {"dloss", TC_DTYPES_FLOAT, 'T', 0, "gradient of the losses [...]"},
    {"logits", TC_DTYPES_FLOAT, 'T', 0, "[..., classes]"},
    {"labels", TC_DTYPES_INDEX, 0, 0, "class ids [...]"},
    {"lse", STATISTIC, 0, 0, "as saved [...]"},
};
static const tc_port dense_gradient_inputs[] = {
    {"dloss", TC_DTYPES_FLOAT, 'T', 0, "gradient of the losses [...]"},
    {"logits", TC_DTYPES_FLOAT, 'T', 0, "[..., classes]"},
    {"labels", TC_DTYPES_FLOAT, 'T', 0, "probabilities of the classes"},
    {"lse", STATISTIC, 0, 0, "as saved [...]"},
};
static const tc_port gradient_outputs[] = {
    {"dlogits", TC_DTYPES_FLOAT, 'T', 0, "gradient of the logits"},
};
static const tc_attr_def loss_attrs[] = {
    {"ignore", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "whether ignore_index counts"},
    {"ignore_index", TC_ATTR_INT, {.type = TC_ATTR_INT}, NULL, "label of ignored examples"},
};

const tc_op tc_op_softmax_cross_entropy = {
    .name = "softmax_cross_entropy",
    .version = 1,
    .doc = "cross entropy of class ids and the softmax of logits",
    TC_LIST(inputs, loss_inputs),
    TC_LIST(outputs, loss_outputs),
    TC_LIST(attrs, loss_attrs),
    .infer = loss_infer,
    .cost = tc_cost_normalize,
    .grad = loss_grad,
};
const tc_op tc_op_softmax_cross_entropy_dense = {
    .name = "softmax_cross_entropy_dense",
    .version = 1,
    .doc = "cross entropy of probabilities and the softmax of logits",
    TC_LIST(inputs, dense_inputs),
    TC_LIST(outputs, loss_outputs),
    .infer = loss_infer,
    .cost = tc_cost_normalize,
    .grad = loss_grad,
};
const tc_op tc_op_softmax_cross_entropy_grad = {
    .name = "softmax_cross_entropy_grad",
    .version = 1,
    .doc = "gradient of softmax_cross_entropy",
    TC_LIST(inputs, gradient_inputs),
    TC_LIST(outputs, gradient_outputs),
    TC_LIST(attrs, loss_attrs),
    .infer = gradient_infer,
    .cost = tc_cost_normalize,
    .grad = gradient_grad,
};
const tc_op tc_op_softmax_cross_entropy_dense_grad = {
    .name = "softmax_cross_entropy_dense_grad",
    .version = 1,
    .doc = "gradient of softmax_cross_entropy_dense",
    TC_LIST(inputs, dense_gradient_inputs),
    TC_LIST(outputs, gradient_outputs),
    .infer = gradient_infer,
    .cost = tc_cost_normalize,
    .grad = gradient_grad,
};

/* The mean of the examples that count, by the mean of a mask, which no dtype overflows at; 0 when
 * none counts. */
static tc_value mean_of_counted(tc_location at, tc_value losses, tc_value labels, int64_t ignored,
                                const tc_reduce_options *reduce)
{
    tc_value counts = tc_not_equal_at(at, labels, tc_constant_like(at, labels, (double)ignored));
    tc_value share = tc_reduce_mean_at(at, tc_cast_at(at, counts, tc_value_dtype(losses)), NULL);
    tc_value none = tc_equal_at(at, share, tc_constant_like(at, share, 0));
    share = tc_where_at(at, none, tc_constant_like(at, share, 1), share);
    tc_value mean = tc_reduce_mean_at(at, losses, NULL);
    return TC_NODE("div", reduce->name, at, (mean, share));
}

tc_value tc_softmax_cross_entropy_at(tc_location at, tc_value logits, tc_value labels,
                                     const tc_softmax_cross_entropy_options *options)
{
    TC_OPTIONS(tc_softmax_cross_entropy_options, o, options);
    bool dense = TC_DTYPES_FLOAT & TC_DTYPE_BIT(tc_value_dtype(labels));
    bool ignore = o.ignore_index.has;
    if (dense && ignore)
        return tc_graph_fail(logits.graph, at, TC_INVALID_ARGUMENT,
                             "softmax_cross_entropy: ignore_index is for class ids, but labels are "
                             "probabilities");
    if (o.reduction < TC_REDUCTION_MEAN || o.reduction > TC_REDUCTION_NONE)
        return tc_graph_fail(logits.graph, at, TC_INVALID_ARGUMENT,
                             "softmax_cross_entropy: there is no reduction %d", (int)o.reduction);
    const char *name = o.reduction == TC_REDUCTION_NONE ? o.name : NULL;
    tc_value losses =
        dense ? TC_NODE("softmax_cross_entropy_dense", name, at, (logits, labels))
              : TC_NODE_WITH("softmax_cross_entropy", name, at, (logits, labels),
                             {"ignore", tc_attr_bool(ignore)},
                             {"ignore_index", tc_attr_int(ignore ? o.ignore_index.value : 0)});
    tc_reduce_options reduce = {.struct_size = sizeof reduce, .name = o.name};
    switch (o.reduction) {
    case TC_REDUCTION_NONE: return losses;
    case TC_REDUCTION_SUM: return tc_reduce_sum_at(at, losses, &reduce);
    default: break;
    }
    return ignore ? mean_of_counted(at, losses, labels, o.ignore_index.value, &reduce)
                  : tc_reduce_mean_at(at, losses, &reduce);
}
