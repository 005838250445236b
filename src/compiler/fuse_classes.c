/* Classes of shapes: values of one class have the same shape in every run. */
#include "compiler/fuse.h"
#include "core/shape.h"

static int32_t new_class(fuser *f)
{
    f->wider[f->n_classes] = -1;
    f->first_of[f->n_classes] = TC_NO_EDGE;
    return f->n_classes++;
}

typedef struct class_key {
    int64_t rank;
    uint64_t dims[TC_MAX_RANK];
} class_key;

/* The class of a shape whose unknown dimensions all have names; -1 for others. */
static tc_status class_of_shape(fuser *f, const tc_shape *shape, int32_t *out)
{
    class_key key = {.rank = shape->rank};
    *out = -1;
    for (int32_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i].size < 0 && !shape->dims[i].name)
            return TC_OK;
        key.dims[i] = shape->dims[i].size >= 0
                          ? (uint64_t)shape->dims[i].size
                          : tc_hash_string(shape->dims[i].name) | (uint64_t)1 << 63;
    }
    const uint64_t *found = tc_map_find(&f->known_classes, &key, sizeof key);
    if (found) {
        *out = (int32_t)*found;
        return TC_OK;
    }
    class_key *copy = tc_arena_memdup(&f->pass->graph->arena, &key, sizeof key);
    *out = new_class(f);
    return copy && tc_map_put(&f->known_classes, copy, sizeof *copy, (uint64_t)*out)
               ? TC_OK
               : tc_compiler_exhausted();
}

/* True where a value of shape `small` is broadcast to `large` whatever the unknown sizes are. */
static bool broadcasts(const tc_shape *small, const tc_shape *large)
{
    int32_t added = large->rank - small->rank;
    bool fits = added >= 0;
    for (int32_t i = 0; fits && i < small->rank; i++)
        fits = small->dims[i].size == 1 || tc_dim_same(small->dims[i], large->dims[added + i]);
    return fits;
}

/* The class of what reducing the last `axes` axes of a shape of class `x` gives. */
static tc_status class_of_reduced(fuser *f, int32_t x, const fuse_node *info, int32_t *out)
{
    const int32_t key[3] = {x, info->axes, info->kept_dims};
    const uint64_t *found = tc_map_find(&f->known_classes, key, sizeof key);
    if (found) {
        *out = (int32_t)*found;
        return TC_OK;
    }
    int32_t *copy = tc_arena_memdup(&f->pass->graph->arena, key, sizeof key);
    *out = new_class(f);
    f->wider[*out] = info->kept_dims ? x : -1;
    return copy && tc_map_put(&f->known_classes, copy, sizeof key, (uint64_t)*out)
               ? TC_OK
               : tc_compiler_exhausted();
}

bool fuse_fits(const fuser *f, tc_edge edge, int32_t class, const tc_shape *shape)
{
    int32_t own = fuse_class(f, edge);
    return own == class || f->wider[own] == class || broadcasts(&fuse_info(f, edge)->shape, shape);
}

/* A shape with an unnamed size is that of the input which all others are broadcast to. */
static int32_t class_of_inputs(const fuser *f, const tc_node *node, const fuse_node *info)
{
    if (info->role == FUSE_REPEAT || info->role == FUSE_SHARE)
        return node->n_inputs > 1 ? fuse_class(f, node->inputs[1]) : -1;
    if (info->role != FUSE_COMPUTE)
        return -1;
    if (tc_node_is(node, "bias_add"))
        return fuse_class(f, node->inputs[0]);
    for (int32_t i = 0; i < node->n_inputs; i++) {
        const tc_shape *shape = &fuse_info(f, node->inputs[i])->shape;
        bool whole = shape->rank == node->outputs[0].shape.rank;
        for (int32_t k = 0; whole && k < node->n_inputs; k++)
            whole = fuse_fits(f, node->inputs[k], fuse_class(f, node->inputs[i]), shape);
        if (whole)
            return fuse_class(f, node->inputs[i]);
    }
    return -1;
}

tc_status fuse_classify(fuser *f, const tc_node *node, int32_t old)
{
    for (int32_t i = 0; i < node->n_outputs; i++) {
        int32_t *class = &f->classes[f->pass->first[old] + i];
        TC_TRY(class_of_shape(f, &node->outputs[i].shape, class));
        if (*class < 0 && f->nodes[old].role == FUSE_REDUCE)
            TC_TRY(class_of_reduced(f, fuse_class(f, node->inputs[0]), &f->nodes[old], class));
        if (*class < 0)
            *class = class_of_inputs(f, node, &f->nodes[old]);
        if (*class < 0)
            *class = new_class(f);
    }
    return TC_OK;
}
