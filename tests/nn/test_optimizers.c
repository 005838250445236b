/* Optimizers against their formulas in double precision, over twenty steps in a session. */
#include "nn_test.h"

#define SIZE  6
#define STEPS 20

/* The loss sum(c (w - t)^2) has the gradient 2 c (w - t). */
static const double curvature[SIZE] = {0.5, 1, 2, 0.1, 3, 1.5};
static const double target[SIZE] = {1, -1, 0.5, 2, 0, -3};
static const double start[SIZE] = {0, 0.5, -0.5, 1, 2, 3};

typedef struct hyper {
    double learning_rate, momentum, weight_decay, beta1, beta2, epsilon;
    bool nesterov, adam;
} hyper;

typedef struct optimizer_case {
    const char *what;
    tc_optimizer (*create)(tc_graph *g);
    hyper hyper;
} optimizer_case;

static tc_optimizer sgd(tc_graph *g)
{
    return tc_sgd(g);
}

static tc_optimizer sgd_decay(tc_graph *g)
{
    return tc_sgd(g, .learning_rate = 0.1f, .weight_decay = 0.05);
}

static tc_optimizer momentum(tc_graph *g)
{
    return tc_sgd(g, .learning_rate = 0.02f, .momentum = 0.9);
}

static tc_optimizer nesterov(tc_graph *g)
{
    return tc_sgd(g, .learning_rate = 0.02f, .momentum = 0.8, .nesterov = true,
                  .weight_decay = 0.01);
}

static tc_optimizer adam(tc_graph *g)
{
    return tc_adam(g);
}

static tc_optimizer adam_all(tc_graph *g)
{
    return tc_adam(g, .learning_rate = 0.1f, .beta1 = TC_SOME(0.5), .beta2 = TC_SOME(0.9),
                   .epsilon = TC_SOME(1e-3), .weight_decay = 0.1);
}

static tc_optimizer adam_zeros(tc_graph *g)
{
    return tc_adam(g, .learning_rate = 0.1f, .beta1 = TC_SOME(0), .epsilon = TC_SOME(0));
}

static tc_optimizer adamw(tc_graph *g)
{
    return tc_adamw(g, .learning_rate = 0.05f);
}

static tc_optimizer adamw_decay(tc_graph *g)
{
    return tc_adamw(g, .learning_rate = 0.05f, .weight_decay = 0.3);
}

static tc_optimizer adamw_none(tc_graph *g)
{
    return tc_adamw(g, .learning_rate = 0.05f, .no_weight_decay = true);
}

#define ADAM(rate, b1, b2, e, decay)                                           \
    {                                                                          \
        .learning_rate = (rate), .beta1 = (b1), .beta2 = (b2), .epsilon = (e), \
        .weight_decay = (decay), .adam = true                                  \
    }

static const optimizer_case cases[] = {
    {"sgd", sgd, {.learning_rate = 0.01f}},
    {"sgd with decay", sgd_decay, {.learning_rate = 0.1f, .weight_decay = 0.05}},
    {"momentum", momentum, {.learning_rate = 0.02f, .momentum = 0.9}},
    {"nesterov",
     nesterov,
     {.learning_rate = 0.02f, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true}},
    {"adam", adam, ADAM(0.001f, 0.9, 0.999, 1e-8, 0)},
    {"adam with all", adam_all, ADAM(0.1f, 0.5, 0.9, 1e-3, 0.1)},
    {"adam with zeros", adam_zeros, ADAM(0.1f, 0, 0.999, 0, 0)},
    {"adamw", adamw, ADAM(0.05f, 0.9, 0.999, 1e-8, 0.01)},
    {"adamw with decay", adamw_decay, ADAM(0.05f, 0.9, 0.999, 1e-8, 0.3)},
    {"adamw without", adamw_none, ADAM(0.05f, 0.9, 0.999, 1e-8, 0)},
};

typedef struct reference {
    double w, velocity, mean, square;
} reference;

static void reference_step(reference *r, const hyper *h, double gradient, int step)
{
    double rate = h->learning_rate;
    if (h->adam) {
        r->w -= rate * h->weight_decay * r->w;
        r->mean = h->beta1 * r->mean + (1 - h->beta1) * gradient;
        r->square = h->beta2 * r->square + (1 - h->beta2) * gradient * gradient;
        double m = r->mean / (1 - pow(h->beta1, step));
        double v = r->square / (1 - pow(h->beta2, step));
        r->w -= rate * m / (sqrt(v) + h->epsilon);
        return;
    }
    gradient += h->weight_decay * r->w;
    r->velocity = h->momentum * r->velocity + gradient;
    r->w -= rate * (h->nesterov ? gradient + h->momentum * r->velocity : r->velocity);
}

typedef struct problem {
    tc_graph *g;
    tc_value w, loss;
} problem;

static problem problem_create(tc_dtype dtype)
{
    problem p = {.g = tc_graph_create()};
    tc_tensor *tensors[] = {tensor_of(dtype, TC_SHAPE(SIZE), start),
                            tensor_of(dtype, TC_SHAPE(SIZE), target),
                            tensor_of(dtype, TC_SHAPE(SIZE), curvature)};
    p.w = tc_variable(p.g, "w", tc_constant(p.g, tensors[0]));
    tc_value error = tc_square(tc_sub(p.w, tc_constant(p.g, tensors[1])));
    p.loss = tc_reduce_sum(tc_mul(tc_constant(p.g, tensors[2]), error));
    for (size_t i = 0; i < 3; i++)
        tc_tensor_release(tensors[i]);
    return p;
}

static void check_optimizer(const optimizer_case *c, tc_dtype dtype, double tolerance)
{
    problem p = problem_create(dtype);
    tc_optimizer optimizer = c->create(p.g);
    tc_value step = tc_minimize(optimizer, p.loss);
    tc_session *s = session_of(p.g);
    reference r[SIZE];
    for (int i = 0; i < SIZE; i++)
        r[i] = (reference){.w = start[i]};
    for (int n = 1; n <= STEPS; n++) {
        double w[SIZE];
        run_target(s, step);
        read_variable(s, "w", w, SIZE);
        for (int i = 0; i < SIZE; i++) {
            reference_step(&r[i], &c->hyper, 2 * curvature[i] * (r[i].w - target[i]), n);
            if (!(fabs(w[i] - r[i].w) <= tolerance * fmax(1, fabs(r[i].w))))
                fail_msg("%s in %s, step %d: w[%d] is %.17g instead of %.17g", c->what,
                         tc_dtype_name(dtype), n, i, w[i], r[i].w);
        }
    }
    double count;
    read_variable(s, tc_value_name(optimizer.step), &count, 1);
    assert_float_equal(count, STEPS, 0);
    tc_session_release(s);
    tc_graph_release(p.g);
}

static void test_optimizers_follow_their_formulas(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_optimizer(&cases[i], TC_F32, 3e-6);
        check_optimizer(&cases[i], TC_F64, 1e-13);
    }
}

/* A 16-bit parameter keeps its slots in f32 and stays within its own rounding of the formula. */
static void test_optimizers_of_16_bit_parameters(void **state)
{
    static const tc_dtype dtypes[] = {TC_F16, TC_BF16};
    for (size_t d = 0; d < 2; d++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            if (cases[i].hyper.learning_rate > 0.01)
                check_optimizer(&cases[i], dtypes[d], d == 0 ? 0.01 : 0.12);
        problem p = problem_create(dtypes[d]);
        tc_minimize(tc_adam(p.g), p.loss);
        assert_int_equal(tc_value_dtype(tc_graph_find(p.g, "adam/mean/w")), TC_F32);
        assert_int_equal(tc_value_dtype(tc_graph_find(p.g, "adam/square/w")), TC_F32);
        assert_int_equal(tc_value_dtype(tc_graph_find(p.g, "w")), dtypes[d]);
        assert_ok(tc_graph_status(p.g));
        tc_graph_release(p.g);
    }
}

static void check_exists(tc_graph *g, const char *name, tc_dtype dtype, bool trainable)
{
    char text[8] = "";
    tc_value v = tc_graph_find(g, name);
    if (!tc_value_ok(v))
        fail_msg("there is no '%s'", name);
    assert_int_equal(tc_value_dtype(v), dtype);
    tc_node_attr_text(v, "trainable", text, sizeof text);
    assert_string_equal(text, trainable ? "true" : "false");
}

static void test_optimizers_name_their_state(void **state)
{
    problem p = problem_create(TC_F64);
    tc_scope_push(p.g, "outer");
    tc_optimizer optimizer = tc_adam(p.g, .name = "fast");
    tc_scope_push(p.g, "inner");
    tc_minimize(optimizer, p.loss);
    tc_scope_pop(p.g);
    tc_scope_pop(p.g);
    tc_minimize(tc_sgd(p.g, .momentum = 0.5), p.loss, .name = "again");
    assert_ok(tc_graph_status(p.g));
    check_exists(p.g, "w", TC_F64, true);
    check_exists(p.g, "outer/fast/step", TC_I64, false);
    check_exists(p.g, "outer/fast/learning_rate", TC_F32, false);
    check_exists(p.g, "outer/fast/mean/w", TC_F64, false);
    check_exists(p.g, "outer/fast/square/w", TC_F64, false);
    check_exists(p.g, "sgd/step", TC_I64, false);
    check_exists(p.g, "sgd/velocity/w", TC_F64, false);
    tc_graph_release(p.g);
}

/* Two losses of one optimizer share its slots and its count. */
static void test_optimizers_may_be_applied_twice(void **state)
{
    problem p = problem_create(TC_F64);
    tc_optimizer optimizer = tc_sgd(p.g, .learning_rate = 0.5f, .momentum = 0.5);
    tc_value a = tc_minimize(optimizer, p.loss);
    tc_value b = tc_minimize(optimizer, tc_reduce_sum(p.w));
    tc_session *s = session_of(p.g);
    double w[SIZE], velocity[SIZE], steps;
    run_target(s, a);
    run_target(s, b);
    read_variable(s, "w", w, SIZE);
    read_variable(s, "sgd/velocity/w", velocity, SIZE);
    read_variable(s, "sgd/step", &steps, 1);
    assert_float_equal(steps, 2, 0);
    for (int i = 0; i < SIZE; i++) {
        double v1 = 2 * curvature[i] * (start[i] - target[i]), v2 = 0.5 * v1 + 1;
        check_close(velocity[i], v2, 1e-14, "the velocity");
        check_close(w[i], start[i] - 0.5 * v1 - 0.5 * v2, 1e-14, "w");
    }
    tc_session_release(s);
    tc_graph_release(p.g);
}

static void test_optimizers_learning_rate_changes_between_runs(void **state)
{
    problem p = problem_create(TC_F32);
    tc_value step = tc_minimize(tc_sgd(p.g, .learning_rate = 0.25f), p.loss);
    tc_session *s = session_of(p.g);
    double before[SIZE], after[SIZE];
    run_target(s, step);
    static const double rates[] = {0.125, 0, 0.5};
    for (size_t r = 0; r < 3; r++) {
        const char *name = "sgd/learning_rate";
        tc_tensor *rate;
        assert_ok(tc_tensor_create_scalar(TC_F32, rates[r], &rate));
        assert_ok(tc_store_restore(tc_session_store(s), &name, &rate, 1, NULL));
        tc_tensor_release(rate);
        read_variable(s, "w", before, SIZE);
        run_target(s, step);
        read_variable(s, "w", after, SIZE);
        for (int i = 0; i < SIZE; i++)
            check_close(after[i], before[i] - rates[r] * 2 * curvature[i] * (before[i] - target[i]),
                        1e-6, "w");
    }
    tc_session_release(s);
    tc_graph_release(p.g);
}

static tc_value half_each_step(tc_location at, tc_value step, void *context)
{
    double base = *(const double *)context;
    tc_value t = tc_cast_at(TC_WITHIN(at), step, TC_F32);
    tc_value half = tc_constant_scalar_at(TC_WITHIN(at), step.graph, TC_F32, 0.5);
    return tc_mul_at(TC_WITHIN(at), tc_constant_scalar_at(TC_WITHIN(at), step.graph, TC_F32, base),
                     tc_pow_at(TC_WITHIN(at), half, t));
}

/* A schedule of the caller sees the updates before this one: 0 in the first. */
static void test_optimizers_follow_a_schedule(void **state)
{
    problem p = problem_create(TC_F64);
    double base = 0.25;
    tc_optimizer optimizer = tc_sgd(p.g, .schedule = half_each_step, .schedule_context = &base);
    tc_value step = tc_minimize(optimizer, p.loss);
    assert_false(tc_value_ok(tc_graph_find(p.g, "sgd/learning_rate")));
    tc_session *s = session_of(p.g);
    double w = start[4];
    for (int n = 0; n < 5; n++) {
        double values[SIZE];
        run_target(s, step);
        read_variable(s, "w", values, SIZE);
        w -= base * pow(0.5, n) * 2 * curvature[4] * (w - target[4]);
        check_close(values[4], w, 1e-6, "w");
    }
    tc_session_release(s);
    tc_graph_release(p.g);
}

static tc_value a_vector(tc_location at, tc_value step, void *context)
{
    return tc_zeros_at(TC_WITHIN(at), step.graph, TC_F32, TC_SHAPE(2));
}

static tc_value a_double(tc_location at, tc_value step, void *context)
{
    return tc_cast_at(TC_WITHIN(at), step, TC_F64);
}

static void check_mistake(tc_optimizer optimizer, problem p, const char *text)
{
    assert_false(tc_value_ok(tc_minimize(optimizer, p.loss)));
    check_graph_error(p.g, text, "test_optimizers.c:");
    tc_graph_release(p.g);
}

static void test_optimizers_mistakes(void **state)
{
    problem p = problem_create(TC_F32);
    check_mistake(tc_sgd(p.g, .nesterov = true), p, "optimizer 'sgd': nesterov needs a momentum");
    p = problem_create(TC_F32);
    check_mistake(tc_adam(p.g, .schedule = a_vector, .name = "slow"), p,
                  "optimizer 'slow': the schedule must give an f32 scalar");
    p = problem_create(TC_F32);
    check_mistake(tc_adam(p.g, .schedule = a_double), p, "the schedule must give an f32 scalar");
    p = problem_create(TC_F32);
    check_mistake(tc_adam(p.g, .beta1 = TC_SOME(1)), p, "beta1 is 1");
    p = problem_create(TC_F32);
    check_mistake(tc_sgd(p.g, .momentum = -0.5), p, "momentum is -0.5");
    p = problem_create(TC_F32);
    check_mistake(tc_sgd(p.g, .weight_decay = NAN), p, "weight_decay is");
    p = problem_create(TC_F32);
    tc_optimizer strange = tc_sgd(p.g);
    strange.kind = (tc_optimizer_kind)9;
    check_mistake(strange, p, "optimizer kind 9 is none of tc_optimizer_kind");
}

static void test_optimizers_of_one_name(void **state)
{
    problem p = problem_create(TC_F32);
    tc_adam(p.g);
    tc_adam(p.g);
    assert_status(tc_graph_status(p.g), TC_ALREADY_EXISTS);
    assert_non_null(strstr(tc_graph_error(p.g), "adam/step"));
    tc_graph_release(p.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimizers_follow_their_formulas),
        cmocka_unit_test(test_optimizers_of_16_bit_parameters),
        cmocka_unit_test(test_optimizers_name_their_state),
        cmocka_unit_test(test_optimizers_may_be_applied_twice),
        cmocka_unit_test(test_optimizers_learning_rate_changes_between_runs),
        cmocka_unit_test(test_optimizers_follow_a_schedule),
        cmocka_unit_test(test_optimizers_mistakes),
        cmocka_unit_test(test_optimizers_of_one_name),
    };
    return cmocka_run_group_tests_name("optimizers", tests, NULL, NULL);
}
