/* What the makers of random nodes choose from: inside of random_graph. */
#ifndef TC_TEST_SUPPORT_RANDOM_PICK_H
#define TC_TEST_SUPPORT_RANDOM_PICK_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "support/random_graph.h"

enum { COLUMNS = 6, CHANNELS = 2, SIDE = 5, CLASSES = 6 };

#define LARGEST 24.0 /* bound beyond which values are made smaller */
#define MOST    5000 /* elements of a value with the largest batch */

typedef random_graph G;

static inline uint64_t next_bits(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 33;
}

static inline bool chance(G *g, int one_in)
{
    return random_pick(g, one_in) == 0;
}

static inline bool is_float(const random_value *v)
{
    return v->dtype == TC_F32 || v->dtype == TC_F64;
}

static inline tc_value number(G *g, tc_dtype dtype, double value)
{
    return tc_constant_scalar(g->graph, dtype, value);
}

/* Elements with the largest batch; many where a size has no name. */
static inline int64_t largest_size(const tc_shape *shape)
{
    int64_t size = 1;
    for (int i = 0; i < shape->rank; i++)
        size *= shape->dims[i].size >= 0 ? shape->dims[i].size
                : shape->dims[i].name    ? RANDOM_MAX_BATCH
                                         : 32;
    return size;
}

static inline void push(G *g, tc_value y, double bound, bool exact)
{
    random_value v = {y, tc_value_shape(y), tc_value_dtype(y), bound, exact};
    if (g->n_values == RANDOM_VALUES || largest_size(&v.shape) > MOST)
        return;
    if (is_float(&v) && bound > LARGEST) {
        v.value = chance(g, 2) ? tc_tanh(y) : tc_mul(y, number(g, v.dtype, 1 / bound));
        v.bound = 1;
        v.exact = false;
    }
    g->values[g->n_values++] = v;
}

/* A value that `fits`, NULL when some tries find none. Recent ones come more often. */
static inline const random_value *pick_value(G *g, bool (*fits)(const random_value *))
{
    for (int i = 0; i < 12; i++) {
        int window = chance(g, 3) ? g->n_values : (g->n_values < 10 ? g->n_values : 10);
        const random_value *v = &g->values[g->n_values - 1 - (int)random_pick(g, window)];
        if (fits(v))
            return v;
    }
    return NULL;
}

static inline bool any_float(const random_value *v)
{
    return is_float(v);
}

static inline bool f32_rows(const random_value *v)
{
    return v->dtype == TC_F32 && v->shape.rank >= 2 && v->shape.dims[v->shape.rank - 1].size > 0;
}

static inline bool f32_ranked(const random_value *v)
{
    return is_float(v) && v->shape.rank >= 1;
}

static inline bool images(const random_value *v)
{
    return v->dtype == TC_F32 && v->shape.rank == 4 && v->shape.dims[1].size > 0 &&
           v->shape.dims[2].size >= 3 && v->shape.dims[3].size >= 3;
}

static inline bool any_ranked(const random_value *v)
{
    return v->shape.rank >= 1;
}

static inline bool exact_float(const random_value *v)
{
    return is_float(v) && v->exact && v->shape.rank >= 1;
}

static inline bool an_integer(const random_value *v)
{
    return v->dtype == TC_I32 || v->dtype == TC_I64;
}

static inline bool a_condition(const random_value *v)
{
    return v->dtype == TC_BOOL;
}

/* Shapes that agree in every run. */
static inline bool same_shape(const tc_shape *a, const tc_shape *b)
{
    for (int i = 0; i < a->rank && a->rank == b->rank; i++)
        if (a->dims[i].size != b->dims[i].size ||
            (a->dims[i].size < 0 &&
             (!a->dims[i].name || !b->dims[i].name || strcmp(a->dims[i].name, b->dims[i].name))))
            return false;
    return a->rank == b->rank;
}

static inline const random_value *pick_alike(G *g, const random_value *like)
{
    for (int i = 0; i < 12; i++) {
        const random_value *v = &g->values[random_pick(g, g->n_values)];
        if (v->dtype == like->dtype && same_shape(&v->shape, &like->shape))
            return v;
    }
    return NULL;
}

static inline int pick_axis(G *g, const random_value *v)
{
    int axis = (int)random_pick(g, v->shape.rank);
    return chance(g, 4) ? axis - v->shape.rank : axis;
}

static inline tc_dim dim_of(const random_value *v, int axis)
{
    return v->shape.dims[axis < 0 ? axis + v->shape.rank : axis];
}

/* A new variable of known sizes with elements in [low, high). */
static inline tc_value variable(G *g, size_t rank, const int64_t *sizes, double low, double high)
{
    char name[16];
    snprintf(name, sizeof name, "v%d", g->n_variables);
    tc_value initial = tc_random_uniform(g->graph, TC_F32, tc_shape_of(rank, sizes), .low = low,
                                         .high = TC_SOME(high));
    tc_value v = tc_variable(g->graph, name, initial);
    g->variables[g->n_variables++] = v;
    return v;
}

/* A parameter: a variable, or a constant where there are enough of them. */
static inline tc_value parameter(G *g, size_t rank, const int64_t *sizes)
{
    static const float numbers[512] = {0.5f, -0.25f, 0.75f, 0.125f, -1, 0.3f, 0.9f, -0.6f};
    int64_t count = 1;
    for (size_t i = 0; i < rank; i++)
        count *= sizes[i];
    if (g->n_variables + 4 < RANDOM_VARIABLES && (count > 512 || !chance(g, 3)))
        return variable(g, rank, sizes, -0.7, 0.8);
    if (count > 512)
        return tc_fill(g->graph, TC_F32, tc_shape_of(rank, sizes), 0.1);
    return tc_constant_data(g->graph, TC_F32, tc_shape_of(rank, sizes), numbers);
}

/** Makers of nodes that neither write nor differentiate, and how often each is taken. */
typedef struct random_maker {
    void (*make)(random_graph *g);
    int weight;
} random_maker;
extern const random_maker random_makers[];
extern const size_t random_maker_count;

#endif
