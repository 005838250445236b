#include "support/gradient_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorc/gradients.h>

#include "core/shape.h"

enum { max_elements = 32, max_values = 64 };

/* One level: the ys, what they are weighted with, the xs with their feeds, and the gradients to
 * check. */
typedef struct level {
    const char *what;
    tc_value ys[max_values], weights[max_values], xs[max_values], gradients[max_values];
    size_t x_feeds[max_values];
    size_t n_ys, n_xs;
} level;

typedef struct checking {
    const gradient_problem *problem;
    eval_feed feeds[max_values];
    eval_buffer weights[max_values]; /* of feeds that are added to those of the problem */
    size_t n_feeds, n_weights;
    double worst;
    char *why;
} checking;

static bool fails(checking *c, const char *format, ...) TC_PRINTF(2, 3);

static bool fails(checking *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->why, 1024, format, arguments);
    va_end(arguments);
    return false;
}

/* Evenly in [0.5, 1.5): far from 0, so that no error hides behind a small weight. */
static double random_weight(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return 0.5 + (double)(*state >> 11) * 0x1p-53;
}

/* Adds a fed placeholder of random numbers with the actual shape of `like`. */
static bool add_weight(checking *c, const eval_buffer *like, tc_value *out)
{
    if (c->n_feeds == max_values || c->n_weights == max_values)
        return fails(c, "too many values");
    eval_buffer *buffer = &c->weights[c->n_weights];
    char name[32];
    snprintf(name, sizeof name, "check_weight_%zu", c->n_weights);
    *out = tc_placeholder(c->problem->graph, name, TC_F64, like->info.shape);
    if (!tc_value_ok(*out) || eval_buffer_create(TC_F64, &like->info.shape, 0, buffer) != TC_OK)
        return fails(c, "%s", tc_error_message());
    uint64_t state = 12345 + c->n_weights++;
    for (size_t i = 0; i < buffer->bytes / sizeof(double); i++)
        ((double *)buffer->data)[i] = random_weight(&state);
    c->feeds[c->n_feeds++] = (eval_feed){*out, buffer};
    return true;
}

/* On `device`, or on the CPU where that is NULL. */
static bool run(checking *c, test_device *device, const tc_value *fetches, size_t n,
                eval_buffer *results)
{
    eval_options options = {.isa = c->problem->isa, .garbage = 0xA5, .device = device};
    if (evaluate(c->problem->graph, c->feeds, c->n_feeds, fetches, n, &options, results) == TC_OK)
        return true;
    return fails(c, "%s", tc_error_message());
}

/* The weighted sum of the ys, by the CPU: it is asked for very often. */
static bool objective(checking *c, const level *l, double *out)
{
    eval_buffer ys[max_values] = {0}, weights[max_values] = {0};
    bool ran = run(c, NULL, l->ys, l->n_ys, ys) && run(c, NULL, l->weights, l->n_ys, weights);
    double sum = 0;
    for (size_t i = 0; ran && i < l->n_ys; i++)
        for (size_t k = 0; k < ys[i].bytes / sizeof(double); k++)
            sum += ((double *)ys[i].data)[k] * ((double *)weights[i].data)[k];
    *out = sum;
    for (size_t i = 0; i < l->n_ys; i++) {
        eval_buffer_free(&ys[i]);
        eval_buffer_free(&weights[i]);
    }
    return ran;
}

/* (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h: the error is h^4/30 times the fifth
 * derivative. */
static bool difference(checking *c, const level *l, double *element, double *out)
{
    double x = *element, h = 1e-3 * fmax(1, fabs(x)), f[4];
    const double at[4] = {x + h, x - h, x + 2 * h, x - 2 * h};
    bool ran = true;
    for (int i = 0; ran && i < 4; i++) {
        *element = at[i];
        ran = objective(c, l, &f[i]);
    }
    *element = x;
    *out = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h);
    return ran;
}

static bool compare(checking *c, const level *l, size_t x, const eval_buffer *analytic)
{
    const gradient_problem *p = c->problem;
    const eval_buffer *feed = c->feeds[l->x_feeds[x]].buffer;
    size_t count = feed->bytes / sizeof(double);
    if (analytic->bytes != feed->bytes)
        return fails(c, "%s gradient of '%s' has another size than the input", l->what,
                     tc_value_name(l->xs[x]));
    size_t stride = count > max_elements ? count / max_elements : 1;
    for (size_t i = 0; i < count; i += stride) {
        double numeric, value = ((const double *)analytic->data)[i];
        if (!difference(c, l, (double *)feed->data + i, &numeric))
            return false;
        double bound = p->absolute + p->relative * fmax(fabs(value), fabs(numeric));
        double error = fabs(value - numeric) / bound;
        if (error > c->worst)
            c->worst = error;
        if (!(error <= 1))
            return fails(c, "%s gradient of '%s' at element %zu is %.12g, but by differences %.12g",
                         l->what, tc_value_name(l->xs[x]), i, value, numeric);
    }
    return true;
}

static bool check_level(checking *c, level *l)
{
    const tc_gradients_options options = {sizeof options, l->weights, true};
    if (tc_gradients_at(TC_HERE, l->ys, l->n_ys, l->xs, l->n_xs, l->gradients, &options) != TC_OK)
        return fails(c, "%s", tc_error_message());
    eval_buffer analytic[max_values] = {0};
    bool good = run(c, c->problem->device, l->gradients, l->n_xs, analytic);
    for (size_t i = 0; good && i < l->n_xs; i++)
        good = compare(c, l, i, &analytic[i]);
    for (size_t i = 0; i < l->n_xs; i++)
        eval_buffer_free(&analytic[i]);
    return good;
}

/* Weights for all ys of a level. */
static bool add_weights(checking *c, level *l)
{
    eval_buffer values[max_values] = {0};
    bool good = run(c, NULL, l->ys, l->n_ys, values);
    for (size_t i = 0; good && i < l->n_ys; i++)
        good = add_weight(c, &values[i], &l->weights[i]);
    for (size_t i = 0; i < l->n_ys; i++)
        eval_buffer_free(&values[i]);
    return good;
}

static bool check(checking *c)
{
    const gradient_problem *p = c->problem;
    level first = {.what = "first", .n_ys = p->n_ys, .n_xs = p->n_xs};
    memcpy(first.ys, p->ys, p->n_ys * sizeof *p->ys);
    memcpy(first.xs, p->xs, p->n_xs * sizeof *p->xs);
    memcpy(first.x_feeds, p->x_feeds, p->n_xs * sizeof *p->x_feeds);
    memcpy(c->feeds, p->feeds, p->n_feeds * sizeof *p->feeds);
    c->n_feeds = p->n_feeds;
    size_t weight_feed = c->n_feeds;
    if (!add_weights(c, &first) || !check_level(c, &first))
        return false;
    if (!p->second_order)
        return true;
    level second = {.what = "second", .n_ys = p->n_xs, .n_xs = p->n_xs + p->n_ys};
    memcpy(second.ys, first.gradients, p->n_xs * sizeof *p->xs);
    memcpy(second.xs, p->xs, p->n_xs * sizeof *p->xs);
    memcpy(second.xs + p->n_xs, first.weights, p->n_ys * sizeof *p->ys);
    memcpy(second.x_feeds, p->x_feeds, p->n_xs * sizeof *p->x_feeds);
    for (size_t i = 0; i < p->n_ys; i++)
        second.x_feeds[p->n_xs + i] = weight_feed + i;
    return add_weights(c, &second) && check_level(c, &second);
}

bool gradient_check(const gradient_problem *problem, char why[1024], double *worst)
{
    checking c = {.problem = problem, .why = why};
    why[0] = 0;
    bool good = problem->n_feeds + 2 * problem->n_ys + problem->n_xs <= max_values
                    ? check(&c)
                    : fails(&c, "too many values");
    for (size_t i = 0; i < c.n_weights; i++)
        eval_buffer_free(&c.weights[i]);
    if (worst)
        *worst = c.worst;
    return good;
}
