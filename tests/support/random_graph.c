#include "support/random_pick.h"

uint32_t random_pick(random_graph *g, int count)
{
    return (uint32_t)next_bits(&g->state) % (uint32_t)count;
}

/*
 * State and gradients
 */
static void make_write(G *g)
{
    tc_value v = g->variables[random_pick(g, g->n_plain)];
    tc_shape shape = tc_value_shape(v);
    const random_value like = {v, shape, TC_F32, 1, false}, *w = pick_alike(g, &like);
    tc_value content = tc_tanh(w ? w->value : tc_neg(v)), y;
    if (g->n_updates == RANDOM_UPDATES)
        return;
    switch (random_pick(g, 3)) {
    case 0: y = tc_assign(v, content); break;
    case 1: y = tc_assign_add(v, tc_mul(content, number(g, TC_F32, 0.25))); break;
    default: y = tc_assign_sub(v, tc_mul(content, number(g, TC_F32, 0.5))); break;
    }
    g->updates[g->n_updates++] = y;
    if (chance(g, 2))
        push(g, y, 4, false);
}

/* An update of variable `v` by `gradient`. */
static tc_value optimize(G *g, tc_value v, tc_value gradient)
{
    tc_shape shape = tc_value_shape(v);
    tc_value rate = number(g, TC_F32, 0.05);
    int64_t sizes[TC_MAX_RANK];
    for (int i = 0; i < shape.rank; i++)
        sizes[i] = shape.dims[i].size;
    int kind = g->n_variables + 2 > RANDOM_VARIABLES ? 0 : (int)random_pick(g, 3);
    size_t rank = (size_t)shape.rank;
    if (kind == 0)
        return tc_apply_sgd(v, gradient, rate, .weight_decay = 0.01);
    if (kind == 1)
        return tc_apply_momentum(v, variable(g, rank, sizes, -0.01, 0.01), gradient, rate,
                                 .nesterov = chance(g, 2));
    tc_value mean = variable(g, rank, sizes, -0.01, 0.01),
             square = variable(g, rank, sizes, 0, 0.01);
    return tc_apply_adam(
        (&(tc_apply_adam_inputs){v, mean, square, gradient, rate, number(g, TC_I64, 3)}),
        .epsilon = TC_SOME(0.01));
}

/* Sets needed[i] for the nodes that `y` depends on. */
static void mark_needed(const G *g, tc_value y, bool *needed)
{
    needed[y.node] = true;
    for (int32_t i = y.node; i >= 0; i--) {
        const tc_node *node = tc_graph_node_at(g->graph, i);
        for (int32_t k = 0; needed[i] && k < node->n_inputs; k++)
            if (node->inputs[k].node >= 0)
                needed[node->inputs[k].node] = true;
    }
}

/* Up to `most` different variables, and perhaps a feed, that `loss` depends on; the feed last. */
static int pick_parameters(G *g, tc_value loss, tc_value *xs, int most, bool *feed)
{
    static bool needed[1 << 14];
    int count = 0, first = (int)random_pick(g, g->n_variables);
    memset(needed, 0, sizeof needed);
    *feed = false;
    if (loss.node < 0 || loss.node >= (int)sizeof needed)
        return 0;
    mark_needed(g, loss, needed);
    for (int i = 0; i < g->n_variables && count < most; i++) {
        tc_value v = g->variables[(first + i) % g->n_variables];
        if (needed[v.node])
            xs[count++] = v;
    }
    for (int i = 0; i < 2 && !*feed; i++) {
        *feed = needed[g->feeds[i].node];
        if (*feed)
            xs[count++] = g->feeds[i];
    }
    return count;
}

static void make_gradients(G *g)
{
    tc_value loss = number(g, TC_F32, 0), xs[8], dx[8];
    bool feed;
    for (int terms = 1 + (int)random_pick(g, 3); terms > 0; terms--) {
        const random_value *v = pick_value(g, any_float);
        if (v)
            loss = tc_add(loss, tc_reduce_mean(tc_cast(tc_square(v->value), TC_F32)));
    }
    int count = pick_parameters(g, loss, xs, 1 + (int)random_pick(g, 5), &feed);
    if (count == 0 ||
        tc_gradients(TC_VALUES(loss), xs, (size_t)count, dx, .zero_unconnected = true) != TC_OK)
        return;
    for (int i = 0; i < count; i++) {
        if ((i < count - 1 || !feed) && g->n_updates < RANDOM_UPDATES) {
            tc_value gradient = chance(g, 2) ? tc_tanh(dx[i]) : dx[i];
            g->updates[g->n_updates++] = optimize(g, xs[i], gradient);
        } else {
            push(g, tc_tanh(dx[i]), 1, false);
        }
    }
}

static void make_function(G *g)
{
    tc_graph *body = tc_function_begin(g->graph, "block");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, COLUMNS));
    tc_value noise = tc_random_normal(body, TC_F32, TC_SHAPE(COLUMNS));
    tc_value y = tc_matmul(tc_tanh(tc_add(p, noise)), g->variables[0]);
    tc_function_end(body, TC_VALUES(tc_dropout(tc_gelu(y), 0.3)));
}

static const random_maker stateful[] = {{make_write, 5}, {make_gradients, 7}};
enum { STATEFUL = sizeof stateful / sizeof stateful[0] };

static void make_something(G *g)
{
    int total = 0;
    for (size_t i = 0; i < random_maker_count + STATEFUL; i++)
        total += i < random_maker_count ? random_makers[i].weight
                                        : stateful[i - random_maker_count].weight;
    int chosen = (int)random_pick(g, total);
    for (size_t i = 0; i < random_maker_count + STATEFUL; i++) {
        const random_maker *m =
            i < random_maker_count ? &random_makers[i] : &stateful[i - random_maker_count];
        chosen -= m->weight;
        if (chosen < 0) {
            m->make(g);
            return;
        }
    }
}

void random_graph_build(random_graph *g, uint64_t seed)
{
    memset(g, 0, sizeof *g);
    g->state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < 4; i++)
        (void)next_bits(&g->state);
    g->graph = tc_graph_create();
    tc_dim n = TC_DIM("n");
    g->feeds[0] = tc_placeholder(g->graph, "x", TC_F32, TC_SHAPE(n, COLUMNS));
    g->feeds[1] = tc_placeholder(g->graph, "image", TC_F32, TC_SHAPE(n, CHANNELS, SIDE, SIDE));
    g->feeds[2] = tc_placeholder(g->graph, "ids", TC_I32, TC_SHAPE(n));
    g->feeds[3] = tc_placeholder(g->graph, "m", TC_F32, TC_SHAPE(4, COLUMNS));
    for (int i = 0; i < RANDOM_FEEDS; i++)
        push(g, g->feeds[i], 1, true);
    static const int64_t square[] = {COLUMNS, COLUMNS};
    int plain = 1 + (int)random_pick(g, 4);
    for (int i = 0; i < plain; i++) {
        tc_value v = variable(g, i % 2 ? 1 : 2, square, -0.6, 0.6);
        push(g, v, 1, false);
    }
    g->n_plain = plain;
    make_function(g);
    int steps = 6 + (int)random_pick(g, 40);
    for (int i = 0; i < steps; i++)
        make_something(g);
}

tc_status random_graph_feed(int index, int64_t batch, uint64_t seed, tc_tensor **out)
{
    const tc_shape shapes[RANDOM_FEEDS] = {TC_SHAPE(batch, COLUMNS),
                                           TC_SHAPE(batch, CHANNELS, SIDE, SIDE), TC_SHAPE(batch),
                                           TC_SHAPE(4, COLUMNS)};
    uint64_t state = (seed + (uint64_t)index) * 0x9E3779B97F4A7C15u + (uint64_t)batch;
    tc_status status = tc_tensor_create(index == 2 ? TC_I32 : TC_F32, shapes[index], out);
    for (int64_t i = 0; status == TC_OK && i < tc_tensor_size(*out); i++) {
        uint64_t bits = next_bits(&state);
        status = tc_tensor_set(
            *out, i, index == 2 ? (double)(bits % CLASSES) : (double)(bits % 200000) / 100000 - 1);
    }
    return status;
}
