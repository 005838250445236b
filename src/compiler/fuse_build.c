/* From a group of nodes to one node with a program. */
#include <string.h>

#include "compiler/fuse.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/shape.h"

/* Of the names of the nodes that a node stands for; what does not fit is left out. */
#define NAMES_SIZE 400

typedef struct builder {
    fuser *f;
    const fuse_group *g;
    int32_t group;
    const int32_t *members;
    int32_t count;
    tc_fused_program program;
    fuse_load loads[TC_FUSED_INPUTS];  /* edge.node -1: not given */
    int32_t outputs[TC_FUSED_OUTPUTS]; /* member of each */
} builder;

static const tc_node *node_of(const builder *b, int32_t member)
{
    return b->f->pass->old[member];
}

static bool is_inside(const builder *b, tc_edge edge)
{
    return fuse_root(b->f, b->f->nodes[edge.node].group) == b->group;
}

static size_t element_size(const builder *b, tc_edge edge)
{
    return tc_dtype_size(fuse_info(b->f, edge)->dtype);
}

/* Members that are read outside; first of them one with the shape of the domain. */
static bool list_outputs(builder *b)
{
    int32_t n = 0;
    for (int32_t i = b->count - 1; i >= 0; i--) {
        int32_t member = b->members[i];
        if (b->f->nodes[member].read == 0)
            continue;
        if (n == TC_FUSED_OUTPUTS)
            return false;
        b->outputs[n++] = member;
        if (b->f->nodes[b->outputs[0]].extent != TC_FUSED_FULL) {
            b->outputs[n - 1] = b->outputs[0];
            b->outputs[0] = member;
        }
    }
    b->program.n_outputs = n;
    return n > 0;
}

static bool same_value(const fuser *f, int32_t a, int32_t b)
{
    return fuse_class(f, (tc_edge){a, 0}) == fuse_class(f, (tc_edge){b, 0}) &&
           f->pass->old[a]->outputs[0].dtype == f->pass->old[b]->outputs[0].dtype;
}

/* An output that has the shape of `member`, which is asked for its shape alone; made when there is
 * none. -1: there is no room. */
static int32_t output_like(builder *b, int32_t member)
{
    tc_fused_program *p = &b->program;
    for (int32_t o = 0; o < p->n_outputs; o++)
        if (same_value(b->f, b->outputs[o], member))
            return o;
    if (p->n_outputs == TC_FUSED_OUTPUTS)
        return -1;
    b->outputs[p->n_outputs] = member;
    return p->n_outputs++;
}

/* True where a value of this shape has one element for each row of the program, or for all. */
static bool is_per_row(const tc_shape *shape, int32_t shift, int32_t columns)
{
    int32_t first = columns ? shape->rank + shift - columns : 0;
    for (int32_t i = first < 0 ? 0 : first; i < shape->rank; i++)
        if (shape->dims[i].size != 1)
            return false;
    return true;
}

/*
 * Which inputs may give their memory to output 0: those of its shape first, then others whose
 * elements are no larger. Larger ones come behind the first TC_FUSED_TAKEN, and so do all when
 * output 0 has one element per row: one of as many elements may be read in every row.
 */
static int rank_of(const builder *b, const fuse_load *load)
{
    if (b->f->nodes[b->outputs[0]].extent != TC_FUSED_FULL)
        return 2;
    size_t out = element_size(b, (tc_edge){b->outputs[0], 0}), size = element_size(b, load->edge);
    if (size > out)
        return 2;
    return size == out && fuse_class(b->f, load->edge) == b->g->domain ? 0 : 1;
}

static void list_inputs(builder *b)
{
    tc_fused_program *p = &b->program;
    int32_t n = 0;
    for (int rank = 0; rank <= 2; rank++) {
        for (int32_t i = 0; i < b->g->n_loads; i++) {
            if (rank_of(b, &b->g->loads[i]) != rank)
                continue;
            while (rank == 2 && n < TC_FUSED_TAKEN) /* out of the way of output 0 */
                b->loads[n++] = (fuse_load){TC_NO_EDGE, 0};
            b->loads[n++] = b->g->loads[i];
        }
    }
    p->n_inputs = n;
    for (int32_t i = 0; i < n; i++) {
        if (b->loads[i].edge.node < 0)
            continue;
        const tc_value_info *info = fuse_info(b->f, b->loads[i].edge);
        p->inputs[i] =
            (tc_fused_input){.dtype = info->dtype,
                             .shift = b->loads[i].shift,
                             .full = !is_per_row(&info->shape, b->loads[i].shift, b->g->columns)};
    }
}

static void list_constants(builder *b)
{
    tc_fused_program *p = &b->program;
    p->n_constants = b->g->n_constants;
    for (int32_t i = 0; i < p->n_constants; i++)
        p->constants[i] = (tc_fused_constant){b->g->constant_dtypes[i], b->g->constants[i]};
}

/* The value of the program for operand `k` of a member, -1: there is none. */
static int32_t operand_value(const builder *b, int32_t member, int32_t k)
{
    const tc_node *node = node_of(b, member);
    const fuse_node *as = &b->f->nodes[member];
    tc_edge edge = node->inputs[k];
    double number;
    if (is_inside(b, edge))
        return b->f->values[edge.node];
    if (as->role != FUSE_REDUCE && fuse_constant(b->f, edge, &number)) {
        for (int32_t i = 0; i < b->g->n_constants; i++)
            if (b->g->constant_dtypes[i] == fuse_info(b->f, edge)->dtype &&
                memcmp(&b->g->constants[i], &number, sizeof number) == 0)
                return b->program.n_inputs + i;
        return -1;
    }
    int32_t shift = fuse_shift(b->f, b->g, node, as, k);
    for (int32_t i = 0; i < b->program.n_inputs; i++)
        if (tc_edges_equal(b->loads[i].edge, edge) && b->loads[i].shift == shift)
            return i;
    return -1;
}

/* Division of a row by one number for all of it is done by multiplying: the quotient may differ in
 * its last place, and a row costs a fraction. */
static bool add_instruction(tc_fused_program *p, tc_fused_instruction instruction)
{
    bool full[TC_FUSED_VALUES];
    tc_fused_extents(p, full);
    const int32_t *operands = instruction.operands;
    bool by_row = instruction.code == TC_FUSED_div && p->columns > 0 && full[operands[0]] &&
                  !full[operands[1]] && tc_fused_producer(p, operands[1]);
    if (p->n_instructions + by_row >= TC_FUSED_INSTRUCTIONS)
        return false;
    if (by_row) {
        p->instructions[p->n_instructions++] =
            (tc_fused_instruction){TC_FUSED_reciprocal, instruction.dtype, {operands[1], -1, -1}};
        instruction.code = TC_FUSED_mul;
        instruction.operands[1] = tc_fused_values(p) - 1;
    }
    p->instructions[p->n_instructions++] = instruction;
    return true;
}

static bool list_instructions(builder *b)
{
    tc_fused_program *p = &b->program;
    p->columns = b->g->columns;
    for (int32_t i = 0; i < b->count; i++) {
        int32_t member = b->members[i];
        const fuse_node *as = &b->f->nodes[member];
        tc_fused_instruction instruction = {
            .code = as->role == FUSE_SHARE ? TC_FUSED_share : (tc_fused_code)as->code,
            .dtype = node_of(b, member)->outputs[0].dtype,
            .operands = {-1, -1, -1}};
        for (int32_t k = 0; k < as->operands; k++) {
            instruction.operands[k] = operand_value(b, member, k);
            if (instruction.operands[k] < 0)
                return false;
        }
        if (as->role == FUSE_REPEAT) {
            b->f->values[member] = instruction.operands[0];
            continue;
        }
        if (!add_instruction(p, instruction))
            return false;
        b->f->values[member] = tc_fused_values(p) - 1;
    }
    for (int32_t o = 0; o < p->n_outputs; o++)
        p->outputs[o] = (tc_fused_output){b->f->values[b->outputs[o]],
                                          (tc_fused_extent)b->f->nodes[b->outputs[o]].extent};
    return true;
}

/* Whether the inputs alone surely broadcast to the domain. */
static bool inputs_cover(const builder *b, const tc_shape *domain)
{
    bool covered[TC_MAX_RANK] = {false};
    bool all = true;
    for (int32_t i = 0; i < b->program.n_inputs; i++) {
        if (b->loads[i].edge.node < 0)
            continue;
        if (b->loads[i].shift == 0 && fuse_class(b->f, b->loads[i].edge) == b->g->domain)
            return true;
        const tc_shape *shape = &fuse_info(b->f, b->loads[i].edge)->shape;
        int32_t added = domain->rank - shape->rank - b->loads[i].shift;
        for (int32_t d = 0; d < shape->rank; d++)
            covered[added + d] =
                covered[added + d] || tc_dim_same(shape->dims[d], domain->dims[added + d]);
    }
    for (int32_t d = 0; d < domain->rank; d++)
        all = all && covered[d];
    return all;
}

/* A value outside that has the shape of the domain. */
static bool find_like(const builder *b, tc_edge *like)
{
    *like = TC_NO_EDGE;
    if (inputs_cover(b, &fuse_info(b->f, b->g->like)->shape))
        return true;
    for (int32_t i = 0; i < b->count; i++) {
        const tc_node *node = node_of(b, b->members[i]);
        for (int32_t k = b->f->nodes[b->members[i]].operands; k < node->n_inputs; k++) {
            tc_edge edge = node->inputs[k];
            if (is_inside(b, edge) || fuse_class(b->f, edge) != b->g->domain)
                continue;
            *like = edge;
            return true;
        }
    }
    return false;
}

/* "fused" = the names of the members. */
static bool note_names(const builder *b, tc_node *node)
{
    tc_arena *arena = &b->f->pass->graph->arena;
    char text[NAMES_SIZE];
    size_t length = 0;
    for (int32_t i = 0; i < b->count; i++) {
        const char *name = node_of(b, b->members[i])->name;
        size_t size = strlen(name);
        if (length + size + 8 > NAMES_SIZE) {
            memcpy(text + length, " ...", 4);
            length += 4;
            break;
        }
        if (i)
            text[length++] = ' ';
        memcpy(text + length, name, size);
        length += size;
    }
    tc_note *note = tc_arena_alloc(arena, sizeof *note);
    char *copy = tc_arena_strndup(arena, text, length);
    if (!note || !copy)
        return false;
    *note = (tc_note){"fused", copy, node->notes};
    node->notes = note;
    return true;
}

static tc_node *make_node(builder *b, tc_edge like)
{
    tc_pass_context *pass = b->f->pass;
    tc_arena *arena = &pass->graph->arena;
    const tc_fused_program *p = &b->program;
    int64_t ints[TC_FUSED_INTS];
    double numbers[TC_FUSED_CONSTANTS];
    tc_text text = {0};
    size_t n = (size_t)tc_fused_write(p, ints);
    for (int32_t i = 0; i < p->n_constants; i++)
        numbers[i] = p->constants[i].value;
    tc_fused_program_print(p, &text);
    int64_t *program = tc_arena_memdup(arena, ints, n * sizeof *ints);
    double *constants = tc_arena_memdup(arena, numbers, (size_t)p->n_constants * sizeof *numbers);
    const char *shown = text.failed ? NULL : tc_arena_strdup(arena, text.data ? text.data : "");
    tc_text_free(&text);
    if (!program || !constants || !shown) {
        (void)tc_compiler_exhausted();
        return NULL;
    }
    const tc_attr_arg attrs[] = {{"program", tc_attr_ints(program, n)},
                                 {"constants", tc_attr_floats(constants, (size_t)p->n_constants)},
                                 {"text", tc_attr_string(shown)}};
    tc_node *node = tc_ir_source(pass, "fused", node_of(b, b->g->last), 0, attrs, 3);
    if (!node)
        return NULL;
    node->n_inputs = p->n_inputs + 1;
    node->n_outputs = p->n_outputs;
    node->inputs = tc_arena_array(arena, (size_t)node->n_inputs, sizeof *node->inputs);
    node->outputs = tc_arena_array(arena, (size_t)node->n_outputs, sizeof *node->outputs);
    if (!node->inputs || !node->outputs || !note_names(b, node)) {
        (void)tc_compiler_exhausted();
        return NULL;
    }
    node->inputs[0] = tc_ir_new_edge(pass, like);
    for (int32_t i = 0; i < p->n_inputs; i++)
        node->inputs[i + 1] = tc_ir_new_edge(pass, b->loads[i].edge);
    for (int32_t o = 0; o < p->n_outputs; o++)
        node->outputs[o] = node_of(b, b->outputs[o])->outputs[0];
    return node;
}

tc_status fuse_build(fuser *f, int32_t group, const int32_t *members, int32_t count, bool *made)
{
    builder b = {
        .f = f, .g = &f->groups.data[group], .group = group, .members = members, .count = count};
    tc_edge like;
    int32_t shaped[TC_FUSED_INSTRUCTIONS * 2];
    *made = false;
    if (count > (int32_t)(sizeof shaped / sizeof shaped[0]) || !list_outputs(&b))
        return TC_OK;
    for (int32_t i = 0; i < count; i++) {
        const fuse_node *node = &f->nodes[members[i]];
        shaped[i] = node->shaped && !node->read ? output_like(&b, members[i]) : 0;
        if (shaped[i] < 0)
            return TC_OK;
    }
    list_inputs(&b);
    list_constants(&b);
    if (b.program.n_inputs > TC_FUSED_INPUTS || !list_instructions(&b) || !find_like(&b, &like) ||
        tc_fused_verify(&b.program))
        return TC_OK;
    tc_node *node = make_node(&b, like);
    if (!node)
        return TC_RESOURCE_EXHAUSTED;
    TC_TRY(tc_ir_append(f->pass, node));
    for (int32_t i = 0; i < count; i++) {
        f->pass->places[members[i]] = node->index;
        if (f->nodes[members[i]].shaped)
            f->pass->edges[f->pass->first[members[i]]] = (tc_edge){node->index, shaped[i]};
    }
    for (int32_t o = 0; o < b.program.n_outputs; o++)
        f->pass->edges[f->pass->first[b.outputs[o]]] = (tc_edge){node->index, o};
    *made = true;
    return TC_OK;
}
