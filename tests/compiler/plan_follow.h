/*
 * Following contents through a plan. Every byte of every place holds a mark: the value of the
 * program and the byte of it that lies there. Bytes of views, slices, splits and joins are marked
 * as those of what they come from, so that memory may be shared; a variable begins with the marks
 * of its node. Each operand must hold what the program says, at the end the fetches their values
 * and the variables their last writes, and writes must not touch what the same step reads unless
 * the operator declares the pair. Kernels must find all operands on their device, and what a device
 * copies to the CPU is there when a segment waits, no sooner.
 */
#ifndef TC_TEST_PLAN_FOLLOW_H
#define TC_TEST_PLAN_FOLLOW_H

#include "support/test.h"

#include <tensorc/tensorc.h>

#include "compiler/pass.h"
#include "compiler/plan.h"
#include "core/shape.h"
#include "core/slice.h"
#include "core/tensor.h"

#define MARK_NONE    (~(uint64_t)0)
#define MARK_SCRATCH (MARK_NONE - 1)
#define MARK_FLIGHT  (MARK_NONE - 2) /* being copied from a device to the CPU */

enum { FOLLOWED_DEVICES = 4, FOLLOWED_COPIES = 256 };

/* A copy to the CPU that nobody has waited for. */
typedef struct flight {
    uint64_t *to, *marks;
    size_t bytes;
} flight;

typedef struct follower {
    const tc_plan *plan;
    const tc_graph *graph;
    int32_t *first;    /* value of each node's first output */
    int32_t *producer; /* node of each value */
    int32_t n_values;
    uint64_t *arenas[FOLLOWED_DEVICES]; /* marks, one per byte, as the rest */
    uint64_t **variables, **outputs;
    flight flights[FOLLOWED_COPIES];
    int n_flights;
    bool working[FOLLOWED_DEVICES]; /* since a segment waited */
    size_t staged;                  /* bytes of staging memory that copies have taken */
} follower;

static inline int32_t followed_value(const follower *f, tc_edge edge)
{
    return f->first[edge.node] + edge.output;
}

static inline size_t element_bytes(const tc_value_info *info)
{
    return (size_t)tc_dtype_bits(info->dtype) / 8;
}

/* The element of a tensor of shape `to` at the place of element `index` of shape `from`, moved by
 * `shift` and `stride` along each axis; -1 when it lies outside. */
static inline int64_t moved_element(const tc_shape *from, int64_t index, const tc_shape *to,
                                    const int64_t *shift, const int64_t *stride)
{
    int64_t at[TC_MAX_RANK], element = 0;
    for (int32_t d = from->rank - 1; d >= 0; d--) {
        at[d] = index % from->dims[d].size * stride[d] + shift[d];
        index /= from->dims[d].size;
    }
    for (int32_t d = 0; d < to->rank; d++) {
        if (at[d] < 0 || at[d] >= to->dims[d].size)
            return -1;
        element = element * to->dims[d].size + at[d];
    }
    return element;
}

/* Where element `*element` of output `output` of a node that only moves elements comes from: the
 * input, -1 when the node computes. */
static inline int32_t element_source(const follower *f, const tc_node *node, int32_t output,
                                     int64_t *element)
{
    int64_t shift[TC_MAX_RANK] = {0}, stride[TC_MAX_RANK];
    const tc_shape *to = &node->outputs[output].shape;
    for (int32_t d = 0; d < TC_MAX_RANK; d++)
        stride[d] = 1;
    if (node->attrs.op->flags & TC_OP_VIEW || tc_node_is(node, "transfer"))
        return 0;
    bool split = tc_node_is(node, "split") || tc_node_is(node, "split_like");
    if (!split && !tc_node_is(node, "slice") && !tc_node_is(node, "concat"))
        return -1;
    const tc_shape *from = &tc_edge_info(f->graph, node->inputs[0])->shape;
    if (!tc_shape_is_known(from) || !tc_shape_is_known(to))
        return -1; /* the sizes that the plan has are not known here */
    if (tc_node_is(node, "slice")) {
        tc_slice_range ranges[TC_MAX_RANK];
        assert_null(tc_slice_ranges(&node->attrs, from->rank, ranges));
        for (int32_t d = 0; d < from->rank; d++) {
            (void)tc_slice_count(ranges[d], from->dims[d].size, &shift[d]);
            stride[d] = ranges[d].stride;
        }
        *element = moved_element(to, *element, from, shift, stride);
        return 0;
    }
    int64_t axis = tc_attrs_int(&node->attrs, "axis");
    axis += axis < 0 ? to->rank : 0;
    if (split) {
        for (int32_t k = 0; k < output; k++)
            shift[axis] += node->outputs[k].shape.dims[axis].size;
        *element = moved_element(to, *element, from, shift, stride);
        return 0;
    }
    for (int32_t k = 0; k < node->n_inputs; k++) {
        const tc_shape *part = &tc_edge_info(f->graph, node->inputs[k])->shape;
        int64_t at = tc_shape_is_known(part) ? moved_element(to, *element, part, shift, stride)
                                             : (int64_t)-1;
        if (at >= 0) {
            *element = at;
            return k;
        }
        if (!tc_shape_is_known(part))
            return -1;
        shift[axis] -= part->dims[axis].size;
    }
    fail();
    return -1;
}

/* The mark of byte `byte` of `value`. */
static inline uint64_t mark_of(const follower *f, int32_t value, size_t byte)
{
    for (;;) {
        const tc_node *node = tc_graph_node_at(f->graph, f->producer[value]);
        int32_t output = value - f->first[node->index];
        size_t size = element_bytes(&node->outputs[output]);
        int64_t element = (int64_t)(byte / size);
        int32_t input = element_source(f, node, output, &element);
        if (input < 0)
            return (uint64_t)value << 32 | byte;
        byte = (size_t)element * size + byte % size;
        value = followed_value(f, node->inputs[input]);
    }
}

/* Constants are told apart by their tensors. */
static inline int32_t constant_value(const follower *f, const tc_tensor *tensor)
{
    for (size_t i = 0; i < f->graph->nodes.count; i++) {
        const tc_node *node = f->graph->nodes.data[i];
        if (tc_node_is(node, "constant") && tc_attrs_tensor(&node->attrs, "tensor") == tensor)
            return f->first[i];
    }
    fail();
    return -1;
}

/* The marks that may be written through a buffer. */
static inline uint64_t *held_marks(const follower *f, const tc_buffer *b)
{
    switch (b->place) {
    case TC_PLACE_ARENA:
        assert_true(b->offset + b->bytes <= f->plan->devices[b->device].arena_bytes);
        return f->arenas[b->device] + b->offset;
    case TC_PLACE_VARIABLE: return f->variables[b->index] + b->offset;
    case TC_PLACE_OUTPUT: return f->outputs[b->index] + b->offset;
    default: return NULL;
    }
}

static inline uint64_t held_mark(const follower *f, const tc_buffer *b, size_t byte)
{
    const uint64_t *marks = held_marks(f, b);
    if (marks)
        return marks[byte];
    if (b->place == TC_PLACE_FEED)
        return mark_of(f, followed_value(f, f->plan->program->feeds[b->index]), b->offset + byte);
    if (b->place == TC_PLACE_PACKED)
        assert_int_equal(b->device, f->plan->packs[b->index].device);
    if (b->place == TC_PLACE_PACKED)
        return mark_of(f, f->first[f->plan->packs[b->index].node], b->offset + byte);
    assert_int_equal(b->place, TC_PLACE_CONSTANT);
    return mark_of(f, constant_value(f, f->plan->constants[b->index]), b->offset + byte);
}

static inline uint64_t wanted_mark(const follower *f, int32_t value, size_t byte)
{
    uint64_t mark = mark_of(f, value, byte);
    const tc_node *node = tc_graph_node_at(f->graph, f->producer[mark >> 32]);
    if (!tc_node_is(node, "constant"))
        return mark;
    uint64_t same = (uint64_t)constant_value(f, tc_attrs_tensor(&node->attrs, "tensor"));
    return same << 32 | (mark & 0xffffffff);
}

static inline void expect_held(const follower *f, const tc_buffer *b, int32_t value)
{
    for (size_t byte = 0; byte < b->bytes; byte++)
        if (held_mark(f, b, byte) != wanted_mark(f, value, byte))
            fail_msg("byte %zu of value %d of '%s' is not where it should be", byte, (int)value,
                     tc_graph_node_at(f->graph, f->producer[value])->name);
}

static inline void write_value(follower *f, const tc_buffer *b, int32_t value)
{
    uint64_t *marks = held_marks(f, b);
    if (!marks)
        fail_msg("a step writes to place %d", b->place);
    for (size_t byte = 0; byte < b->bytes; byte++)
        marks[byte] = mark_of(f, value, byte);
}

static inline bool buffers_overlap(const tc_buffer *a, const tc_buffer *b)
{
    if (a->place != b->place || !a->bytes || !b->bytes)
        return false;
    if (a->place != TC_PLACE_ARENA && a->index != b->index)
        return false;
    if (a->device != b->device)
        return false;
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static inline bool declared_pair(const tc_node *node, int32_t input, int32_t output)
{
    const tc_op *op = node->attrs.op;
    if (input == output && tc_input_flags(node, input) & TC_PORT_RESOURCE)
        return true;
    for (int16_t i = 0; i < op->n_inplace; i++)
        if (op->inplace[i].input == input && op->inplace[i].output == output)
            return true;
    return false;
}

static inline void follow_inputs(const follower *f, const tc_step *step, bool commit)
{
    const tc_node *node = tc_graph_node_at(f->graph, step->node);
    for (int32_t k = 0; k < step->n_inputs; k++) {
        int32_t operand = f->plan->operands[step->first_input + k];
        uint32_t flags = tc_input_flags(node, k);
        if (node->inputs[k].node < 0 || flags & TC_PORT_SHAPE_ONLY) {
            assert_int_equal(operand, -1);
            continue;
        }
        assert_true(operand >= 0);
        expect_held(f, &f->plan->buffers[operand], followed_value(f, node->inputs[k]));
        assert_int_equal(f->plan->buffers[operand].device, step->device);
        if (commit && flags & TC_PORT_RESOURCE)
            assert_int_equal(f->plan->buffers[operand].place, TC_PLACE_VARIABLE);
    }
}

static inline void check_overlaps(const follower *f, const tc_step *step, int32_t output)
{
    const tc_plan *plan = f->plan;
    const tc_node *node = tc_graph_node_at(f->graph, step->node);
    const tc_buffer *out = &plan->buffers[plan->operands[step->first_output + output]];
    for (int32_t i = 0; i < step->n_inputs; i++) {
        int32_t operand = plan->operands[step->first_input + i];
        if (operand < 0 || !buffers_overlap(out, &plan->buffers[operand]))
            continue;
        assert_true(declared_pair(node, i, output));
        assert_int_equal(out->offset, plan->buffers[operand].offset);
        assert_int_equal(out->bytes, plan->buffers[operand].bytes);
    }
    for (int32_t i = 0; i < output; i++)
        assert_false(buffers_overlap(out, &plan->buffers[plan->operands[step->first_output + i]]));
    assert_int_equal(out->device, step->device);
    if (step->workspace_bytes && out->place == TC_PLACE_ARENA)
        assert_true(out->offset >= step->workspace_offset + step->workspace_bytes ||
                    out->offset + out->bytes <= step->workspace_offset);
}

static inline void follow_kernel(follower *f, const tc_step *step, bool commit)
{
    const tc_plan *plan = f->plan;
    const tc_node *node = tc_graph_node_at(f->graph, step->node);
    assert_int_equal(step->n_inputs, node->n_inputs);
    assert_int_equal(step->n_outputs, node->n_outputs);
    assert_string_equal(step->kernel->op, node->attrs.op->name);
    follow_inputs(f, step, commit);
    for (size_t i = 0; i < step->workspace_bytes; i++)
        f->arenas[step->device][step->workspace_offset + i] = MARK_SCRATCH;
    for (int32_t k = 0; k < step->n_outputs; k++) {
        const tc_buffer *out = &plan->buffers[plan->operands[step->first_output + k]];
        check_overlaps(f, step, k);
        assert_int_equal(out->place == TC_PLACE_VARIABLE, commit);
        write_value(f, out, f->first[step->node] + k);
    }
}

/* What a copy between devices is to look like. */
static inline void check_transfer(follower *f, const tc_step *step, const tc_buffer *from,
                                  const tc_buffer *to)
{
    assert_int_equal(step->device, to->device ? to->device : from->device);
    if (from->device == to->device)
        return;
    if (from->device && to->device) {
        assert_false(f->working[from->device]);
        return;
    }
    assert_int_equal(step->staging_offset % 64, 0);
    assert_true(step->staging_offset >= f->staged || step->staging_offset == 0);
    f->staged = step->staging_offset + step->copy_bytes;
    assert_true(f->staged <= f->plan->staging_bytes);
}

static inline void follow_step(follower *f, int32_t index)
{
    const tc_plan *plan = f->plan;
    const tc_step *step = &plan->steps[index];
    bool commit = index >= plan->n_compute;
    assert_int_equal(step->workspace_offset % 64, 0);
    f->working[step->device] = true;
    if (step->kernel) {
        follow_kernel(f, step, commit);
        return;
    }
    const tc_buffer *from = &plan->buffers[plan->operands[step->first_input]];
    const tc_buffer *to = &plan->buffers[plan->operands[step->first_output]];
    assert_int_equal(step->copy_bytes, from->bytes);
    assert_int_equal(to->bytes, from->bytes);
    assert_false(buffers_overlap(from, to));
    check_transfer(f, step, from, to);
    if (!commit)
        assert_int_not_equal(to->place, TC_PLACE_VARIABLE);
    uint64_t *marks = held_marks(f, to), *target = marks;
    assert_non_null(marks);
    bool flies = from->device && !to->device;
    if (flies) {
        target = malloc((from->bytes + 1) * sizeof *target);
        assert_true(target && f->n_flights < FOLLOWED_COPIES);
        f->flights[f->n_flights++] = (flight){marks, target, from->bytes};
    }
    for (size_t byte = 0; byte < from->bytes; byte++) {
        uint64_t mark = held_mark(f, from, byte);
        assert_true(mark < MARK_FLIGHT);
        target[byte] = mark;
        if (flies)
            marks[byte] = MARK_FLIGHT;
    }
}

static inline void land(follower *f)
{
    for (int i = 0; i < f->n_flights; i++) {
        const flight *down = &f->flights[i];
        for (size_t byte = 0; byte < down->bytes; byte++) {
            assert_true(down->to[byte] == MARK_FLIGHT); /* nobody has used the memory meanwhile */
            down->to[byte] = down->marks[byte];
        }
        free(down->marks);
    }
    f->n_flights = 0;
    memset(f->working, 0, sizeof f->working);
}

static inline void follow_segments(follower *f)
{
    const tc_plan *plan = f->plan;
    int32_t step = 0, n_compute = 0;
    for (int32_t i = 0; i < plan->n_segments; i++) {
        const tc_segment *segment = &plan->segments[i];
        assert_int_equal(segment->first_step, step);
        assert_true(segment->n_steps > 0);
        assert_true((step < plan->n_compute) == (step + segment->n_steps <= plan->n_compute));
        n_compute += step < plan->n_compute;
        if (segment->waits)
            land(f);
        for (; step < segment->first_step + segment->n_steps; step++) {
            assert_int_equal(plan->steps[step].device, segment->device);
            follow_step(f, step);
        }
    }
    land(f);
    assert_int_equal(step, plan->n_steps);
    assert_int_equal(n_compute, plan->n_compute_segments);
}

static inline uint64_t *test_marks(size_t bytes)
{
    uint64_t *marks = malloc((bytes + 1) * sizeof *marks);
    assert_non_null(marks);
    memset(marks, 0xff, (bytes + 1) * sizeof *marks);
    return marks;
}

static inline int32_t *test_ints(size_t count, int32_t value)
{
    int32_t *ints = malloc((count + 1) * sizeof *ints);
    assert_non_null(ints);
    for (size_t i = 0; i <= count; i++)
        ints[i] = value;
    return ints;
}

static inline size_t variable_bytes(const tc_plan_variable *variable)
{
    return (size_t)tc_shape_size(&variable->shape) * (size_t)tc_dtype_bits(variable->dtype) / 8;
}

static inline size_t fetch_bytes(const tc_plan *plan, int32_t fetch)
{
    return (size_t)tc_shape_size(&plan->outputs[fetch].shape) *
           element_bytes(&plan->outputs[fetch]);
}

static inline void begin_following(follower *f, const tc_plan *plan)
{
    const tc_graph *graph = plan->program->graph;
    int32_t n = (int32_t)graph->nodes.count, values = 0;
    *f = (follower){.plan = plan, .graph = graph, .first = test_ints((size_t)n, 0)};
    for (int32_t i = 0; i < n; i++) {
        f->first[i] = values;
        values += graph->nodes.data[i]->n_outputs;
    }
    f->n_values = values;
    f->producer = test_ints((size_t)values, 0);
    for (int32_t i = 0; i < n; i++)
        for (int32_t k = 0; k < graph->nodes.data[i]->n_outputs; k++)
            f->producer[f->first[i] + k] = i;
    assert_true(plan->n_devices <= FOLLOWED_DEVICES);
    assert_int_equal(plan->arena_bytes, plan->devices[0].arena_bytes);
    assert_int_equal(plan->live_bytes, plan->devices[0].live_bytes);
    for (int32_t d = 0; d < plan->n_devices; d++)
        f->arenas[d] = test_marks(plan->devices[d].arena_bytes);
    f->variables = calloc((size_t)plan->n_variables + 1, sizeof *f->variables);
    f->outputs = calloc((size_t)plan->program->n_fetches + 1, sizeof *f->outputs);
    assert_non_null(f->variables);
    assert_non_null(f->outputs);
    for (int32_t i = 0; i < plan->program->n_fetches; i++)
        f->outputs[i] = test_marks(fetch_bytes(plan, i));
    for (int32_t v = 0; v < plan->n_variables; v++) {
        const uint64_t *node = tc_map_find_string(&graph->names, plan->variables[v].name);
        assert_non_null(node);
        f->variables[v] = test_marks(variable_bytes(&plan->variables[v]));
        for (size_t byte = 0; byte < variable_bytes(&plan->variables[v]); byte++)
            f->variables[v][byte] = (uint64_t)f->first[*node] << 32 | byte;
    }
}

/* last_write[n] of a variable's node n: the value that it holds at the end. */
static inline int32_t *find_last_writes(const follower *f)
{
    int32_t n = (int32_t)f->graph->nodes.count;
    int32_t *last_write = test_ints((size_t)n, -1);
    int32_t *variable_of = test_ints((size_t)f->n_values, -1);
    for (int32_t i = 0; i < n; i++) {
        const tc_node *node = f->graph->nodes.data[i];
        if (tc_node_is(node, "variable")) {
            variable_of[f->first[i]] = i;
            last_write[i] = f->first[i];
        }
        for (int32_t k = 0; k < node->n_inputs; k++) {
            if (!(tc_input_flags(node, k) & TC_PORT_RESOURCE))
                continue;
            int32_t v = variable_of[followed_value(f, node->inputs[k])];
            assert_true(v >= 0);
            variable_of[f->first[i] + k] = v;
            last_write[v] = f->first[i] + k;
        }
    }
    free(variable_of);
    return last_write;
}

static inline void expect_all(const follower *f, const uint64_t *marks, size_t bytes, int32_t value)
{
    for (size_t byte = 0; byte < bytes; byte++)
        assert_int_equal(marks[byte], wanted_mark(f, value, byte));
}

/* Invariants are made from what never changes, in their order, on the device where they lie. */
static inline void follow_invariants(const follower *f)
{
    for (int32_t i = 0; i < f->plan->n_packs; i++) {
        const tc_pack *pack = &f->plan->packs[i];
        for (int32_t k = 0; pack->buffer < 0 && k < pack->n_inputs; k++) {
            int32_t operand = f->plan->operands[pack->first_input + k];
            if (operand < 0)
                continue;
            const tc_buffer *b = &f->plan->buffers[operand];
            const tc_node *node = tc_graph_node_at(f->graph, pack->node);
            bool fixed = b->place == TC_PLACE_CONSTANT ||
                         (b->place == TC_PLACE_PACKED && b->index < i) ||
                         (b->place == TC_PLACE_VARIABLE && !f->plan->variables[b->index].written);
            assert_true(fixed);
            assert_int_equal(b->device == pack->device, pack->kernel != NULL);
            expect_held(f, b, followed_value(f, node->inputs[k]));
        }
    }
}

/** Follows `plan` from its first step to its last. */
static inline void check_plan(const tc_plan *plan)
{
    follower f;
    if (plan->program->graph->nodes.count == 0)
        return;
    begin_following(&f, plan);
    follow_invariants(&f);
    int32_t *last_write = find_last_writes(&f);
    for (int32_t i = 0; i < plan->n_steps && plan->n_segments == 0; i++) {
        assert_int_equal(plan->steps[i].device, 0);
        follow_step(&f, i);
    }
    if (plan->n_segments > 0)
        follow_segments(&f);
    for (int32_t i = 0; i < plan->program->n_fetches; i++) {
        expect_all(&f, f.outputs[i], fetch_bytes(plan, i),
                   followed_value(&f, plan->program->fetches[i]));
        free(f.outputs[i]);
    }
    for (int32_t v = 0; v < plan->n_variables; v++) {
        int32_t node = (int32_t)*tc_map_find_string(&f.graph->names, plan->variables[v].name);
        assert_int_equal(plan->variables[v].written, last_write[node] != f.first[node]);
        expect_all(&f, f.variables[v], variable_bytes(&plan->variables[v]), last_write[node]);
        free(f.variables[v]);
    }
    free(f.first);
    free(f.producer);
    for (int32_t d = 0; d < plan->n_devices; d++)
        free(f.arenas[d]);
    free(f.variables);
    free(f.outputs);
    free(last_write);
}

#endif
