/*
 * Layout. Convolutions whose filter no program changes compute on images in blocks of 16 channels
 * where that pays, and what lies between them stays in blocks: functions of single elements, sums
 * and products of images, pooling, joined channels. Nodes that hand blocks to each other form a
 * region; it is converted as a whole when the time that its convolutions save is more than the
 * conversions at its borders take.
 */
#include <string.h>

#include "compiler/pass.h"
#include "core/registry.h"
#include "core/shape.h"
#include "core/window.h"

enum {
    BLOCK = 16,
    FEW = 4,      /* channels that a convolution reads as they are */
    ASSUMED = 28, /* height and width that are not known */
    CONVERT = 25, /* multiply-adds in the time of converting an element */
    COPY = 15,    /* and of copying one into the planes of conv2d */
    COLUMNS = 16  /* outputs that conv2d computes at a time */
};

typedef enum role { NONE, CONV, UNARY, BINARY, BIAS, POOL, REDUCE, CONCAT } role;

static const struct {
    const char *op;
    role role;
    const char *blocked; /* NULL: the operator itself */
} kinds[] = {
    {"", NONE, NULL},
    {"conv2d", CONV, "conv2d_blocked"},
    {"conv2d_fused", CONV, "conv2d_blocked"},
    {"max_pool2d", POOL, "max_pool2d_blocked"},
    {"avg_pool2d", POOL, "avg_pool2d_blocked"},
    {"reduce_mean", REDUCE, NULL},
    {"reduce_sum", REDUCE, NULL},
    {"reduce_max", REDUCE, NULL},
    {"bias_add", BIAS, "add"},
    {"concat", CONCAT, NULL},
    {"add", BINARY, NULL},
    {"sub", BINARY, NULL},
    {"mul", BINARY, NULL},
    {"maximum", BINARY, NULL},
    {"minimum", BINARY, NULL},
    /* Those that are finite at 0, which fills up the last block. */
    {"relu", UNARY, NULL},
    {"sigmoid", UNARY, NULL},
    {"tanh", UNARY, NULL},
    {"gelu", UNARY, NULL},
    {"exp", UNARY, NULL},
    {"abs", UNARY, NULL},
    {"neg", UNARY, NULL},
    {"square", UNARY, NULL},
    {"sqrt", UNARY, NULL},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct layout {
    tc_pass_context *pass;
    const tc_op *ops[KINDS];
    tc_map updated;   /* names of variables that change */
    uint8_t *kind;    /* per node: index of kinds */
    int32_t *region;  /* per node: another one of its region, or itself */
    double *gain;     /* per region */
    bool *plain_read; /* per value: read as it was */
    bool *entered;    /* per value: read in blocks by a region that does not make it so */
    tc_edge *blocked; /* per value: the new edge of it in blocks */
} layout;

static const tc_node *producer(const layout *l, tc_edge edge)
{
    return l->pass->old[edge.node];
}

static const tc_value_info *info_of(const layout *l, tc_edge edge)
{
    return &producer(l, edge)->outputs[edge.output];
}

static int32_t value_of(const layout *l, tc_edge edge)
{
    return l->pass->first[edge.node] + edge.output;
}

static role role_of(const layout *l, int32_t node)
{
    return kinds[l->kind[node]].role;
}

static int64_t padded(int64_t channels)
{
    return (channels + BLOCK - 1) / BLOCK * BLOCK;
}

/*
 * What can be in blocks
 */
static bool is_image(const tc_value_info *info)
{
    return info->dtype == TC_F32 && info->shape.rank == 4 && tc_dim_is_known(info->shape.dims[1]);
}

/* An image whose blocks are not mostly filled up. */
static bool is_wide(const tc_value_info *info)
{
    return is_image(info) && info->shape.dims[1].size * 3 >= padded(info->shape.dims[1].size) * 2;
}

/* Nothing writes it: it is packed once. */
static bool is_fixed(const layout *l, tc_edge edge)
{
    const tc_node *node = producer(l, edge);
    return tc_node_is(node, "constant") ||
           (tc_node_is(node, "variable") && !tc_map_find_string(&l->updated, node->name));
}

static bool is_depthwise(const tc_node *node, const tc_shape *w)
{
    int64_t groups = tc_attrs_int(&node->attrs, "groups");
    return groups > 1 && w->dims[1].size == 1 && w->dims[0].size == groups;
}

/* Its result is in blocks. */
static bool makes_blocked(const tc_node *node, role kind)
{
    return kind != NONE && (kind != REDUCE || tc_attrs_bool(&node->attrs, "keep_dims"));
}

/* A convolution that reads its image as it is. */
static bool reads_plain(const layout *l, const tc_node *node)
{
    const tc_shape *w = &info_of(l, node->inputs[1])->shape;
    tc_edge x = node->inputs[0];
    return tc_attrs_int(&node->attrs, "groups") == 1 && w->dims[1].size <= FEW &&
           !makes_blocked(producer(l, x), role_of(l, x.node));
}

static bool can_convolve(const layout *l, const tc_node *node)
{
    const tc_shape *w = &info_of(l, node->inputs[1])->shape;
    int64_t groups = tc_attrs_int(&node->attrs, "groups");
    if (!is_image(&node->outputs[0]) || !is_image(info_of(l, node->inputs[0])) ||
        !tc_shape_is_known(w) || !is_fixed(l, node->inputs[1]))
        return false;
    return groups == 1 || is_depthwise(node, w) ||
           (w->dims[1].size % BLOCK == 0 && w->dims[0].size % (groups * BLOCK) == 0);
}

/* An operand of an image that is in blocks: of [n, c, h, w] and [c, h, w] any size may be 1 but the
 * channels; something else is one element. */
static bool is_operand(const tc_value_info *info, const tc_shape *y, bool *single)
{
    const tc_shape *s = &info->shape;
    int32_t skip = 4 - s->rank;
    *single = tc_shape_is_known(s) && tc_shape_size(s) == 1 && s->rank <= 4;
    if (*single)
        return true;
    if (skip < 0 || skip > 1 || !tc_dim_same(s->dims[1 - skip], y->dims[1]))
        return false;
    for (int32_t d = 0; d < s->rank; d++) {
        /* Three dimensions are given a fourth by reshape, which takes sizes. */
        if (skip && !tc_dim_is_known(s->dims[d]))
            return false;
        if (s->dims[d].size != 1 && !tc_dim_same(s->dims[d], y->dims[d + skip]))
            return false;
    }
    return true;
}

static bool can_combine(const layout *l, const tc_node *node)
{
    const tc_value_info *y = &node->outputs[0];
    bool single, whole = false;
    for (int32_t k = 0; k < 2; k++) {
        const tc_value_info *x = info_of(l, node->inputs[k]);
        if (!is_operand(x, &y->shape, &single))
            return false;
        whole = whole || tc_info_same(x, y);
    }
    return whole && is_wide(y);
}

/* Whole images of every channel. */
static bool can_reduce(const layout *l, const tc_node *node)
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    uint32_t reduced = 0;
    for (int32_t i = 0; i < count; i++)
        reduced |= 1u << (axes[i] < 0 ? axes[i] + 4 : axes[i]);
    return is_wide(info_of(l, node->inputs[0])) && count == 2 && reduced == (1u << 2 | 1u << 3);
}

static bool can_concat(const layout *l, const tc_node *node)
{
    int64_t axis = tc_attrs_int(&node->attrs, "axis");
    bool can = is_image(&node->outputs[0]) && (axis == 1 || axis == -3);
    for (int32_t k = 0; k < node->n_inputs && can; k++) {
        const tc_value_info *x = info_of(l, node->inputs[k]);
        can = is_image(x) && (x->shape.dims[1].size % BLOCK == 0 || k == node->n_inputs - 1);
    }
    return can;
}

static bool can_be_blocked(const layout *l, const tc_node *node, role kind)
{
    switch (kind) {
    case CONV: return can_convolve(l, node);
    case UNARY: return is_wide(&node->outputs[0]);
    case BINARY: return can_combine(l, node);
    case BIAS: {
        int64_t axis = tc_attrs_int(&node->attrs, "axis");
        return is_wide(&node->outputs[0]) && (axis == 1 || axis == -3) &&
               is_image(info_of(l, node->inputs[0]));
    }
    case POOL: /* where a maximum was is not told */
        return is_wide(info_of(l, node->inputs[0])) &&
               (node->n_outputs == 1 || !l->plain_read[l->pass->first[node->index] + 1]);
    case REDUCE: return can_reduce(l, node);
    case CONCAT: return can_concat(l, node);
    case NONE: break;
    }
    return false;
}

static void classify(layout *l, int32_t index)
{
    const tc_node *node = l->pass->old[index];
    l->region[index] = index;
    if (node->n_controls || !tc_ir_on_cpu(node))
        return;
    for (uint8_t i = 1; i < KINDS; i++) {
        const char *op = kinds[i].blocked ? kinds[i].blocked : kinds[i].op;
        if (node->attrs.op != l->ops[i])
            continue;
        if (can_be_blocked(l, node, kinds[i].role) && tc_ir_has_kernel(l->pass, node, op, TC_F32))
            l->kind[index] = i;
        return;
    }
}

/* Whether a node in blocks reads input `index` in blocks. */
static bool reads_blocked(const layout *l, const tc_node *node, role kind, int32_t index)
{
    bool single;
    switch (kind) {
    case CONV: return index == 4 || (index == 0 && !reads_plain(l, node));
    case BINARY:
        (void)is_operand(info_of(l, node->inputs[index]), &node->outputs[0].shape, &single);
        return !single;
    case CONCAT: return true;
    case NONE: return false;
    default: return index == 0;
    }
}

/*
 * Regions
 */
static int32_t find(layout *l, int32_t node)
{
    while (l->region[node] != node) {
        l->region[node] = l->region[l->region[node]];
        node = l->region[node];
    }
    return node;
}

/* The smaller index stands for both, so that chains stay short in the order of nodes. */
static void join(layout *l, int32_t a, int32_t b)
{
    a = find(l, a);
    b = find(l, b);
    if (a < b)
        l->region[b] = a;
    else
        l->region[a] = b;
}

static double size_of(tc_dim dim)
{
    return tc_dim_is_known(dim) ? (double)dim.size : ASSUMED;
}

/* Multiply-adds in the time of converting a value, per image. */
static double conversion(const tc_value_info *info)
{
    const tc_shape *s = &info->shape;
    if (s->rank != 4)
        return 0;
    return CONVERT * (double)padded(s->dims[1].size) * size_of(s->dims[2]) * size_of(s->dims[3]);
}

/* Multiply-adds in the time that a convolution saves per image. conv2d computes columns that it
 * drops, and copies what is padded or strided; blocks compute channels that nobody asked for. */
static double saving(const layout *l, const tc_node *node)
{
    char why[TC_WINDOW_MESSAGE];
    const tc_dim *x = info_of(l, node->inputs[0])->shape.dims;
    const tc_shape *shape = &info_of(l, node->inputs[1])->shape;
    const tc_dim *w = shape->dims;
    const int64_t in[] = {(int64_t)size_of(x[2]), (int64_t)size_of(x[3])};
    const int64_t kernel[] = {w[2].size, w[3].size};
    tc_window window;
    if (!tc_window_make(&node->attrs, in, kernel, &window, why))
        return 0;
    const tc_window_axis *h = &window.axis[0], *v = &window.axis[1];
    bool direct = kernel[0] == 1 && kernel[1] == 1 && h->stride == 1 && v->stride == 1 &&
                  h->before + h->after + v->before + v->after == 0;
    double copied = direct ? 0 : COPY * (double)x[1].size * (double)in[0] * (double)in[1];
    if (is_depthwise(node, shape))
        return copied;
    double area = (double)h->out * (double)v->out;
    double macs = area * (double)tc_shape_size(shape);
    double pitch = (double)v->out + (direct ? 0 : (double)((tc_window_extent(v) - 1) / 2));
    double run = (double)(h->out - 1) * pitch + (double)v->out;
    double columns = (double)((int64_t)(run / COLUMNS) + 1) * COLUMNS;
    if (w[0].size == 0 || area == 0)
        return 0;
    return macs * (columns / area) + copied - macs * (double)padded(w[0].size) / (double)w[0].size;
}

/* Joins the node with those that make what it reads in blocks, and pays for the rest. */
static void link_inputs(layout *l, int32_t index)
{
    const tc_node *node = l->pass->old[index];
    role kind = role_of(l, index);
    for (int32_t k = 0; k < node->n_inputs; k++) {
        tc_edge edge = node->inputs[k];
        if (edge.node < 0)
            continue;
        bool made = makes_blocked(producer(l, edge), role_of(l, edge.node)) && edge.output == 0;
        if (!reads_blocked(l, node, kind, k)) {
            l->plain_read[value_of(l, edge)] = true;
        } else if (made) {
            join(l, index, edge.node);
        } else if (!l->entered[value_of(l, edge)]) {
            l->entered[value_of(l, edge)] = true;
            l->gain[index] -= conversion(info_of(l, edge));
        }
    }
}

/* Before roles are known: outputs but the first are never in blocks. */
static void find_plain_reads(layout *l)
{
    tc_pass_context *pass = l->pass;
    for (int32_t i = 0; i < pass->n_old; i++)
        for (int32_t k = 0; k < pass->old[i]->n_inputs; k++)
            if (pass->old[i]->inputs[k].node >= 0 && pass->old[i]->inputs[k].output > 0)
                l->plain_read[value_of(l, pass->old[i]->inputs[k])] = true;
    for (int32_t i = 0; i < pass->program->n_fetches; i++)
        l->plain_read[value_of(l, pass->program->fetches[i])] = true;
}

static void find_regions(layout *l)
{
    tc_pass_context *pass = l->pass;
    for (int32_t i = 0; i < pass->first[pass->n_old]; i++)
        l->blocked[i] = TC_NO_EDGE;
    find_plain_reads(l);
    for (int32_t i = 0; i < pass->n_old; i++)
        classify(l, i);
    for (int32_t i = 0; i < pass->n_old; i++)
        link_inputs(l, i);
    for (int32_t i = 0; i < pass->n_old; i++) {
        const tc_node *node = pass->old[i];
        int32_t root = find(l, i);
        if (role_of(l, i) == CONV)
            l->gain[i] += saving(l, node);
        if (makes_blocked(node, role_of(l, i)) && l->plain_read[pass->first[i]])
            l->gain[i] -= conversion(&node->outputs[0]);
        if (root != i)
            l->gain[root] += l->gain[i];
    }
}

/*
 * Rewriting
 */

/* The value as it was. */
static tc_status plain(layout *l, tc_edge old, tc_edge *out)
{
    tc_pass_context *pass = l->pass;
    int32_t value = value_of(l, old);
    if (pass->edges[value].node < 0 && l->blocked[value].node >= 0) {
        const tc_attr_arg attr = {"channels", tc_attr_int(info_of(l, old)->shape.dims[1].size)};
        TC_TRY(tc_ir_make(pass, producer(l, old), "from_blocked", &l->blocked[value], 1, &attr, 1,
                          &pass->edges[value]));
    }
    *out = pass->edges[value];
    return TC_OK;
}

/* The value in blocks; of three dimensions as that of one image. */
static tc_status blocked(layout *l, tc_edge old, tc_edge *out)
{
    tc_pass_context *pass = l->pass;
    int32_t value = value_of(l, old);
    const tc_shape *shape = &info_of(l, old)->shape;
    if (l->blocked[value].node < 0) {
        tc_edge image;
        TC_TRY(plain(l, old, &image));
        if (shape->rank != 4) {
            int64_t sizes[] = {1, shape->dims[0].size, 1, 1};
            for (int32_t d = 1; d < shape->rank; d++)
                sizes[1 + d] = shape->dims[d].size;
            const tc_attr_arg attr = {"sizes", tc_attr_ints(sizes, 4)};
            TC_TRY(tc_ir_make(pass, producer(l, old), "reshape", &image, 1, &attr, 1, &image));
        }
        TC_TRY(tc_ir_make(pass, producer(l, old), "to_blocked", &image, 1, NULL, 0,
                          &l->blocked[value]));
    }
    *out = l->blocked[value];
    return TC_OK;
}

/* Attributes of the node, for the operator that takes its place. */
static size_t attributes(const tc_node *node, tc_attr_arg *out)
{
    const tc_op *op = node->attrs.op;
    for (int16_t i = 0; i < op->n_attrs; i++)
        out[i] = (tc_attr_arg){op->attrs[i].name, node->attrs.values[i]};
    return (size_t)op->n_attrs;
}

/* A reduction of whole images that does not keep their dimensions: [n, blocks, 1, 1, 16] is [n, c].
 */
static tc_status rewrite_reduction(layout *l, const tc_node *node, tc_edge x, tc_edge *out)
{
    static const int64_t axes[] = {2, 3}, from[] = {0, -1};
    int64_t channels = info_of(l, node->inputs[0])->shape.dims[1].size, sizes[] = {0, channels};
    const tc_attr_arg keep[] = {{"axes", tc_attr_ints(axes, 2)}, {"keep_dims", tc_attr_bool(true)}};
    const tc_attr_arg count = {"channels", tc_attr_int(channels)};
    const tc_attr_arg shape[] = {{"sizes", tc_attr_ints(sizes, 2)},
                                 {"from", tc_attr_ints(from, 2)}};
    TC_TRY(tc_ir_make(l->pass, node, node->attrs.op->name, &x, 1, keep, 2, &x));
    if (tc_attrs_bool(&node->attrs, "keep_dims")) {
        *out = x;
        return TC_OK;
    }
    if (channels % BLOCK)
        TC_TRY(tc_ir_make(l->pass, node, "from_blocked", &x, 1, &count, 1, &x));
    return tc_ir_make(l->pass, node, "reshape", &x, 1, shape, 2, out);
}

static tc_status rewrite(layout *l, int32_t index, tc_edge *inputs)
{
    tc_pass_context *pass = l->pass;
    const tc_node *node = pass->old[index];
    role kind = role_of(l, index);
    const char *op = kinds[l->kind[index]].blocked;
    tc_attr_arg attrs[16];
    tc_edge out;
    int32_t n_inputs = kind == CONV ? 5 : node->n_inputs;
    for (int32_t k = 0; k < n_inputs; k++) {
        inputs[k] = TC_NO_EDGE;
        if (k >= node->n_inputs || node->inputs[k].node < 0)
            continue;
        /* The vector of bias_add becomes one of an image's channels. */
        if (reads_blocked(l, node, kind, k) || (kind == BIAS && k == 1))
            TC_TRY(blocked(l, node->inputs[k], &inputs[k]));
        else
            TC_TRY(plain(l, node->inputs[k], &inputs[k]));
    }
    size_t n_attrs = kind == BIAS ? 0 : attributes(node, attrs);
    if (kind == CONCAT)
        attrs[0].value = tc_attr_int(1);
    if (kind == REDUCE)
        TC_TRY(rewrite_reduction(l, node, inputs[0], &out));
    else
        TC_TRY(tc_ir_make(pass, node, op ? op : node->attrs.op->name, inputs, (size_t)n_inputs,
                          attrs, n_attrs, &out));
    if (makes_blocked(node, kind))
        l->blocked[pass->first[index]] = out;
    else
        pass->edges[pass->first[index]] = out;
    pass->places[index] = out.node;
    pass->changes++;
    return TC_OK;
}

static tc_status visit(layout *l, int32_t index, tc_edge *inputs)
{
    tc_pass_context *pass = l->pass;
    tc_node *node = pass->old[index];
    tc_edge unused;
    if (role_of(l, index) != NONE && l->gain[find(l, index)] > 0)
        return rewrite(l, index, inputs);
    for (int32_t k = 0; k < node->n_inputs; k++)
        if (node->inputs[k].node >= 0 && !(tc_input_flags(node, k) & TC_PORT_INITIAL))
            TC_TRY(plain(l, node->inputs[k], &unused));
    tc_ir_renumber(pass, node);
    return tc_ir_keep(pass, node, index);
}

static tc_status rewrite_all(layout *l)
{
    tc_pass_context *pass = l->pass;
    int32_t most = 5;
    tc_edge unused;
    for (int32_t i = 0; i < pass->n_old; i++)
        most = pass->old[i]->n_inputs > most ? pass->old[i]->n_inputs : most;
    tc_edge *inputs = tc_alloc_zero((size_t)most, sizeof *inputs);
    tc_status status = inputs ? TC_OK : tc_compiler_exhausted();
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++)
        status = visit(l, i, inputs);
    for (int32_t i = 0; i < pass->program->n_fetches && status == TC_OK; i++)
        status = plain(l, pass->program->fetches[i], &unused);
    tc_free(inputs);
    return status;
}

static tc_status start(layout *l)
{
    size_t nodes = (size_t)l->pass->n_old, values = (size_t)l->pass->first[nodes];
    for (int i = 1; i < KINDS; i++)
        l->ops[i] = tc_registry_find_op(l->pass->graph->registry, kinds[i].op);
    l->kind = tc_alloc_zero(nodes, sizeof *l->kind);
    l->region = tc_alloc_zero(nodes, sizeof *l->region);
    l->gain = tc_alloc_zero(nodes, sizeof *l->gain);
    l->plain_read = tc_alloc_zero(values, sizeof *l->plain_read);
    l->entered = tc_alloc_zero(values, sizeof *l->entered);
    l->blocked = tc_alloc_zero(values, sizeof *l->blocked);
    if (!l->kind || !l->region || !l->gain || !l->plain_read || !l->entered || !l->blocked)
        return tc_compiler_exhausted();
    return tc_program_updated(l->pass->source, &l->updated);
}

tc_status tc_pass_layout(tc_pass_context *pass)
{
    layout l = {.pass = pass};
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (status == TC_OK)
        status = start(&l);
    if (status == TC_OK) {
        find_regions(&l);
        status = rewrite_all(&l);
    }
    tc_map_free(&l.updated);
    tc_free(l.kind);
    tc_free(l.region);
    tc_free(l.gain);
    tc_free(l.plain_read);
    tc_free(l.entered);
    tc_free(l.blocked);
    return tc_ir_end(pass, status);
}
