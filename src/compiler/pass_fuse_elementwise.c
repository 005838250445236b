/*
 * Element-wise operators and row reductions that follow each other become one node, which reads and
 * writes memory once: see core/fused_program.h.
 *
 * Nodes are taken in order. One joins the groups that compute its inputs while nothing outside of
 * them depends on them. So a group never needs what depends on it, all its nodes come before the
 * first consumer, and it can stand where its last node stood; and no forward pass is held up for,
 * or keeps alive, what only the backward pass asks for.
 */
#include <string.h>

#include "compiler/fuse.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/shape.h"
#include "core/tensor.h"

/* With fewer rows than this, rows that long are worth more threads than rows. */
#define FEW_ROWS 8
#define LONG_ROW 65536

/*
 * What nodes can be
 */

/* How many last axes "axes" lists; 0 when it is not just the last ones. */
static int32_t last_axes(const tc_node *node, int32_t rank)
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    uint32_t set = 0;
    if (count == 0)
        return rank;
    for (int32_t i = 0; i < count; i++)
        set |= 1u << tc_axis_normalize(axes[i], rank);
    return set == ((1u << rank) - (1u << (rank - count))) ? count : 0;
}

/* Axes that sum_to_like sums where those are the last ones and stay with size 1; else 0. */
static int32_t summed_axes(const tc_shape *x, const tc_shape *y)
{
    int32_t kept = 0;
    if (x->rank != y->rank)
        return 0;
    while (kept < x->rank && tc_dim_same(x->dims[kept], y->dims[kept]))
        kept++;
    for (int32_t i = kept; i < x->rank; i++)
        if (y->dims[i].size != 1)
            return 0;
    return x->rank - kept;
}

static fuse_node role_of(const fuser *f, const tc_node *node)
{
    fuse_node info = {.group = -1, .code = tc_fused_code_of(&node->attrs), .axes = -1};
    if (node->attrs.op->effects || node->n_outputs != 1)
        return info;
    if (tc_node_is(node, "bias_add") || tc_node_is(node, "sum_to_like"))
        info.code = tc_node_is(node, "bias_add") ? TC_FUSED_add : TC_FUSED_reduce_sum;
    info.operands = 1;
    if (tc_node_is(node, "expand_like") || tc_node_is(node, "expand")) {
        info.role = FUSE_REPEAT;
    } else if (tc_node_is(node, "reduce_expand")) {
        info.role = tc_attrs_bool(&node->attrs, "mean") ? FUSE_SHARE : FUSE_REPEAT;
        info.kept_dims = tc_attrs_bool(&node->attrs, "keep_dims");
        info.axes = last_axes(node, fuse_info(f, node->inputs[1])->shape.rank);
        if (info.axes == 0)
            info.role = FUSE_NONE;
    } else if (info.code >= 0 && tc_fused_infos[info.code].kind == TC_FUSED_REDUCE) {
        const tc_shape *x = &fuse_info(f, node->inputs[0])->shape;
        bool like = tc_node_is(node, "sum_to_like");
        info.role = FUSE_REDUCE;
        info.kept_dims = like || tc_attrs_bool(&node->attrs, "keep_dims");
        info.axes = like ? summed_axes(x, &node->outputs[0].shape) : last_axes(node, x->rank);
        info.extent = info.kept_dims ? TC_FUSED_KEPT : TC_FUSED_ROWS;
        if (info.axes == 0)
            info.role = FUSE_NONE;
    } else if (info.code >= 0 && tc_fused_infos[info.code].kind != TC_FUSED_SHARE) {
        info.role = FUSE_COMPUTE;
        info.operands = (uint8_t)tc_fused_infos[info.code].operands;
    }
    if (!tc_ir_on_cpu(node) && !tc_ir_has_kernel(f->pass, node, "fused", TC_DTYPE_INVALID))
        info.role = FUSE_NONE;
    if (info.role == FUSE_NONE)
        return info;
    const tc_fused_info *code = info.code >= 0 ? &tc_fused_infos[info.code] : NULL;
    tc_dtype dtype = fuse_info(f, node->inputs[code && code->kind == TC_FUSED_WHERE])->dtype;
    if (code && !(code->dtypes & TC_DTYPE_BIT(dtype)))
        info.role = FUSE_NONE;
    return info;
}

bool fuse_constant(const fuser *f, tc_edge edge, double *value)
{
    const tc_node *node = f->pass->old[edge.node];
    if (!tc_node_is(node, "constant"))
        return false;
    const tc_tensor *tensor = tc_attrs_tensor(&node->attrs, "tensor");
    if (!tensor || tc_tensor_size(tensor) != 1)
        return false;
    tc_dtype dtype = tc_tensor_dtype(tensor);
    uint32_t taken = TC_DTYPES_FLOAT | TC_DTYPES_BOOL | TC_DTYPE_BIT(TC_I32) | TC_DTYPE_BIT(TC_I64);
    *value = tc_dtype_load(dtype, tc_tensor_data(tensor));
    return taken & TC_DTYPE_BIT(dtype) &&
           (!(TC_DTYPES_INT & TC_DTYPE_BIT(dtype)) || tc_is_exact(*value));
}

/*
 * Groups
 */

/* Sizes in front of the last `columns` axes are known to give so few rows that a row would be worth
 * more threads. */
static bool is_narrow(const tc_shape *domain, int32_t columns)
{
    int64_t rows = 1, row = 1;
    for (int32_t i = 0; i < domain->rank; i++) {
        int64_t size = domain->dims[i].size, *product = i < domain->rank - columns ? &rows : &row;
        if (size < 0 && product == &rows)
            return false;
        if (size < 0 || __builtin_mul_overflow(*product, size, product))
            *product = INT64_MAX / 2;
    }
    return rows < FEW_ROWS && row >= LONG_ROW;
}

static bool add_load(const fuser *f, fuse_group *g, fuse_load load)
{
    for (int32_t i = 0; i < g->n_loads; i++)
        if (tc_edges_equal(g->loads[i].edge, load.edge) && g->loads[i].shift == load.shift)
            return true;
    /* Room is left for inputs that are not given, which keep others out of the way. */
    if (g->n_loads == TC_FUSED_INPUTS - TC_FUSED_TAKEN)
        return false;
    if (tc_node_is(f->pass->old[load.edge.node], "variable") && !g->reads_variable) {
        g->reads_variable = true;
        g->writes = f->writes;
    }
    g->loads[g->n_loads++] = load;
    return true;
}

static bool add_constant(fuse_group *g, tc_dtype dtype, double value)
{
    for (int32_t i = 0; i < g->n_constants; i++)
        if (g->constant_dtypes[i] == dtype && memcmp(&g->constants[i], &value, sizeof value) == 0)
            return true;
    if (g->n_constants == TC_FUSED_CONSTANTS)
        return false;
    g->constant_dtypes[g->n_constants] = dtype;
    g->constants[g->n_constants++] = value;
    return true;
}

int32_t fuse_shift(const fuser *f, const fuse_group *g, const tc_node *node, const fuse_node *as,
                   int32_t operand)
{
    tc_edge edge = node->inputs[operand];
    const tc_shape *out = &node->outputs[0].shape;
    if (as->role == FUSE_REDUCE)
        return fuse_class(f, edge) == g->domain ? 0 : -1;
    if (as->axes > 0) /* reduce_expand */
        return as->kept_dims ? 0 : as->axes;
    if (tc_node_is(node, "bias_add") && operand == 1)
        return out->rank - 1 - tc_axis_normalize(tc_attrs_int(&node->attrs, "axis"), out->rank);
    int32_t class = as->extent == TC_FUSED_FULL   ? g->domain
                    : as->extent == TC_FUSED_KEPT ? g->kept
                                                  : g->rows;
    if (!fuse_fits(f, edge, class, out))
        return -1;
    return as->extent == TC_FUSED_ROWS ? g->columns : 0;
}

/* Whether a member can read another one whose value is `extent`. */
static bool extents_agree(const fuse_node *reader, int extent)
{
    if (reader->role == FUSE_REDUCE)
        return extent == TC_FUSED_FULL;
    if (reader->axes > 0)
        return extent == (reader->kept_dims ? TC_FUSED_KEPT : TC_FUSED_ROWS);
    if (reader->extent == TC_FUSED_FULL)
        return extent == TC_FUSED_FULL || extent == TC_FUSED_KEPT;
    return extent == reader->extent;
}

/* Adds `node`, whose value is to be `as.extent`, to `g`; false leaves a `g` that is not used. */
static bool add_node(fuser *f, fuse_group *g, int32_t index, const tc_node *node, fuse_node *as)
{
    int32_t self = fuse_root(f, g->parent);
    for (int32_t k = 0; k < as->operands; k++) {
        tc_edge edge = node->inputs[k];
        const fuse_node *from = &f->nodes[edge.node];
        double value;
        if (from->group >= 0 && fuse_root(f, from->group) == self) {
            if (!extents_agree(as, from->extent))
                return false;
            if (as->extent == TC_FUSED_FULL && from->extent != TC_FUSED_FULL &&
                is_narrow(&fuse_info(f, g->like)->shape, g->columns))
                return false;
        } else if (as->role != FUSE_REDUCE && fuse_constant(f, edge, &value)) {
            if (!add_constant(g, fuse_info(f, edge)->dtype, value))
                return false;
        } else {
            fuse_load load = {edge, fuse_shift(f, g, node, as, k)};
            if (load.shift < 0 || !add_load(f, g, load))
                return false;
        }
    }
    g->n_nodes++;
    /* Some quotients take two. */
    g->n_instructions += as->role == FUSE_REPEAT ? 0 : as->code == TC_FUSED_div ? 2 : 1;
    g->n_reductions += as->role == FUSE_REDUCE;
    g->last = index;
    return g->n_instructions < TC_FUSED_INSTRUCTIONS && g->n_reductions <= TC_FUSED_REDUCTIONS;
}

/* Decides what the value of `node` would be in `g`. */
static bool find_extent(fuser *f, fuse_group *g, int32_t old, const tc_node *node, fuse_node *as)
{
    int32_t class = f->classes[f->pass->first[old]];
    bool inside = fuse_root(f, f->nodes[node->inputs[0].node].group) == fuse_root(f, g->parent);
    if (as->axes > 0 && g->columns != as->axes && (as->role != FUSE_REPEAT || inside)) {
        if (g->columns != 0)
            return false;
        g->columns = as->axes;
    }
    if (as->role == FUSE_REDUCE) {
        int32_t *rows = as->kept_dims ? &g->kept : &g->rows;
        if (*rows < 0)
            *rows = class;
        return fuse_class(f, node->inputs[0]) == g->domain && *rows == class;
    }
    as->extent = TC_FUSED_FULL;
    if (class == g->domain)
        return true;
    if (as->role != FUSE_COMPUTE || tc_node_is(node, "bias_add") || g->columns == 0)
        return false;
    as->extent = class == g->kept ? TC_FUSED_KEPT : TC_FUSED_ROWS;
    return class == g->kept || class == g->rows;
}

/* `to` and `from` as one group, if it is within the bounds. */
static bool merge_groups(const fuser *f, fuse_group *to, int32_t from_index)
{
    const fuse_group *from = &f->groups.data[from_index];
    if (to->domain != from->domain ||
        (to->columns && from->columns && to->columns != from->columns) ||
        (to->kept >= 0 && from->kept >= 0 && to->kept != from->kept) ||
        (to->rows >= 0 && from->rows >= 0 && to->rows != from->rows) ||
        !tc_node_same_device(f->pass->old[to->last], f->pass->old[from->last]))
        return false;
    to->columns = to->columns ? to->columns : from->columns;
    to->kept = to->kept >= 0 ? to->kept : from->kept;
    to->rows = to->rows >= 0 ? to->rows : from->rows;
    to->last = to->last > from->last ? to->last : from->last;
    to->n_nodes += from->n_nodes;
    to->n_instructions += from->n_instructions;
    to->n_reductions += from->n_reductions;
    for (int32_t i = 0; i < from->n_loads; i++)
        if (!add_load(f, to, from->loads[i]))
            return false;
    for (int32_t i = 0; i < from->n_constants; i++)
        if (!add_constant(to, from->constant_dtypes[i], from->constants[i]))
            return false;
    return to->n_instructions < TC_FUSED_INSTRUCTIONS;
}

/* The open group that computes operand `k`, -1 when there is none. One that reads a variable must
 * not wait for what comes after a write: the old content would have to be kept. */
static int32_t open_group(fuser *f, const tc_node *node, int32_t k)
{
    int32_t group = fuse_root(f, f->nodes[node->inputs[k].node].group);
    if (group < 0 || !f->groups.data[group].open)
        return -1;
    const fuse_group *g = &f->groups.data[group];
    return g->reads_variable && g->writes != f->writes ? -1 : group;
}

/* Joins `node` to group `index`, and to it those of its other operands that fit. */
static bool join(fuser *f, int32_t index, int32_t old, const tc_node *node)
{
    fuse_group merged = f->groups.data[index];
    fuse_node as = f->nodes[old];
    int32_t others[3], n_others = 0;
    if (!tc_node_same_device(node, f->pass->old[merged.last]))
        return false;
    for (int32_t k = 0; k < as.operands; k++) {
        int32_t other = open_group(f, node, k);
        bool seen = other < 0 || other == index;
        for (int32_t i = 0; i < n_others; i++)
            seen = seen || others[i] == other;
        if (seen)
            continue;
        fuse_group attempt = merged;
        if (!merge_groups(f, &attempt, other))
            continue;
        merged = attempt;
        others[n_others++] = other;
    }
    for (int32_t i = 0; i < n_others; i++)
        f->groups.data[others[i]].parent = index;
    if (!find_extent(f, &merged, old, node, &as) || !add_node(f, &merged, old, node, &as)) {
        for (int32_t i = 0; i < n_others; i++)
            f->groups.data[others[i]].parent = others[i];
        return false;
    }
    as.group = index;
    f->nodes[old] = as;
    f->groups.data[index] = merged;
    return true;
}

static tc_status begin_group(fuser *f, int32_t old, const tc_node *node)
{
    fuse_node as = f->nodes[old];
    bool reduces = as.role == FUSE_REDUCE;
    fuse_group group = {.parent = (int32_t)f->groups.count,
                        .domain = reduces ? fuse_class(f, node->inputs[0])
                                          : f->classes[f->pass->first[old]],
                        .kept = -1,
                        .rows = -1,
                        .like = reduces ? node->inputs[0] : (tc_edge){old, 0},
                        .open = true};
    if (!tc_vector_push(&f->groups, group))
        return tc_compiler_exhausted();
    if (find_extent(f, &group, old, node, &as) && add_node(f, &group, old, node, &as)) {
        as.group = group.parent;
        f->nodes[old] = as;
        f->groups.data[group.parent] = group;
    } else {
        f->groups.count--;
    }
    return TC_OK;
}

static void close_group(fuser *f, int32_t node)
{
    int32_t group = fuse_root(f, f->nodes[node].group);
    if (group >= 0)
        f->groups.data[group].open = false;
}

/* What is outside of a group and depends on it closes it. */
static void close_inputs(fuser *f, int32_t old, const tc_node *node)
{
    int32_t own = fuse_root(f, f->nodes[old].group);
    for (int32_t k = 0; k < node->n_inputs; k++) {
        if (node->inputs[k].node < 0)
            continue;
        fuse_node *from = &f->nodes[node->inputs[k].node];
        /* Of the inside only the shape is read otherwise, which the group has anyway. */
        if (own >= 0 && fuse_root(f, from->group) == own)
            continue;
        if (tc_input_flags(node, k) & (TC_PORT_SHAPE_ONLY | TC_PORT_INITIAL))
            from->shaped++;
        else
            from->read++;
        close_group(f, node->inputs[k].node);
    }
    for (int32_t k = 0; k < node->n_controls; k++)
        close_group(f, node->controls[k]);
}

/*
 * First what only a shape is taken of is let go: the first value of its class stands for it. What
 * nothing else reads is then dropped before groups are made.
 */
static tc_status redirect_shapes(fuser *f, int32_t old)
{
    tc_pass_context *pass = f->pass;
    tc_node *node = pass->old[old];
    f->nodes[old] = role_of(f, node);
    TC_TRY(fuse_classify(f, node, old));
    for (int32_t i = 0; i < node->n_outputs; i++) {
        tc_edge *first = &f->first_of[fuse_class(f, (tc_edge){old, i})];
        if (first->node < 0)
            *first = (tc_edge){old, i};
    }
    for (int32_t k = 0; k < node->n_inputs; k++) {
        if (node->inputs[k].node < 0 || !(tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY))
            continue;
        tc_edge first = f->first_of[fuse_class(f, node->inputs[k])];
        if (fuse_info(f, first)->dtype == fuse_info(f, node->inputs[k])->dtype)
            node->inputs[k] = first;
    }
    return TC_OK;
}

static tc_status redirect_all(fuser *f)
{
    for (int32_t i = 0; i < f->pass->n_old; i++)
        TC_TRY(redirect_shapes(f, i));
    for (int32_t i = 0; i < f->pass->n_old; i++) {
        tc_ir_renumber(f->pass, f->pass->old[i]);
        TC_TRY(tc_ir_keep(f->pass, f->pass->old[i], i));
    }
    return TC_OK;
}

static tc_status place_node(fuser *f, int32_t old)
{
    const tc_node *node = f->pass->old[old];
    int32_t read = f->nodes[old].read;
    bool joined = false;
    f->nodes[old] = role_of(f, node);
    f->nodes[old].read = read;
    TC_TRY(fuse_classify(f, node, old));
    /* What is to be computed again is looked at node by node. */
    bool can = f->nodes[old].role != FUSE_NONE && node->n_controls == 0 &&
               !(node->notes && tc_node_note(node, "rematerialize"));
    for (int32_t k = 0; can && !joined && k < f->nodes[old].operands; k++) {
        int32_t group = open_group(f, node, k);
        joined = group >= 0 && join(f, group, old, node);
    }
    if (can && !joined)
        TC_TRY(begin_group(f, old, node));
    close_inputs(f, old, node);
    f->writes += (node->attrs.op->effects & TC_EFFECT_WRITE) != 0;
    return TC_OK;
}

/*
 * The rewrite
 */
static bool is_fused(const fuse_group *g)
{
    return g->n_nodes > 1 && g->n_instructions > 0;
}

static tc_status keep(tc_pass_context *pass, int32_t old)
{
    tc_ir_renumber(pass, pass->old[old]);
    return tc_ir_keep(pass, pass->old[old], old);
}

/* Lists the members of fused groups: those of group g are members[first[g]...]. */
static void list_members(fuser *f, int32_t *first, int32_t *members)
{
    int32_t n = f->pass->n_old, n_groups = (int32_t)f->groups.count;
    for (int32_t i = 0; i < n; i++)
        if (f->nodes[i].group >= 0)
            first[fuse_root(f, f->nodes[i].group) + 1]++;
    for (int32_t g = 0; g < n_groups; g++)
        first[g + 1] += first[g];
    for (int32_t i = n - 1; i >= 0; i--) {
        int32_t g = fuse_root(f, f->nodes[i].group);
        if (g >= 0)
            members[--first[g + 1]] = i;
    }
    /* first[g + 1] is the beginning of g now. */
}

static tc_status rewrite(fuser *f, const int32_t *first, const int32_t *members)
{
    tc_pass_context *pass = f->pass;
    for (int32_t i = 0; i < pass->n_old; i++) {
        int32_t index = fuse_root(f, f->nodes[i].group);
        const fuse_group *g = index < 0 ? NULL : &f->groups.data[index];
        if (!g || !is_fused(g)) {
            TC_TRY(keep(pass, i));
            continue;
        }
        if (i != g->last)
            continue;
        bool made;
        const int32_t *own = members + first[index + 1];
        TC_TRY(fuse_build(f, index, own, g->n_nodes, &made));
        for (int32_t k = 0; k < g->n_nodes && !made; k++)
            TC_TRY(keep(pass, own[k]));
    }
    return TC_OK;
}

static tc_status fuse(fuser *f)
{
    tc_pass_context *pass = f->pass;
    const tc_program *program = pass->program;
    size_t n = (size_t)pass->n_old;
    for (int32_t i = 0; i < program->n_fetches; i++)
        f->nodes[program->fetches[i].node].read++;
    for (int32_t i = 0; i < pass->n_old; i++)
        TC_TRY(place_node(f, i));
    int32_t *first = tc_alloc_zero(f->groups.count + 2, sizeof *first);
    int32_t *members = tc_alloc_zero(n, sizeof *members);
    tc_status status = first && members ? TC_OK : tc_compiler_exhausted();
    if (status == TC_OK) {
        list_members(f, first, members);
        status = rewrite(f, first, members);
    }
    tc_free(first);
    tc_free(members);
    return status;
}

/* Walks the program once with `step`, which puts the new nodes in place. */
static tc_status walk(tc_pass_context *pass, tc_status (*step)(fuser *f))
{
    fuser f = {.pass = pass};
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (status == TC_OK) {
        size_t n = (size_t)pass->n_old, n_values = (size_t)pass->first[n];
        f.nodes = tc_alloc_zero(n, sizeof *f.nodes);
        f.values = tc_alloc_zero(n, sizeof *f.values);
        f.classes = tc_alloc_zero(n_values, sizeof *f.classes);
        /* A value begins one class at most. */
        f.wider = tc_alloc_zero(n_values, sizeof *f.wider);
        f.first_of = tc_alloc_zero(n_values, sizeof *f.first_of);
        bool ready = f.nodes && f.values && f.classes && f.wider && f.first_of;
        status = ready ? step(&f) : tc_compiler_exhausted();
    }
    tc_free(f.nodes);
    tc_free(f.values);
    tc_free(f.classes);
    tc_free(f.wider);
    tc_free(f.first_of);
    tc_map_free(&f.known_classes);
    tc_vector_free(&f.groups);
    return tc_ir_end(pass, status);
}

tc_status tc_pass_fuse_elementwise(tc_pass_context *pass)
{
    if (pass->request->commit_copies)
        return TC_OK; /* every node is looked at */
    TC_TRY(walk(pass, redirect_all));
    TC_TRY(tc_ir_prune(pass));
    return walk(pass, fuse);
}
