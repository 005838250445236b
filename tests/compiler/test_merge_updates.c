/* Steps of an optimizer become one operation where nothing tells them apart. */
#include "compiler/same_results.h"

enum { LAYERS = 5, VARIABLES = 2 * LAYERS };

typedef struct fixture {
    tc_graph *graph;
    tc_value x; /* f32 [batch, 4] */
    tc_value variables[VARIABLES];
    tc_value loss;
    fake_target target;
    tc_program *program;
} fixture;

static tc_value variable(fixture *f, const char *name, int index, tc_shape shape)
{
    char numbered[32];
    tc_tensor *initial = same_input(TC_F32, shape);
    snprintf(numbered, sizeof numbered, "%s%d", name, index);
    tc_value v = tc_variable(f->graph, numbered, tc_constant(f->graph, initial));
    tc_tensor_release(initial);
    return v;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->graph = tc_graph_create();
    f->x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    f->target = fake_target_make();
    tc_value h = f->x;
    for (int i = 0; i < LAYERS; i++) {
        f->variables[2 * i] = variable(f, "w", i, TC_SHAPE(4, 4));
        f->variables[2 * i + 1] = variable(f, "b", i, TC_SHAPE(4));
        h = tc_tanh(tc_bias_add(tc_matmul(h, f->variables[2 * i]), f->variables[2 * i + 1]));
    }
    f->loss = tc_reduce_mean(tc_square(h));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    tc_program_release(f->program);
    tc_graph_release(f->graph);
    free(f);
    return 0;
}

/* Compiles the targets and plans them; returns how many nodes of `op` there are. */
static int compiled(fixture *f, const tc_value *targets, size_t n, const char *op)
{
    test_request r = {0};
    const tc_shape shape = TC_SHAPE(3, 4);
    request_feed(&r, f->x);
    request_fetch(&r, f->loss);
    for (size_t i = 0; i < n; i++)
        request_target(&r, targets[i]);
    assert_ok(tc_graph_status(f->graph));
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &r, &f->target);
    tc_plan_release(plan_ok(f->program, &shape, &f->target));
    return count_nodes(f->program->graph, op);
}

/* After two runs of the target, loss and variables have the same bits. */
static void same(fixture *f, tc_value target)
{
    tc_value fetches[VARIABLES + 1] = {f->loss};
    memcpy(fetches + 1, f->variables, sizeof f->variables);
    expect_same_results(f->graph, "merge_updates", f->x, TC_SHAPE(3, 4), fetches, VARIABLES + 1,
                        target, 0);
}

static void check_optimizer(fixture *f, tc_optimizer optimizer, const char *one, const char *all,
                            int operands)
{
    tc_value step = tc_minimize(optimizer, f->loss);
    assert_int_equal(compiled(f, &step, 1, all), 1);
    assert_int_equal(count_nodes(f->program->graph, one), 0);
    for (size_t i = 0; i < f->program->graph->nodes.count; i++)
        if (tc_node_is(f->program->graph->nodes.data[i], all))
            assert_int_equal(f->program->graph->nodes.data[i]->n_outputs, VARIABLES * operands);
    same(f, step);
}

static void test_sgd(void **state)
{
    fixture *f = *state;
    check_optimizer(f, tc_sgd(f->graph, .learning_rate = 0.1f), "apply_sgd", "apply_sgd_all", 1);
}

static void test_momentum(void **state)
{
    fixture *f = *state;
    check_optimizer(f, tc_sgd(f->graph, .learning_rate = 0.1f, .momentum = 0.9), "apply_momentum",
                    "apply_momentum_all", 2);
}

static void test_adam(void **state)
{
    fixture *f = *state;
    check_optimizer(f, tc_adamw(f->graph, .learning_rate = 0.1f), "apply_adam", "apply_adam_all",
                    3);
}

static tc_value sgd(fixture *f, int variable_index, tc_value rate, double decay)
{
    tc_value v = f->variables[variable_index];
    return tc_apply_sgd(v, tc_square(v), rate, .weight_decay = decay);
}

/* So do conditions, and one that holds changes nothing. */
static void test_when(void **state)
{
    fixture *f = *state;
    tc_value rate = tc_constant_scalar(f->graph, TC_F32, 0.25), steps[4];
    tc_value when[2] = {tc_less(f->loss, tc_constant_scalar(f->graph, TC_F32, 100)),
                        tc_less(f->loss, tc_constant_scalar(f->graph, TC_F32, -100))};
    for (int i = 0; i < 4; i++) {
        tc_value v = f->variables[2 * (i / 2) + i % 2];
        steps[i] = tc_apply_sgd(v, tc_square(v), rate, .when = when[i / 2]);
    }
    tc_value all = tc_group(f->graph, steps, 4);
    assert_int_equal(compiled(f, &all, 1, "apply_sgd_all"), 2);
    assert_int_equal(count_nodes(f->program->graph, "apply_sgd"), 0);
    same(f, all);
}

/* Attributes and learning rates tell groups apart; one alone stays what it was. */
static void test_groups(void **state)
{
    fixture *f = *state;
    tc_value rate = tc_constant_scalar(f->graph, TC_F32, 0.25);
    tc_value other = tc_reduce_sum(
        tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){0.25, 0.25, 0.25, 0.25})));
    tc_value steps[] = {sgd(f, 0, rate, 0), sgd(f, 1, rate, 0.5), sgd(f, 2, rate, 0),
                        sgd(f, 3, rate, 0.5), sgd(f, 4, other, 0)};
    assert_int_equal(compiled(f, steps, 5, "apply_sgd_all"), 2);
    assert_int_equal(count_nodes(f->program->graph, "apply_sgd"), 1);
    assert_int_equal(f->program->n_targets, 5);
}

/* New content that is read keeps its step apart, as do two steps on one variable. */
static void test_readers(void **state)
{
    fixture *f = *state;
    tc_value rate = tc_constant_scalar(f->graph, TC_F32, 0.25);
    tc_value read = sgd(f, 0, rate, 0), first = sgd(f, 1, rate, 0), second = sgd(f, 1, rate, 0);
    tc_value steps[] = {tc_assign(f->variables[2], tc_square(read)), first, second,
                        sgd(f, 4, rate, 0), sgd(f, 6, rate, 0)};
    assert_int_equal(compiled(f, steps, 5, "apply_sgd_all"), 1);
    assert_int_equal(count_nodes(f->program->graph, "apply_sgd"), 3);
    tc_value step = tc_group(f->graph, steps, 5);
    same(f, step);
    test_request r = {0};
    request_feed(&r, f->x);
    request_fetch(&r, steps[3]);
    request_target(&r, steps[4]);
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &r, &f->target);
    assert_int_equal(count_nodes(f->program->graph, "apply_sgd"), 2);
}

/* A gradient that is another parameter of the group is its content from before the step. */
static void test_exchange(void **state)
{
    fixture *f = *state;
    tc_value rate = tc_constant_scalar(f->graph, TC_F32, 0.25);
    tc_value a = f->variables[0], b = f->variables[2];
    tc_value steps[] = {tc_apply_sgd(a, b, rate), tc_apply_sgd(b, a, rate)};
    assert_int_equal(compiled(f, steps, 2, "apply_sgd_all"), 1);
    same(f, tc_group(f->graph, steps, 2));
}

/* What must run after one of the steps comes behind all of its group so far. */
static void test_controls(void **state)
{
    fixture *f = *state;
    tc_value rate = tc_constant_scalar(f->graph, TC_F32, 0.25);
    tc_value early[] = {sgd(f, 0, rate, 0), sgd(f, 1, rate, 0)};
    tc_value between = tc_group(f->graph, early, 2);
    tc_value late[] = {sgd(f, 2, rate, 0), sgd(f, 3, rate, 0), between};
    tc_value step = tc_group(f->graph, late, 3);
    assert_int_equal(compiled(f, &step, 1, "apply_sgd_all"), 2);
    same(f, step);
}

/* More parameters than one operation takes. */
static void test_many(void **state)
{
    fixture *f = *state;
    tc_value rate = tc_constant_scalar(f->graph, TC_F32, 0.25), steps[150];
    for (int i = 0; i < 150; i++) {
        tc_value v = variable(f, "many", i, TC_SHAPE(i % 7));
        steps[i] = tc_apply_sgd(v, v, rate);
    }
    tc_value step = tc_group(f->graph, steps, 150);
    assert_int_equal(compiled(f, &step, 1, "apply_sgd_all"), 3);
    assert_int_equal(count_nodes(f->program->graph, "apply_sgd"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_when),     TEST(test_sgd),      TEST(test_momentum),
        TEST(test_adam),     TEST(test_groups),   TEST(test_readers),
        TEST(test_exchange), TEST(test_controls), TEST(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
