/*
 * Equal nodes are computed once: the same operator, attributes, inputs, control dependencies and
 * device. Random operators count: with equal streams they draw equal numbers.
 */
#include <string.h>

#include "compiler/pass.h"
#include "core/tensor.h"

#define NOT_MERGED (TC_EFFECT_WRITE | TC_EFFECT_IO | TC_EFFECT_COLLECTIVE)

/* Larger constants are equal only when they are one tensor: comparing weights is not worth the
 * time. */
#define MAX_COMPARED ((size_t)64 << 10)

static bool by_content(const tc_tensor *tensor)
{
    return tensor && tc_tensor_bytes(tensor) <= MAX_COMPARED;
}

static uint64_t hash_shape(const tc_shape *shape)
{
    uint64_t hash = (uint64_t)shape->rank;
    for (int32_t i = 0; i < shape->rank; i++) {
        hash = tc_hash_combine(hash, (uint64_t)shape->dims[i].size);
        if (shape->dims[i].name)
            hash = tc_hash_combine(hash, tc_hash_string(shape->dims[i].name));
    }
    return hash;
}

static uint64_t hash_attr(const tc_attr *attr)
{
    switch (attr->type) {
    case TC_ATTR_INT: return (uint64_t)attr->i;
    case TC_ATTR_FLOAT: return tc_hash_bytes(&attr->f, sizeof attr->f, 0);
    case TC_ATTR_BOOL: return attr->b;
    case TC_ATTR_STRING:
    case TC_ATTR_FUNCTION: return attr->s ? tc_hash_string(attr->s) : 0;
    case TC_ATTR_DTYPE: return (uint64_t)attr->dtype;
    case TC_ATTR_SHAPE: return attr->shape ? hash_shape(attr->shape) : 0;
    case TC_ATTR_INTS:
        return tc_hash_bytes(attr->ints, (size_t)attr->count * sizeof *attr->ints, 0);
    case TC_ATTR_FLOATS:
        return tc_hash_bytes(attr->floats, (size_t)attr->count * sizeof *attr->floats, 0);
    case TC_ATTR_STRINGS: {
        uint64_t hash = (uint64_t)attr->count;
        for (int32_t i = 0; i < attr->count; i++)
            hash = tc_hash_combine(hash, tc_hash_string(attr->strings[i]));
        return hash;
    }
    case TC_ATTR_TENSOR:
        if (by_content(attr->tensor))
            return tc_hash_bytes(tc_tensor_data(attr->tensor), tc_tensor_bytes(attr->tensor), 0);
        return (uint64_t)(uintptr_t)attr->tensor;
    case TC_ATTR_NONE: break;
    }
    return 0;
}

static bool equal_bytes(const void *a, const void *b, size_t size)
{
    return size == 0 || memcmp(a, b, size) == 0;
}

static bool equal_tensors(const tc_tensor *a, const tc_tensor *b)
{
    if (a == b)
        return true;
    return by_content(a) && by_content(b) && tc_tensor_dtype(a) == tc_tensor_dtype(b) &&
           tc_shape_equal(tc_tensor_shape(a), tc_tensor_shape(b)) &&
           equal_bytes(tc_tensor_data(a), tc_tensor_data(b), tc_tensor_bytes(a));
}

static bool equal_attr(const tc_attr *a, const tc_attr *b)
{
    if (a->type != b->type || a->count != b->count)
        return false;
    size_t n = (size_t)a->count;
    switch (a->type) {
    case TC_ATTR_INT: return a->i == b->i;
    case TC_ATTR_FLOAT: return memcmp(&a->f, &b->f, sizeof a->f) == 0;
    case TC_ATTR_BOOL: return a->b == b->b;
    case TC_ATTR_STRING:
    case TC_ATTR_FUNCTION: return a->s == b->s || (a->s && b->s && strcmp(a->s, b->s) == 0);
    case TC_ATTR_DTYPE: return a->dtype == b->dtype;
    case TC_ATTR_SHAPE:
        return a->shape == b->shape || (a->shape && b->shape && tc_shape_equal(a->shape, b->shape));
    case TC_ATTR_INTS: return equal_bytes(a->ints, b->ints, n * sizeof *a->ints);
    case TC_ATTR_FLOATS: return equal_bytes(a->floats, b->floats, n * sizeof *a->floats);
    case TC_ATTR_STRINGS:
        for (size_t i = 0; i < n; i++)
            if (strcmp(a->strings[i], b->strings[i]) != 0)
                return false;
        return true;
    case TC_ATTR_TENSOR: return equal_tensors(a->tensor, b->tensor);
    case TC_ATTR_NONE: break;
    }
    return true;
}

static bool is_commutative(const tc_node *node)
{
    return node->attrs.op->flags & TC_OP_COMMUTATIVE && node->n_inputs == 2;
}

static uint64_t hash_edge(tc_edge edge)
{
    return tc_hash_combine((uint64_t)(uint32_t)edge.node, (uint64_t)(uint32_t)edge.output);
}

static uint64_t hash_node(const tc_node *node)
{
    const tc_op *op = node->attrs.op;
    uint64_t hash = (uint64_t)(uintptr_t)op;
    for (int16_t i = 0; i < op->n_attrs; i++)
        hash = tc_hash_combine(hash, hash_attr(&node->attrs.values[i]));
    if (is_commutative(node))
        return tc_hash_combine(hash, hash_edge(node->inputs[0]) + hash_edge(node->inputs[1]));
    for (int32_t i = 0; i < node->n_inputs; i++)
        hash = tc_hash_combine(hash, hash_edge(node->inputs[i]));
    return hash;
}

static bool equal_inputs(const tc_node *a, const tc_node *b)
{
    bool equal = a->n_inputs == b->n_inputs;
    for (int32_t i = 0; equal && i < a->n_inputs; i++)
        equal = tc_edges_equal(a->inputs[i], b->inputs[i]);
    return equal || (is_commutative(a) && tc_edges_equal(a->inputs[0], b->inputs[1]) &&
                     tc_edges_equal(a->inputs[1], b->inputs[0]));
}

static bool equal_nodes(const tc_node *a, const tc_node *b)
{
    if (a->attrs.op != b->attrs.op || a->n_outputs != b->n_outputs ||
        a->n_controls != b->n_controls || !equal_inputs(a, b))
        return false;
    for (int16_t i = 0; i < a->attrs.op->n_attrs; i++)
        if (!equal_attr(&a->attrs.values[i], &b->attrs.values[i]))
            return false;
    return equal_bytes(a->controls, b->controls, (size_t)a->n_controls * sizeof *a->controls) &&
           tc_node_same_device(a, b);
}

/* Open addressing over the nodes kept so far; never more than half full. */
typedef struct table {
    const tc_node **slots;
    uint64_t *hashes;
    size_t mask;
} table;

static tc_status merge(tc_pass_context *pass, table *t, tc_node *node, int32_t old)
{
    if (node->attrs.op->effects & NOT_MERGED || node->n_outputs == 0 || tc_node_is_identity(node))
        return tc_ir_keep(pass, node, old);
    uint64_t hash = hash_node(node);
    size_t slot = hash & t->mask;
    for (; t->slots[slot]; slot = (slot + 1) & t->mask) {
        if (t->hashes[slot] != hash || !equal_nodes(t->slots[slot], node))
            continue;
        for (int32_t i = 0; i < node->n_outputs; i++)
            tc_ir_forward(pass, old, i, (tc_edge){t->slots[slot]->index, i});
        pass->changes++;
        return TC_OK;
    }
    t->slots[slot] = node;
    t->hashes[slot] = hash;
    return tc_ir_keep(pass, node, old);
}

tc_status tc_pass_cse(tc_pass_context *pass)
{
    size_t size = 16;
    while (size < pass->graph->nodes.count * 2)
        size *= 2;
    table t = {tc_alloc_zero(size, sizeof *t.slots), tc_alloc_zero(size, sizeof *t.hashes),
               size - 1};
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (status == TC_OK && (!t.slots || !t.hashes))
        status = tc_compiler_exhausted();
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++) {
        tc_ir_renumber(pass, pass->old[i]);
        status = merge(pass, &t, pass->old[i], i);
    }
    tc_free(t.slots);
    tc_free(t.hashes);
    return tc_ir_end(pass, status);
}
