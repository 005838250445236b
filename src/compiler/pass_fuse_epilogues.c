/*
 * matmul and conv2d take in what follows them on each element: a factor, a vector per column or
 * channel, a residual, an activation. The value in between must have no other reader; the fused
 * node stands where the last operation stood, so that everything it reads is there. Products are
 * tried from the last to the first: of two whose results are added the later takes the sum, the
 * other becomes its residual.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/shape.h"
#include "core/tensor.h"

/* y = activation((alpha * product + before) * scale + bias + residual); edges are old ones. */
typedef struct epilogue {
    double alpha;
    tc_edge before, scale, bias,
        residual;           /* of the vectors, before any view that broadcasts them */
    const char *activation; /* NULL: none yet */
    bool wide;              /* the value is f32 between two casts */
    int32_t last;           /* the operation that was taken in last */
} epilogue;

typedef struct product {
    const char *fused;
    int32_t node;
    int32_t axis; /* of the result, that the vectors belong to */
    epilogue after;
} product;

typedef struct fuser {
    tc_pass_context *pass;
    int32_t *uses;         /* per node: readers of output 0 */
    int32_t *user;         /* one of them */
    int32_t *shape_reader; /* the first that needs only its shape; INT32_MAX */
    bool *fixed;           /* per node: it must stay where it is */
    int32_t *taken;        /* per node: the product that it belongs to, -1 */
    TC_VECTOR(product) products;
} fuser;

static const tc_node *old_node(const fuser *f, tc_edge edge)
{
    return f->pass->old[edge.node];
}

static const tc_value_info *info_of(const fuser *f, tc_edge edge)
{
    return &old_node(f, edge)->outputs[edge.output];
}

static void find_readers(fuser *f)
{
    const tc_program *program = f->pass->program;
    for (int32_t i = 0; i < f->pass->n_old; i++) {
        const tc_node *node = f->pass->old[i];
        f->shape_reader[i] = INT32_MAX;
        f->taken[i] = -1;
        f->fixed[i] = f->fixed[i] || node->n_controls > 0;
        for (int32_t k = 0; k < node->n_controls; k++)
            f->fixed[node->controls[k]] = true;
        for (int32_t k = 0; k < node->n_inputs; k++) {
            int32_t from = node->inputs[k].node;
            if (from < 0)
                continue;
            if (!(tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY)) {
                f->uses[from]++;
                f->user[from] = i;
            } else if (f->shape_reader[from] == INT32_MAX) {
                f->shape_reader[from] = i;
            }
        }
    }
    for (int32_t i = 0; i < program->n_fetches; i++)
        f->uses[program->fetches[i].node]++;
    for (int32_t i = 0; i < program->n_feeds; i++)
        if (program->feeds[i].node >= 0)
            f->fixed[program->feeds[i].node] = true;
    for (int32_t i = 0; i < program->n_targets; i++)
        f->fixed[program->targets[i]] = true;
}

/* Whether `edge` broadcasts to the result as a vector along its axis. */
static bool is_vector(const fuser *f, const product *p, tc_edge edge)
{
    const tc_shape *y = &f->pass->old[p->node]->outputs[0].shape, *v = &info_of(f, edge)->shape;
    int32_t axis = p->axis - (y->rank - v->rank);
    if (v->rank > y->rank || axis < 0)
        return false;
    for (int32_t d = 0; d < v->rank; d++)
        if (d == axis ? !tc_dim_same(v->dims[d], y->dims[p->axis]) : v->dims[d].size != 1)
            return false;
    return true;
}

/* The vector that a view turned into one of higher rank. */
static tc_edge flat(const fuser *f, tc_edge edge)
{
    const tc_node *node = old_node(f, edge);
    bool view = node->attrs.op->flags & TC_OP_VIEW && !node->attrs.op->effects &&
                node->inputs[0].node >= 0 && info_of(f, node->inputs[0])->shape.rank == 1;
    return info_of(f, edge)->shape.rank != 1 && view ? node->inputs[0] : edge;
}

/* Both vectors are read in one dtype. */
static bool fits(const fuser *f, const epilogue *e, tc_edge vector)
{
    const tc_edge others[] = {e->scale, e->bias};
    for (int i = 0; i < 2; i++)
        if (others[i].node >= 0 && info_of(f, others[i])->dtype != info_of(f, vector)->dtype)
            return false;
    return true;
}

/* The only element of a constant. */
static bool scalar_of(const fuser *f, tc_edge edge, double *value)
{
    const tc_node *node = old_node(f, edge);
    const tc_tensor *tensor =
        tc_node_is(node, "constant") ? tc_attrs_tensor(&node->attrs, "tensor") : NULL;
    if (!tensor || tc_tensor_size(tensor) != 1)
        return false;
    *value = tc_dtype_load(tc_tensor_dtype(tensor), tc_tensor_data(tensor));
    return isfinite(*value);
}

/* Times a constant, or a vector. */
static bool take_mul(const fuser *f, const product *p, epilogue *e, tc_edge other)
{
    double factor;
    if (e->residual.node >= 0 || e->scale.node >= 0)
        return false;
    if (e->alpha == 1 && e->bias.node < 0 && scalar_of(f, other, &factor)) {
        e->alpha = factor;
        return factor != 0;
    }
    if (!is_vector(f, p, other))
        return false;
    e->before = e->bias;
    e->bias = TC_NO_EDGE;
    e->scale = flat(f, other);
    return true;
}

/* Over a power of two: as exact as its reciprocal. */
static bool take_div(const fuser *f, epilogue *e, tc_edge other)
{
    double divisor;
    int exponent;
    if (e->residual.node >= 0 || e->scale.node >= 0 || e->bias.node >= 0 || e->alpha != 1 ||
        !scalar_of(f, other, &divisor) || fabs(frexp(divisor, &exponent)) != 0.5 ||
        abs(exponent) > 10)
        return false;
    e->alpha = 1 / divisor;
    return true;
}

static bool take_add(const fuser *f, const product *p, epilogue *e, tc_edge other)
{
    const tc_value_info *y = &f->pass->old[p->node]->outputs[0];
    if (e->residual.node < 0 && !e->wide && tc_info_same(info_of(f, other), y)) {
        e->residual = other;
        return true;
    }
    if (e->bias.node >= 0 || !is_vector(f, p, other) || !fits(f, e, other))
        return false;
    e->bias = flat(f, other);
    return true;
}

static const char *activation_of(const tc_node *node)
{
    static const char *const names[] = {"relu", "sigmoid", "tanh"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (tc_node_is(node, names[i]))
            return names[i];
    if (!tc_node_is(node, "gelu"))
        return NULL;
    return tc_attrs_bool(&node->attrs, "tanh_approximation") ? "gelu_tanh" : "gelu";
}

/* f32 in between, of a product of 16 bits. */
static bool take_cast(epilogue *e, tc_dtype dtype, tc_dtype to)
{
    bool narrow = dtype != TC_F32 && dtype != TC_F64;
    e->wide = !e->wide;
    return narrow && to == (e->wide ? TC_F32 : dtype);
}

/* Takes `node`, the only reader of the value so far; false when it cannot. */
static bool take(const fuser *f, const product *p, epilogue *e, const tc_node *node)
{
    const tc_value_info *y = &f->pass->old[p->node]->outputs[0];
    if (node->n_outputs != 1 ||
        !tc_info_same(&(tc_value_info){.dtype = y->dtype, .shape = node->outputs[0].shape}, y))
        return false;
    e->last = node->index;
    if (tc_node_is(node, "cast"))
        return take_cast(e, y->dtype, node->outputs[0].dtype);
    if (e->activation)
        return false;
    e->activation = activation_of(node);
    if (e->activation)
        return true;
    if (tc_node_is(node, "bias_add")) {
        int axis = tc_axis_normalize(tc_attrs_int(&node->attrs, "axis"), y->shape.rank);
        bool free =
            e->bias.node < 0 && axis == p->axis && f->taken[node->inputs[0].node] == p->node;
        e->bias = node->inputs[1];
        return free && fits(f, &(epilogue){.scale = e->scale, .bias = TC_NO_EDGE}, e->bias);
    }
    bool commutes = tc_node_is(node, "add") || tc_node_is(node, "mul");
    if (!commutes && !tc_node_is(node, "div"))
        return false;
    /* The value may be either operand of what commutes; the dividend of a quotient. */
    bool second = f->taken[node->inputs[1].node] == p->node && node->inputs[1].output == 0;
    if (second && !commutes)
        return false;
    tc_edge other = node->inputs[second ? 0 : 1];
    if (tc_node_is(node, "add"))
        return take_add(f, p, e, other);
    return commutes ? take_mul(f, p, e, other) : take_div(f, e, other);
}

static void release(fuser *f, int32_t from, int32_t to, int32_t owner)
{
    for (int32_t i = from; i != to;) {
        i = f->user[i];
        if (f->taken[i] == owner)
            f->taken[i] = -1;
    }
}

/* Follows the only reader of each value as far as the product can take it in. */
static tc_status follow(fuser *f, int32_t index)
{
    const tc_node *node = f->pass->old[index];
    bool conv = tc_node_is(node, "conv2d");
    if ((!conv && !tc_node_is(node, "matmul")) || f->fixed[index] ||
        !(TC_DTYPES_FLOAT & TC_DTYPE_BIT(node->outputs[0].dtype)))
        return TC_OK;
    product p = {.fused = conv ? "conv2d_fused" : "matmul_fused",
                 .node = index,
                 .axis = conv ? 1 : node->outputs[0].shape.rank - 1,
                 .after = {.alpha = 1,
                           .before = TC_NO_EDGE,
                           .scale = TC_NO_EDGE,
                           .bias = TC_NO_EDGE,
                           .residual = TC_NO_EDGE,
                           .last = index}};
    epilogue e = p.after;
    int32_t at = index, shape_reader = INT32_MAX;
    f->taken[index] = index;
    for (;;) {
        if (f->shape_reader[at] < shape_reader)
            shape_reader = f->shape_reader[at];
        int32_t next = f->user[at];
        if (f->uses[at] != 1 || f->fixed[next] || f->taken[next] >= 0 || shape_reader < next ||
            (e.wide && f->shape_reader[at] < INT32_MAX) ||
            !tc_node_same_device(node, f->pass->old[next]) || !take(f, &p, &e, f->pass->old[next]))
            break;
        f->taken[next] = index;
        at = next;
        if (!e.wide)
            p.after = e;
    }
    release(f, p.after.last, at, index);
    if (p.after.last == index ||
        !tc_ir_has_kernel(f->pass, node, p.fused, node->outputs[0].dtype)) {
        release(f, index, p.after.last, index);
        f->taken[index] = -1;
        return TC_OK;
    }
    return tc_vector_push(&f->products, p) ? TC_OK : tc_compiler_exhausted();
}

/* The vector as one of rank 1 in `dtype`. */
static tc_status vector_edge(const fuser *f, const tc_node *like, tc_edge edge, tc_dtype dtype,
                             tc_edge *out)
{
    static const int64_t all[] = {-1};
    const tc_attr_arg sizes = {"sizes", tc_attr_ints(all, 1)}, to = {"dtype", tc_attr_dtype(dtype)};
    *out = TC_NO_EDGE;
    if (edge.node < 0)
        return TC_OK;
    const tc_value_info *info = info_of(f, edge);
    *out = tc_ir_new_edge(f->pass, edge);
    if (info->shape.rank != 1)
        TC_TRY(tc_ir_make(f->pass, like, "reshape", out, 1, &sizes, 1, out));
    if (info->dtype != dtype)
        TC_TRY(tc_ir_make(f->pass, like, "cast", out, 1, &to, 1, out));
    return TC_OK;
}

/* (x + before) * scale + bias is x * scale + (before * scale + bias). */
static tc_status vector_edges(const fuser *f, const product *p, tc_edge *scale, tc_edge *bias)
{
    const tc_node *like = f->pass->old[p->node];
    const epilogue *e = &p->after;
    tc_edge given = e->scale.node >= 0 ? e->scale : e->bias, before;
    tc_dtype dtype = given.node >= 0 ? info_of(f, given)->dtype : TC_DTYPE_INVALID;
    TC_TRY(vector_edge(f, like, e->scale, dtype, scale));
    TC_TRY(vector_edge(f, like, e->bias, dtype, bias));
    TC_TRY(vector_edge(f, like, e->before, dtype, &before));
    if (before.node < 0)
        return TC_OK;
    const tc_edge factors[] = {before, *scale};
    TC_TRY(tc_ir_make(f->pass, like, "mul", factors, 2, NULL, 0, &before));
    if (bias->node < 0) {
        *bias = before;
        return TC_OK;
    }
    const tc_edge terms[] = {before, *bias};
    return tc_ir_make(f->pass, like, "add", terms, 2, NULL, 0, bias);
}

static tc_status emit(fuser *f, const product *p)
{
    enum { MAX_ATTRS = 16 };
    tc_pass_context *pass = f->pass;
    const tc_node *node = pass->old[p->node];
    const tc_op *op = node->attrs.op;
    tc_edge inputs[5] = {tc_ir_new_edge(pass, node->inputs[0]),
                         tc_ir_new_edge(pass, node->inputs[1])};
    TC_TRY(vector_edges(f, p, &inputs[2], &inputs[3]));
    inputs[4] = tc_ir_new_edge(pass, p->after.residual);
    tc_attr_arg attrs[MAX_ATTRS];
    size_t n_attrs = 0;
    for (int16_t i = 0; i < op->n_attrs && i < MAX_ATTRS - 2; i++)
        attrs[n_attrs++] = (tc_attr_arg){op->attrs[i].name, node->attrs.values[i]};
    attrs[n_attrs++] = (tc_attr_arg){"alpha", tc_attr_float(p->after.alpha)};
    attrs[n_attrs++] = (tc_attr_arg){
        "activation", tc_attr_string(p->after.activation ? p->after.activation : "none")};
    tc_edge y;
    TC_TRY(tc_ir_make(pass, node, p->fused, inputs, 5, attrs, n_attrs, &y));
    /* What reads only the shape of a value in between reads that of the result. */
    for (int32_t i = p->node;; i = f->user[i]) {
        tc_ir_forward(pass, i, 0, y);
        if (i == p->after.last)
            break;
    }
    pass->changes++;
    return TC_OK;
}

static tc_status rewrite(fuser *f)
{
    tc_pass_context *pass = f->pass;
    size_t n = f->products.count;
    /* What each product became, found by its last node: -1 elsewhere. */
    for (int32_t i = 0; i < pass->n_old; i++)
        f->uses[i] = -1;
    for (size_t i = 0; i < n; i++)
        f->uses[f->products.data[i].after.last] = (int32_t)i;
    for (int32_t i = 0; i < pass->n_old; i++) {
        tc_node *node = pass->old[i];
        if (f->uses[i] >= 0) {
            TC_TRY(emit(f, &f->products.data[f->uses[i]]));
        } else if (f->taken[i] < 0) {
            tc_ir_renumber(pass, node);
            TC_TRY(tc_ir_keep(pass, node, i));
        }
    }
    return TC_OK;
}

tc_status tc_pass_fuse_epilogues(tc_pass_context *pass)
{
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    size_t n = (size_t)pass->n_old;
    fuser f = {.pass = pass,
               .uses = tc_alloc_zero(n, sizeof *f.uses),
               .user = tc_alloc_zero(n, sizeof *f.user),
               .shape_reader = tc_alloc_zero(n, sizeof *f.shape_reader),
               .fixed = tc_alloc_zero(n, sizeof *f.fixed),
               .taken = tc_alloc_zero(n, sizeof *f.taken)};
    if (status == TC_OK && (!f.uses || !f.user || !f.shape_reader || !f.fixed || !f.taken))
        status = tc_compiler_exhausted();
    if (status == TC_OK)
        find_readers(&f);
    for (int32_t i = pass->n_old - 1; i >= 0 && status == TC_OK; i--)
        status = follow(&f, i);
    if (status == TC_OK)
        status = rewrite(&f);
    tc_free(f.uses);
    tc_free(f.user);
    tc_free(f.shape_reader);
    tc_free(f.fixed);
    tc_free(f.taken);
    tc_vector_free(&f.products);
    return tc_ir_end(pass, status);
}
