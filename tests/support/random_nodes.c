/* The nodes of random graphs, by kind. */
#include "support/random_pick.h"

/*
 * Element-wise
 */
static void make_unary(G *g)
{
    const random_value *v = pick_value(g, any_float);
    if (!v)
        return;
    tc_value x = v->value, positive = tc_add(tc_abs(x), number(g, v->dtype, 0.5));
    static const double exponents[] = {-1, -0.5, 0.5, 1, 1.7, 2, 3};
    double b = v->bound;
    switch (random_pick(g, 19)) {
    case 0: push(g, tc_neg(x), b, v->exact); break;
    case 1: push(g, tc_abs(x), b, v->exact); break;
    case 2: push(g, tc_exp(tc_tanh(x)), 3, false); break;
    case 3: push(g, tc_log(positive), 4, false); break;
    case 4: push(g, tc_sqrt(positive), b / 2 + 1, false); break;
    case 5: push(g, tc_rsqrt(positive), 2, false); break;
    case 6: push(g, tc_square(x), b * b, false); break;
    case 7: push(g, tc_sigmoid(x), 1, false); break;
    case 8: push(g, tc_tanh(x), 1, false); break;
    case 9: push(g, tc_relu(x), b, v->exact); break;
    case 10: push(g, tc_erf(x), 1, false); break;
    case 11: push(g, tc_reciprocal(positive), 2, false); break;
    case 12: push(g, tc_gelu(x, .tanh_approximation = chance(g, 2)), b, false); break;
    case 13: push(g, tc_identity(x), b, v->exact); break;
    case 14: push(g, tc_stop_gradient(x), b, v->exact); break;
    case 15: push(g, tc_neg(tc_neg(x)), b, v->exact); break;
    case 16: push(g, tc_dropout(x, chance(g, 3) ? 0 : 0.4), 2 * b, false); break;
    case 17: {
        double exponent = exponents[random_pick(g, 7)];
        push(g, tc_pow(positive, number(g, v->dtype, exponent)),
             pow(exponent < 0 ? 2 : b + 1, fabs(exponent)), false);
        break;
    }
    default: push(g, tc_cast(tc_tanh(tc_cast(x, TC_F64)), v->dtype), 1, false); break;
    }
}

/* Something that broadcasts to `v`, which it may be derived from. */
static tc_value operand(G *g, const random_value *v, double *bound)
{
    static const double numbers[] = {0, 1, -1, 2, 0.5, -0.0, 3, 0.1};
    const random_value *other = pick_alike(g, v);
    int rank = v->shape.rank;
    tc_dim last = rank ? v->shape.dims[rank - 1] : (tc_dim){-1, NULL};
    double value = numbers[random_pick(g, 8)];
    *bound = other ? other->bound : v->bound;
    switch (random_pick(g, 8)) {
    case 0: *bound = fabs(value); return number(g, v->dtype, value);
    case 1:
        if (last.size > 0) {
            *bound = fabs(value);
            return tc_fill(g->graph, v->dtype, TC_SHAPE(last.size), value);
        }
        break;
    case 2:
        if (last.size > 0 && v->dtype == TC_F32) {
            *bound = 1;
            return parameter(g, 1, &last.size);
        }
        break;
    case 3:
        if (rank) {
            *bound = v->bound;
            return tc_reduce_mean(v->value, .axes = TC_INTS(pick_axis(g, v)), .keep_dims = true);
        }
        break;
    case 4: return tc_neg(other ? other->value : v->value);
    case 5: *bound = v->bound; return tc_expand_like(tc_reduce_max(v->value), v->value);
    default: break;
    }
    return other ? other->value : v->value;
}

static void make_binary(G *g)
{
    const random_value *v = pick_value(g, any_float);
    double c, b = v ? v->bound : 0;
    if (!v)
        return;
    tc_value x = v->value, y = operand(g, v, &c);
    if (chance(g, 2)) {
        tc_value t = x;
        x = y;
        y = t;
        double s = b;
        b = c;
        c = s;
    }
    switch (random_pick(g, 7)) {
    case 0: push(g, tc_add(x, y), b + c, false); break;
    case 1: push(g, tc_sub(x, y), b + c, false); break;
    case 2: push(g, tc_mul(x, y), b * c, false); break;
    case 3: push(g, tc_div(x, tc_add(tc_square(y), number(g, v->dtype, 0.5))), 2 * b, false); break;
    case 4: push(g, tc_maximum(x, y), fmax(b, c), false); break;
    case 5: push(g, tc_minimum(x, y), fmax(b, c), false); break;
    default: push(g, tc_div(x, number(g, v->dtype, chance(g, 2) ? 4 : 3)), b, false); break;
    }
}

static void make_bias(G *g)
{
    const random_value *v = pick_value(g, f32_ranked);
    int axis = v ? pick_axis(g, v) : 0;
    if (v && v->dtype == TC_F32 && dim_of(v, axis).size > 0)
        push(g,
             tc_bias_add(v->value, parameter(g, 1, &(int64_t){dim_of(v, axis).size}),
                         .axis = TC_SOME(axis)),
             v->bound + 1, false);
}

static void make_integer(G *g)
{
    const random_value *a = pick_value(g, an_integer);
    const random_value *b = a ? pick_alike(g, a) : NULL;
    if (!a)
        return;
    static const double numbers[] = {0, 1, 2, -1};
    tc_value x = a->value;
    tc_value y = b ? b->value : number(g, a->dtype, numbers[random_pick(g, 4)]);
    switch (random_pick(g, 9)) {
    case 0: push(g, tc_add(x, y), 0, true); break;
    case 1: push(g, tc_sub(x, y), 0, true); break;
    case 2: push(g, tc_mul(x, y), 0, true); break;
    case 3: push(g, tc_maximum(x, y), 0, true); break;
    case 4: push(g, tc_cast(x, a->dtype == TC_I32 ? TC_I64 : TC_I32), 0, true); break;
    case 5: push(g, tc_tanh(tc_cast(x, TC_F32)), 1, false); break;
    case 6: push(g, chance(g, 2) ? tc_less(x, y) : tc_not_equal(x, y), 0, true); break;
    case 7: push(g, tc_logical_not(tc_less_equal(x, y)), 0, true); break;
    default:
        push(g,
             a->shape.rank ? tc_reduce_sum(x, .axes = TC_INTS(pick_axis(g, a)), .keep_dims = true)
                           : tc_neg(x),
             0, true);
    }
}

static void make_exact(G *g)
{
    const random_value *v = pick_value(g, exact_float);
    if (!v)
        return;
    tc_value x = v->value;
    switch (random_pick(g, 6)) {
    case 0: push(g, tc_floor(x), v->bound + 1, true); break;
    case 1: push(g, tc_sign(x), 1, true); break;
    case 2: push(g, tc_greater(x, number(g, v->dtype, 0.1)), 0, true); break;
    case 3: push(g, tc_argmax(x, .axis = TC_SOME(pick_axis(g, v))), 0, true); break;
    case 4: push(g, tc_cast(x, TC_F16), 0, true); break;
    default: push(g, tc_cast(tc_ceil(x), TC_I32), 0, true); break;
    }
}

static void make_condition(G *g)
{
    const random_value *c = pick_value(g, a_condition), *d = c ? pick_alike(g, c) : NULL;
    if (!c)
        return;
    if (d && chance(g, 2)) {
        push(g,
             chance(g, 2)   ? tc_logical_and(c->value, d->value)
             : chance(g, 2) ? tc_logical_or(c->value, tc_logical_not(d->value))
                            : tc_logical_xor(c->value, d->value),
             0, true);
        return;
    }
    for (int i = 0; i < 8; i++) {
        const random_value *v = pick_value(g, any_float);
        if (!v || !same_shape(&v->shape, &c->shape))
            continue;
        push(g, tc_where(c->value, v->value, number(g, v->dtype, 0.25)), v->bound + 1, v->exact);
        return;
    }
    push(g, tc_cast(c->value, TC_F32), 1, true);
}

/*
 * Shapes
 */
static void make_shape(G *g)
{
    const random_value *v = pick_value(g, any_ranked);
    if (!v)
        return;
    tc_value x = v->value;
    int rank = v->shape.rank, axis = pick_axis(g, v);
    int64_t permutation[TC_MAX_RANK], size = dim_of(v, axis).size;
    for (int i = 0; i < rank; i++)
        permutation[i] = i;
    for (int i = rank - 1; i > 0; i--) {
        int k = (int)random_pick(g, i + 1);
        int64_t t = permutation[i];
        permutation[i] = permutation[k];
        permutation[k] = t;
    }
    double b = v->bound;
    bool exact = v->exact;
    switch (random_pick(g, 13)) {
    case 0: push(g, tc_transpose(x), b, exact); break;
    case 1:
    case 2: push(g, tc_transpose(x, .permutation = {permutation, (size_t)rank}), b, exact); break;
    case 3: push(g, tc_reshape_like(tc_reshape(x, TC_SHAPE(-1)), x), b, exact); break;
    case 4: push(g, tc_reshape(x, TC_SHAPE(-1)), b, exact); break;
    case 5:
        if (size > 1)
            push(g,
                 tc_slice(x, TC_INTS(random_pick(g, (int)size - 1)), TC_INTS(TC_TO_END),
                          .axes = TC_INTS(axis), .strides = TC_INTS(1 + random_pick(g, 2))),
                 b, exact);
        break;
    case 6:
        push(g,
             tc_slice(x, TC_INTS(-1), TC_INTS(TC_TO_END), .axes = TC_INTS(axis),
                      .strides = TC_INTS(-1)),
             b, exact);
        break;
    case 7: {
        const random_value *w = pick_alike(g, v);
        tc_value y = w ? w->value : x;
        if (size > 0)
            push(g, tc_concat(TC_VALUES(x, y, x), axis), fmax(b, w ? w->bound : b),
                 exact && (!w || w->exact));
        break;
    }
    case 8:
        if (size > 1) {
            tc_value parts = tc_split(x, axis, 2, .sizes = TC_INTS(1, size - 1));
            push(g, tc_output(parts, (int)random_pick(g, 2)), b, exact);
        }
        break;
    case 9:
        if (is_float(v) && rank <= 4) {
            int64_t before[TC_MAX_RANK] = {0}, after[TC_MAX_RANK] = {0};
            int d = axis < 0 ? axis + rank : axis;
            if (v->shape.dims[d].size < 2)
                break;
            before[d] = random_pick(g, 2);
            after[d] = 1;
            push(g,
                 tc_pad(x, ((tc_ints){before, (size_t)rank}), ((tc_ints){after, (size_t)rank}),
                        .mode = (tc_pad_mode)random_pick(g, 3)),
                 b, exact);
        }
        break;
    case 10:
        if (rank < 5)
            push(g, tc_unsqueeze(x, TC_INTS(axis)), b, exact);
        break;
    case 11: push(g, tc_flatten(x, axis), b, exact); break;
    default:
        if (rank < 4 && size >= 0)
            push(g,
                 tc_squeeze(tc_unsqueeze(tc_neg(tc_cast(x, TC_F32)), TC_INTS(0)),
                            .axes = TC_INTS(0)),
                 is_float(v) ? b : 100, exact);
    }
}

static void make_gather(G *g)
{
    tc_value ids = g->feeds[2];
    switch (random_pick(g, 4)) {
    case 0:
        push(g, tc_gather(parameter(g, 2, (const int64_t[]){CLASSES, 4}), ids), 1, false);
        break;
    case 1: push(g, tc_one_hot(ids, CLASSES), 1, true); break;
    case 2:
        push(g,
             tc_scatter_add(parameter(g, 2, (const int64_t[]){CLASSES, COLUMNS}), ids,
                            g->values[0].value),
             8, false);
        break;
    default: {
        const random_value *v = pick_value(g, f32_rows);
        if (v)
            push(g,
                 tc_gather(v->value,
                           tc_constant_data(g->graph, TC_I64, TC_SHAPE(2), ((int64_t[]){0, -1})),
                           .axis = v->shape.rank - 1),
                 v->bound, v->exact);
    }
    }
}

static void make_reduction(G *g)
{
    const random_value *v = pick_value(g, f32_ranked);
    if (!v)
        return;
    int64_t axes[2] = {pick_axis(g, v), 0};
    size_t count = random_pick(g, 2);
    bool keep = chance(g, 2);
    tc_value x = v->value;
    tc_ints list = {axes, count};
    double many = (double)largest_size(&v->shape);
    switch (random_pick(g, 5)) {
    case 0:
        push(g, tc_reduce_sum(x, .axes = list, .keep_dims = keep), v->bound * many, false);
        break;
    case 1: push(g, tc_reduce_mean(x, .axes = list, .keep_dims = keep), v->bound, false); break;
    case 2: push(g, tc_reduce_max(x, .axes = list, .keep_dims = keep), v->bound, v->exact); break;
    case 3: push(g, tc_reduce_min(x, .axes = list, .keep_dims = keep), v->bound, v->exact); break;
    default: push(g, tc_reduce_prod(tc_tanh(x), .axes = list, .keep_dims = keep), 1, false);
    }
}

/*
 * Layers
 */
static void make_row_layer(G *g)
{
    const random_value *v = pick_value(g, f32_rows);
    if (!v)
        return;
    int rank = v->shape.rank;
    int64_t k = v->shape.dims[rank - 1].size, n = chance(g, 6) ? 40 : 1 + random_pick(g, 9);
    double b = v->bound;
    tc_value x = v->value;
    switch (random_pick(g, 9)) {
    case 0:
    case 1: {
        tc_value y = tc_matmul(x, parameter(g, 2, (const int64_t[]){k, n}));
        y = tc_bias_add(y, parameter(g, 1, &n), .axis = TC_SOME(-1));
        tc_value activated = chance(g, 2) ? tc_relu(y) : chance(g, 2) ? tc_gelu(y) : tc_tanh(y);
        push(g, chance(g, 3) ? y : activated, b * (double)k + 1, false);
        break;
    }
    case 2:
        push(g, tc_matmul(x, parameter(g, 2, (const int64_t[]){n, k}), .transpose_b = true),
             b * (double)k, false);
        break;
    case 3:
        push(g, tc_matmul(x, tc_transpose(parameter(g, 2, (const int64_t[]){n, k}))), b * (double)k,
             false);
        break;
    case 4:
        if (rank <= 3)
            push(g, tc_matmul(x, x, .transpose_a = true), b * b * 8, false);
        break;
    case 5: push(g, tc_softmax(x, .axis = TC_SOME(pick_axis(g, v))), 1, false); break;
    case 6: push(g, tc_log_softmax(x), 2 * b + 4, false); break;
    case 7:
        /* Rows that are all alike would be divided by their own rounding. */
        x = tc_add(x, tc_range(g->graph, TC_F32, 0, (double)k));
        push(
            g,
            tc_layer_norm(x, parameter(g, 1, &k), chance(g, 2) ? parameter(g, 1, &k) : TC_NO_VALUE),
            4, false);
        break;
    default:
        if (rank >= 3)
            push(g, tc_attention(tc_tanh(x), x, tc_neg(x), .causal = chance(g, 2)), b, false);
    }
}

static void make_image_layer(G *g)
{
    const random_value *v = pick_value(g, images);
    if (!v || g->n_variables + 6 > RANDOM_VARIABLES)
        return;
    int64_t c = v->shape.dims[1].size, n = chance(g, 4) ? 16 : 1 + random_pick(g, 4);
    tc_value x = v->value;
    double b = v->bound;
    switch (random_pick(g, 6)) {
    case 0:
    case 1: {
        tc_padding padding = chance(g, 2) ? TC_PADDING_SAME : TC_PADDING_VALID;
        tc_value y = tc_conv2d(x, parameter(g, 4, (const int64_t[]){n, c, 3, 3}),
                               .padding = padding, .stride = {1 + random_pick(g, 2), 1});
        if (chance(g, 2))
            y = tc_bias_add(y, parameter(g, 1, &n));
        push(g, chance(g, 2) ? tc_relu(y) : y, b * 9 * (double)c + 1, false);
        break;
    }
    case 2: { /* as a graph of channels last would be imported */
        tc_value last = tc_transpose(x, .permutation = TC_INTS(0, 2, 3, 1));
        tc_value first = tc_transpose(tc_relu(last), .permutation = TC_INTS(0, 3, 1, 2));
        push(g, tc_conv2d(first, parameter(g, 4, (const int64_t[]){n, c, 1, 1})), b * (double)c,
             false);
        break;
    }
    case 3: push(g, tc_max_pool2d(x, .kernel = {2, 2}, .stride = {1, 2}), b, v->exact); break;
    case 4: push(g, tc_avg_pool2d(x, .kernel = {2, 2}), b, false); break;
    default: {
        tc_value mean = variable(g, 1, &c, -0.1, 0.1), variance = variable(g, 1, &c, 0.8, 1.2);
        tc_value y = tc_batch_norm(x, chance(g, 3) ? TC_NO_VALUE : parameter(g, 1, &c),
                                   parameter(g, 1, &c), mean, variance, .epsilon = TC_SOME(0.1),
                                   .mode = (tc_mode)random_pick(g, 3));
        push(g, y, 4 * b, false);
        if (chance(g, 2) && g->n_updates + 2 <= RANDOM_UPDATES) {
            g->updates[g->n_updates++] = tc_assign(mean, tc_output(y, 1));
            g->updates[g->n_updates++] = tc_assign(variance, tc_output(y, 2));
        }
    }
    }
}

static void make_loss(G *g)
{
    const random_value *v = pick_value(g, f32_rows);
    if (!v || v->shape.rank != 2)
        return;
    bool batch = v->shape.dims[0].name && strcmp(v->shape.dims[0].name, "n") == 0;
    if (batch && v->shape.dims[1].size >= CLASSES)
        push(g, tc_softmax_cross_entropy(v->value, g->feeds[2]), 4 + 2 * v->bound, false);
    else
        push(g, tc_softmax_cross_entropy(v->value, tc_softmax(tc_neg(v->value))), 8 + 4 * v->bound,
             false);
}

static void make_call(G *g)
{
    const random_value *v = &g->values[random_pick(g, 2) * 3];
    push(g, tc_call(g->graph, "block", TC_VALUES(v->value)), 4, false);
}

/* Random numbers of the graph itself. */
static void make_noise(G *g)
{
    if (chance(g, 2))
        push(g, tc_random_normal(g->graph, TC_F32, TC_SHAPE(COLUMNS)), 3, true);
    else
        push(g, tc_random_uniform_like(g->values[0].value), 1, true);
}

const random_maker random_makers[] = {
    {make_unary, 18},     {make_binary, 18},    {make_bias, 3},        {make_integer, 6},
    {make_exact, 5},      {make_condition, 6},  {make_shape, 20},      {make_gather, 4},
    {make_reduction, 10}, {make_row_layer, 14}, {make_image_layer, 9}, {make_loss, 3},
    {make_call, 2},       {make_noise, 2},
};
const size_t random_maker_count = sizeof random_makers / sizeof random_makers[0];
