/* Memory that ends at any allocation while compiling and planning: RESOURCE_EXHAUSTED, and nothing
 * is left behind. */
#include "compiler/compiler_test.h"
#include "support/counting_allocator.h"

typedef struct scenario {
    tc_graph *graph;
    tc_value networks;
    test_request r;
    fake_target target;
} scenario;

static void ignore(void *context, const char *pass, const char *when, const char *text)
{
    *(size_t *)context += strlen(pass) + strlen(when) + strlen(text);
}

/* For the passes that look for products, images and optimizers. */
static tc_value networks(scenario *s, tc_graph *g)
{
    tc_value image = tc_placeholder(g, "image", TC_F32, TC_SHAPE(TC_DIM("images"), 16, 32, 32));
    tc_value filter = tc_fill(g, TC_F32, TC_SHAPE(32, 16, 3, 3), 0.5);
    tc_value second = tc_fill(g, TC_F32, TC_SHAPE(32, 32, 3, 3), 0.5);
    tc_value ones = tc_fill(g, TC_F32, TC_SHAPE(32), 1);
    tc_value seen = tc_relu(tc_bias_add(tc_conv2d(image, filter), ones, .axis = TC_SOME(1)));
    seen = tc_output(
        tc_batch_norm(tc_conv2d(seen, second), ones, ones, ones, ones, .mode = TC_MODE_INFERENCE),
        0);
    tc_value q = tc_reshape(tc_relu(seen), TC_SHAPE(-1, 4, 49, 128));
    tc_value scores = tc_mul(tc_matmul(q, tc_transpose(q, .permutation = TC_INTS(0, 1, 3, 2))),
                             tc_constant_scalar(g, TC_F32, 0.125));
    tc_value y = tc_matmul(tc_softmax(scores), q);
    tc_value a = tc_variable(g, "a", tc_fill(g, TC_F32, TC_SHAPE(128, 8), 1));
    tc_value b = tc_variable(g, "b", tc_fill(g, TC_F32, TC_SHAPE(8), 1));
    tc_value loss = tc_reduce_mean(tc_relu(tc_add(tc_matmul(y, a), b)));
    tc_value da = tc_mul(a, loss), db = tc_mul(b, loss);
    tc_value rate = tc_constant_scalar(g, TC_F32, 0.5);
    request_feed(&s->r, image);
    return tc_group(g, TC_VALUES(tc_apply_sgd(a, da, rate), tc_apply_sgd(b, db, rate)));
}

/* Something for every pass: calls, a fed intermediate value, constants, updates that are read and
 * that are not. */
static void build(scenario *s)
{
    tc_graph *g = s->graph = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    tc_value v = tc_variable(g, "v", tc_fill(g, TC_F32, TC_SHAPE(4), 1));
    tc_value w = tc_variable(g, "w", tc_fill(g, TC_F32, TC_SHAPE(4), 1));
    tc_graph *body = tc_function_begin(g, "block");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(body, TC_VALUES(tc_dropout(tc_mul(p, v), 0.5)));
    tc_value call = tc_call(g, "block", TC_VALUES(x));
    tc_value parts = tc_split(tc_call(g, "block", TC_VALUES(call)), 1, 2);
    tc_value c = tc_mul(tc_fill(g, TC_F32, TC_SHAPE(4), 2), tc_constant_scalar(g, TC_F32, 3));
    tc_value sum = tc_reduce_sum(tc_add(x, c), .axes = TC_INTS(0));
    tc_value turned = tc_transpose(tc_transpose(x));
    tc_value step = tc_assign_sub(v, sum), swap = tc_assign(w, v), read = tc_assign_add(w, sum);
    s->networks = networks(s, g);
    request_feed(&s->r, x);
    request_feed(&s->r, parts);
    request_fetch(&s->r, tc_concat(TC_VALUES(parts, tc_output(parts, 1)), 1));
    request_fetch(&s->r, turned);
    request_fetch(&s->r, tc_reshape(tc_exp(read), TC_SHAPE(2, 2)));
    request_target(&s->r, tc_group(g, TC_VALUES(step, swap, call, s->networks)));
    s->target = fake_target_make();
    assert_ok(tc_graph_status(g));
}

static tc_status compile_and_plan(void *context)
{
    scenario *s = context;
    tc_program *program;
    tc_plan *plan;
    size_t dumped = 0;
    s->r.request.dump = ignore;
    s->r.request.dump_context = &dumped;
    TC_TRY(tc_program_create(s->graph, &s->r.request, &s->target.target, &program));
    const tc_shape shapes[] = {TC_SHAPE(2, 16, 32, 32), TC_SHAPE(8, 4), TC_SHAPE(8, 2)};
    tc_status status = tc_plan_create(program, shapes, &s->target.target, 0, &plan);
    tc_program_release(program);
    TC_TRY(status);
    check_plan(plan);
    FILE *nothing = fopen("/dev/null", "w");
    assert_non_null(nothing);
    status = tc_plan_print(plan, TC_DUMP_TEXT, nothing);
    fclose(nothing);
    tc_plan_release(plan);
    return status;
}

static void test_every_allocation(void **state)
{
    static scenario s;
    counting_allocator_install();
    build(&s);
    assert_ok(compile_and_plan(&s)); /* the registry fills its tables once */
    print_message("%d allocations\n", (int)counting_allocator_sweep(compile_and_plan, &s));
    tc_graph_release(s.graph);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
