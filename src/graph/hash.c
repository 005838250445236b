/* Structural hash: equal for graphs that compute the same, whatever their names and locations. */
#include <string.h>

#include "graph/internal.h"

typedef struct tc_hashed_body {
    const tc_graph *body;
    uint64_t hash;
} tc_hashed_body;

/* Bodies hashed so far: a chain of functions that each call the next one twice must not take
 * exponential time. */
typedef struct tc_hashing {
    TC_VECTOR(tc_hashed_body) bodies;
} tc_hashing;

static uint64_t hash_graph(tc_hashing *h, const tc_graph *graph);

static uint64_t hash_string(const char *text)
{
    return text ? tc_hash_string(text) : 0;
}

static uint64_t hash_shape(const tc_shape *shape)
{
    uint64_t hash = (uint64_t)(uint32_t)shape->rank;
    for (int32_t i = 0; i < shape->rank; i++) {
        hash = tc_hash_combine(hash, (uint64_t)shape->dims[i].size);
        hash = tc_hash_combine(hash, hash_string(shape->dims[i].name));
    }
    return hash;
}

static uint64_t hash_function(tc_hashing *h, const tc_graph *graph, const char *name)
{
    const tc_graph *body = tc_graph_find_function(graph, name);
    /* A body in the making calls nothing of itself, so that this ends. */
    if (!body || !body->closed)
        return hash_string(name);
    for (size_t i = 0; i < h->bodies.count; i++)
        if (h->bodies.data[i].body == body)
            return h->bodies.data[i].hash;
    const tc_hashed_body hashed = {body, hash_graph(h, body)};
    (void)tc_vector_push(&h->bodies, hashed); /* only time is lost where this fails */
    return hashed.hash;
}

static uint64_t hash_attr(tc_hashing *h, const tc_graph *graph, const tc_attr *attr)
{
    uint64_t hash = (uint64_t)attr->type << 32 | (uint32_t)attr->count;
    uint64_t value = 0;
    switch (attr->type) {
    case TC_ATTR_NONE: break;
    case TC_ATTR_INT: value = (uint64_t)attr->i; break;
    case TC_ATTR_FLOAT: value = tc_hash_bytes(&attr->f, sizeof attr->f, 0); break;
    case TC_ATTR_BOOL: value = attr->b; break;
    case TC_ATTR_STRING: value = hash_string(attr->s); break;
    case TC_ATTR_DTYPE: value = (uint64_t)attr->dtype; break;
    case TC_ATTR_SHAPE: value = attr->shape ? hash_shape(attr->shape) : 0; break;
    case TC_ATTR_INTS:
        value = tc_hash_bytes(attr->ints, (size_t)attr->count * sizeof *attr->ints, 0);
        break;
    case TC_ATTR_FLOATS:
        value = tc_hash_bytes(attr->floats, (size_t)attr->count * sizeof *attr->floats, 0);
        break;
    case TC_ATTR_STRINGS:
        for (int32_t i = 0; i < attr->count; i++)
            value = tc_hash_combine(value, hash_string(attr->strings[i]));
        break;
    case TC_ATTR_TENSOR:
        if (attr->tensor) {
            value = tc_hash_combine((uint64_t)tc_tensor_dtype(attr->tensor),
                                    hash_shape(tc_tensor_shape(attr->tensor)));
            value =
                tc_hash_bytes(tc_tensor_data(attr->tensor), tc_tensor_bytes(attr->tensor), value);
        }
        break;
    case TC_ATTR_FUNCTION: value = hash_function(h, graph, attr->s); break;
    }
    return tc_hash_combine(hash, value);
}

static uint64_t hash_edge(tc_edge edge)
{
    return (uint64_t)(uint32_t)edge.node << 32 | (uint32_t)edge.output;
}

static uint64_t hash_node(tc_hashing *h, const tc_graph *graph, const tc_node *node)
{
    uint64_t hash =
        tc_hash_combine(tc_hash_string(node->attrs.op->name), (uint64_t)node->attrs.op->version);
    for (int i = 0; i < node->attrs.op->n_attrs; i++)
        hash = tc_hash_combine(hash, hash_attr(h, graph, &node->attrs.values[i]));
    for (int32_t i = 0; i < node->n_inputs; i++)
        hash = tc_hash_combine(hash, hash_edge(node->inputs[i]));
    hash = tc_hash_combine(hash, (uint64_t)(uint32_t)node->n_controls);
    for (int32_t i = 0; i < node->n_controls; i++)
        hash = tc_hash_combine(hash, (uint64_t)node->controls[i]);
    return hash;
}

static uint64_t hash_graph(tc_hashing *h, const tc_graph *graph)
{
    uint64_t hash = tc_hash_combine(graph->seed, graph->nodes.count);
    for (size_t i = 0; i < graph->nodes.count; i++)
        hash = tc_hash_combine(hash, hash_node(h, graph, graph->nodes.data[i]));
    for (size_t i = 0; i < graph->parameters.count; i++)
        hash = tc_hash_combine(hash, (uint64_t)graph->parameters.data[i]);
    for (size_t i = 0; i < graph->results.count; i++)
        hash = tc_hash_combine(hash, hash_edge(graph->results.data[i]));
    return hash;
}

uint64_t tc_graph_hash(const tc_graph *graph)
{
    if (!graph)
        return 0;
    tc_hashing h = {0};
    uint64_t hash = hash_graph(&h, graph);
    /* Functions that nothing calls yet are part of the graph too. */
    for (size_t i = 0; i < graph->functions.count; i++)
        hash = tc_hash_combine(hash,
                               hash_function(&h, graph, graph->functions.data[i]->function_name));
    tc_vector_free(&h.bodies);
    return hash;
}
