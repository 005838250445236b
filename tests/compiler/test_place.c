/* Where nodes run, and why. */
#include "compiler/plan_test.h"

#include "graph/graph.h"

static void compile(fixture *f)
{
    assert_ok(tc_graph_status(f->graph));
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &f->r, &f->target);
}

static void expect_place(const fixture *f, const char *name, int32_t device, const char *reason)
{
    const tc_node *node = named_node(f->program, name);
    assert_int_equal(node->device, device);
    assert_string_equal(reason_of(f->program, node), reason);
}

/* On a GPU all that has a kernel runs there. */
static void test_default(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 1);
    f->target.cpu_only = "tanh";
    tc_value y = tc_mul(tc_tanh(tc_exp(f->x)), f->v);
    request_fetch(&f->r, y);
    compile(f);
    expect_place(f, "x", 0, "fed on the CPU");
    expect_place(f, "exp", 1, "default");
    expect_place(f, "tanh", 0, "no kernel on cuda:0");
    expect_place(f, "mul", 1, "default");
    expect_place(f, "v", 1, "where it is read most");
    assert_int_equal(f->program->fallbacks, 1);
    assert_int_equal(count_nodes(f->program->graph, "transfer"), 4);
}

static void test_dtype(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 1);
    f->target.cpu_dtype = TC_F64;
    request_fetch(&f->r, tc_exp(tc_cast(f->x, TC_F64)));
    request_fetch(&f->r, tc_exp(f->x));
    compile(f);
    expect_place(f, "exp", 0, "no kernel on cuda:0");
    expect_place(f, "exp_1", 1, "default");
}

/* Annotations come before the default, in either direction. */
static void test_asked(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(3, 1);
    f->target.cpu_only = "sqrt";
    tc_value a = tc_exp(f->x);
    tc_device_push(f->graph, "cpu");
    tc_value b = tc_neg(a);
    tc_device_pop(f->graph);
    tc_device_push(f->graph, "cuda:1");
    tc_value c = tc_square(b), d = tc_sqrt(c);
    tc_device_pop(f->graph);
    request_fetch(&f->r, d);
    compile(f);
    expect_place(f, "exp", 1, "default");
    expect_place(f, "neg", 0, "asked for");
    expect_place(f, "square", 2, "asked for");
    expect_place(f, "sqrt", 0, "no kernel on cuda:1");
    assert_int_equal(f->program->fallbacks, 1);
    f->target = fake_devices(3, 0);
    compile(f);
    expect_place(f, "exp", 0, "default");
}

/* Writes, what they write and what else is written with it lie on one device. */
static void test_writers(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 0);
    tc_device_push(f->graph, "cuda:0");
    tc_value sum = tc_reduce_sum(f->x, .axes = TC_INTS(0));
    tc_value w = tc_assign_add(f->w, sum);
    tc_device_pop(f->graph);
    tc_value v = tc_assign(f->v, tc_neg(f->w));
    request_target(&f->r, w);
    request_target(&f->r, v);
    compile(f);
    expect_place(f, "w", 1, "asked for");
    expect_place(f, "assign_add", 1, "asked for");
    expect_place(f, "v", 0, "default");
    expect_place(f, "assign", 0, "default");
    f->target.cpu_only = "assign_add";
    compile(f);
    expect_place(f, "assign_add", 0, "no kernel on cuda:0");
    expect_place(f, "w", 0, "with 'assign_add'");
}

/* A variable's own wish counts where its writers have none. */
static void test_variable_asks(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 0);
    tc_device_push(f->graph, "cuda:0");
    tc_value u = vector_variable(f->graph, "u"), t = vector_variable(f->graph, "t");
    tc_device_pop(f->graph);
    request_target(&f->r, tc_assign(u, tc_neg(f->v)));
    request_fetch(&f->r, tc_neg(t));
    compile(f);
    expect_place(f, "u", 1, "asked for");
    expect_place(f, "assign", 1, "asked for");
    expect_place(f, "t", 1, "asked for");
    expect_place(f, "v", 0, "where it is read most");
}

/* What shapes are found from stays where kernels are prepared. */
static void test_shapes(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 1);
    tc_value rows = tc_shape_of_value(f->x), twice = tc_mul(rows, rows);
    tc_value y = tc_reshape_to(tc_exp(f->x), tc_div(twice, rows));
    request_fetch(&f->r, y);
    tc_value mask = tc_greater(f->x, tc_zeros_like(f->x));
    request_fetch(&f->r, tc_cast(tc_nonzero(mask), TC_F32));
    compile(f);
    expect_place(f, "shape_of", 0, "shapes are found on the CPU");
    expect_place(f, "mul", 0, "shapes are found on the CPU");
    expect_place(f, "greater", 1, "default");
    expect_place(f, "nonzero", 0, "its shape depends on elements");
    assert_int_equal(f->program->fallbacks, 0);
    /* x, the mask and two results: the reshape takes nothing but the elements of its input. */
    assert_int_equal(count_nodes(f->program->graph, "transfer"), 5);
}

/* Views and constants are repeated where they are read; values are copied once. */
static void test_copied_once(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 0);
    tc_value half = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){.5, .5, .5, 1}));
    tc_value flat = tc_reshape(f->x, TC_SHAPE(-1));
    request_fetch(&f->r, tc_mul(f->x, half));
    tc_device_push(f->graph, "cuda:0");
    tc_value a = tc_mul(f->x, half), b = tc_exp(flat),
             c = tc_exp(tc_reshape(flat, TC_SHAPE(2, -1)));
    tc_device_pop(f->graph);
    request_fetch(&f->r, a);
    request_fetch(&f->r, a);
    request_fetch(&f->r, b);
    request_fetch(&f->r, c);
    request_fetch(&f->r, tc_reshape(c, TC_SHAPE(-1)));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "transfer"), 1 + 3);
    assert_int_equal(count_nodes(f->program->graph, "constant"), 2);
    assert_int_equal(f->program->fetches[1].node, f->program->fetches[2].node);
    assert_int_equal(fetch_node(f->program, 5)->inputs[0].node, f->program->fetches[4].node);
}

/*
 * "auto"
 */
static tc_device_type type_of_each(const tc_target *target, int32_t device, int32_t *index)
{
    (void)target;
    *index = 0;
    return device == 0 ? TC_DEVICE_CPU : (tc_device_type)(100 + device);
}

/* Devices of different types have no copies between them. */
static void test_strangers(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(3, 0);
    f->target.target.device_type = type_of_each;
    tc_device_push(f->graph, "cuda:0");
    tc_value a = tc_exp(f->x);
    tc_device_pop(f->graph);
    tc_device_push(f->graph, "cuda:1");
    request_fetch(&f->r, tc_neg(a));
    request_fetch(&f->r, tc_tanh(tc_reshape(a, TC_SHAPE(-1))));
    tc_device_pop(f->graph);
    compile(f);
    int transfers = 0;
    for (size_t i = 0; i < f->program->graph->nodes.count; i++) {
        const tc_node *node = f->program->graph->nodes.data[i];
        if (!tc_node_is(node, "transfer"))
            continue;
        int32_t from = tc_graph_node_at(f->program->graph, node->inputs[0].node)->device;
        assert_true((from == 0) != (node->device == 0));
        transfers++;
    }
    assert_int_equal(transfers, 1 + 1 + 1 + 2); /* x, a away from one and to the other, results */
}

static void test_auto_small(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, -1);
    request_fetch(&f->r, tc_neg(tc_exp(f->x)));
    compile(f);
    expect_place(f, "exp", 0, "expected to be quicker here");
    assert_int_equal(count_nodes(f->program->graph, "transfer"), 0);
}

/* Products of large matrices pay, a small graph beside them does not, and a wish is a wish. */
static void test_auto_large(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, -1);
    f->target.cpu_only = "sigmoid";
    tc_value a = tc_placeholder(f->graph, "a", TC_F32, TC_SHAPE(TC_DIM("batch"), 2048));
    tc_value w =
        tc_variable(f->graph, "weights", tc_fill(f->graph, TC_F32, TC_SHAPE(2048, 2048), 1));
    tc_value y = tc_relu(tc_matmul(tc_relu(tc_matmul(a, w)), w));
    request_feed(&f->r, a);
    request_fetch(&f->r, tc_reduce_sum(y));
    request_fetch(&f->r, tc_sigmoid(tc_exp(f->x)));
    tc_device_push(f->graph, "cuda:0");
    request_fetch(&f->r, tc_neg(f->x));
    tc_device_pop(f->graph);
    compile(f);
    expect_place(f, "matmul", 1, "expected to be quicker");
    expect_place(f, "relu_1", 1, "expected to be quicker");
    expect_place(f, "weights", 1, "where it is read most");
    expect_place(f, "exp", 0, "expected to be quicker here");
    expect_place(f, "sigmoid", 0, "no kernel on cuda:0");
    expect_place(f, "neg", 1, "asked for");
    assert_int_equal(f->program->fallbacks, 0); /* nobody asked for a GPU */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_default),     TEST(test_dtype),         TEST(test_asked),
        TEST(test_writers),     TEST(test_variable_asks), TEST(test_shapes),
        TEST(test_copied_once), TEST(test_auto_small),    TEST(test_strangers),
        TEST(test_auto_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
