/* Plans over several devices: memory of each, copies, segments. Every plan is followed by
 * check_plan, in which what devices copy arrives as late as it may. */
#include "compiler/plan_test.h"

static void on_gpu(fixture *f)
{
    f->target = fake_devices(2, 1);
}

static int segments_of(const tc_plan *plan, int32_t device)
{
    int count = 0;
    for (int32_t i = 0; i < plan->n_segments; i++)
        count += plan->segments[i].device == device;
    return count;
}

static void test_all_on_device(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    request_fetch(&f->r, tc_neg(tc_mul(tc_exp(f->x), f->v)));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_segments, 1);
    assert_int_equal(plan->n_compute_segments, 1);
    assert_int_equal(plan->n_transfers, 2);
    assert_int_equal(plan->transferred_bytes, 2 * 8 * 16);
    assert_int_equal(plan->staging_bytes, 2 * 8 * 16);
    assert_int_equal(plan->devices[1].arena_bytes, 8 * 16); /* all in place */
    assert_int_equal(plan->arena_bytes, 0);
    assert_int_equal(plan->copied_bytes, 0);
    assert_int_equal(output_buffer(plan, plan->n_steps - 1)->place, TC_PLACE_OUTPUT);
    for (int32_t i = 0; i < plan->n_buffers; i++)
        if (plan->buffers[i].place == TC_PLACE_VARIABLE)
            assert_int_equal(plan->buffers[i].device, 1);
}

static void test_cpu_alone(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 0);
    request_fetch(&f->r, tc_exp(f->x));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_segments, 0);
    assert_int_equal(plan->n_transfers, 0);
    assert_int_equal(plan->n_devices, 2);
}

/* Two chains through the CPU take one turn each way, whatever the order of their nodes. */
static void test_few_segments(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    f->target.cpu_only = "tanh";
    for (int i = 0; i < 4; i++) {
        tc_value y = tc_add(f->x, tc_fill(f->graph, TC_F32, TC_SHAPE(4), i));
        request_fetch(&f->r, tc_neg(tc_tanh(tc_exp(y))));
    }
    tc_plan *plan = plan_of(f);
    assert_int_equal(segments_of(plan, 0), 1);
    assert_int_equal(segments_of(plan, 1), 2);
    assert_true(plan->segments[1].waits);
    assert_false(plan->segments[2].waits); /* a device takes things in order */
}

/* Independent work of the CPU goes on beside that of the device. */
static void test_beside(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    request_fetch(&f->r, tc_exp(f->x));
    tc_device_push(f->graph, "cpu");
    request_fetch(&f->r, tc_neg(tc_sigmoid(f->x)));
    tc_device_pop(f->graph);
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_segments, 2);
    assert_int_equal(plan->segments[0].device, 1);
    assert_int_equal(plan->segments[1].device, 0);
    assert_false(plan->segments[1].waits);
}

/* What is to run after work of a device waits for it, also when a group stands between them. */
static void test_controls(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    for (int grouped = 0; grouped < 2; grouped++) {
        f->r = (test_request){.request.disable_passes = "all"};
        request_feed(&f->r, f->x);
        tc_value first = tc_exp(f->x);
        if (grouped)
            first = tc_group(f->graph, TC_VALUES(first));
        tc_control_push(f->graph, TC_VALUES(first));
        tc_device_push(f->graph, "cpu");
        request_fetch(&f->r, tc_neg(f->x));
        tc_device_pop(f->graph);
        tc_control_pop(f->graph);
        tc_plan *plan = plan_of(f);
        assert_int_equal(plan->n_segments, 2);
        assert_int_equal(plan->segments[1].device, 0);
        assert_true(plan->segments[1].waits);
    }
}

static const tc_port report_ports[] = {{.name = "x", .dtypes = TC_DTYPE_BIT(TC_F32), .type = 'T'}};

static tc_status report_infer(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static const tc_op report_op = {.name = "report",
                                .version = 1,
                                .doc = "tells x to somebody and passes it on",
                                TC_LIST(inputs, report_ports),
                                TC_LIST(outputs, report_ports),
                                .effects = TC_EFFECT_IO,
                                .infer = report_infer,
                                .grad = TC_GRAD_NONE};

static tc_status report_run(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    (void)params;
    (void)inputs;
    (void)outputs;
    (void)context;
    return TC_OK;
}

static const tc_kernel report_kernel = {
    .op = "report", .dtype = TC_F32, .symbol = "test_report_f32", .run = report_run};

static const tc_kernel *find_report(const tc_target *target, int32_t device, const char *op,
                                    tc_dtype dtype)
{
    return strcmp(op, "report") == 0 ? &report_kernel : fake_find_kernel(target, device, op, dtype);
}

/* What reaches outside does so one after the other, wherever it runs. */
static void test_outside(void **state)
{
    fixture *f = *state;
    tc_registry *registry = tc_registry_create();
    assert_non_null(registry);
    assert_ok(tc_registry_add_op(registry, &report_op));
    const tc_graph_options with = {.struct_size = sizeof with, .registry = registry};
    tc_graph *old = f->graph;
    f->graph = tc_graph_create_with(&with);
    f->r = (test_request){.request.disable_passes = "all"};
    f->x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    request_feed(&f->r, f->x);
    f->target = fake_devices(3, 1);
    f->target.target.find_kernel = find_report;
    const char *const devices[] = {"cuda:0", "cuda:1", "cpu"};
    for (int i = 0; i < 3; i++) {
        tc_device_push(f->graph, devices[i]);
        request_fetch(
            &f->r, tc_node_build(
                       NULL, &(tc_node_spec){.op = "report", .at = TC_HERE, TC_SPEC_INPUTS(f->x)}));
        tc_device_pop(f->graph);
    }
    tc_plan *plan = plan_of(f);
    int reports = 0;
    for (int32_t i = 0; i < plan->n_segments; i++) {
        const tc_segment *segment = &plan->segments[i];
        bool kernel = false;
        for (int32_t k = 0; k < segment->n_steps; k++)
            kernel = kernel || plan->steps[segment->first_step + k].kernel;
        assert_true(!kernel || reports == 0 || segment->waits);
        reports += kernel;
    }
    assert_int_equal(reports, 3);
    tc_graph_release(old);
    tc_registry_release(registry);
}

/* A training step: parameters and slots stay on the device, commits are a segment of their own. */
static void test_commits(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    tc_value g = tc_reduce_sum(tc_mul(f->x, f->w), .axes = TC_INTS(0));
    request_target(&f->r, tc_assign_sub(f->w, g));
    request_target(&f->r, tc_assign(f->v, f->w));
    request_fetch(&f->r, tc_reduce_sum(g));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_compute_segments, 1);
    assert_int_equal(plan->n_segments, 2);
    assert_int_equal(plan->segments[1].first_step, plan->n_compute);
    assert_int_equal(plan->segments[1].device, 1);
    assert_int_equal(plan->n_transfers, 2);
}

/* Commits on both devices that read what the other one writes. */
static void test_commits_across(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 0);
    tc_device_push(f->graph, "cuda:0");
    request_target(&f->r, tc_assign(f->v, f->w));
    tc_device_pop(f->graph);
    request_target(&f->r, tc_assign(f->w, f->v));
    request_fetch(&f->r, f->v);
    request_fetch(&f->r, f->w);
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_segments - plan->n_compute_segments, 2);
    assert_int_equal(plan->n_transfers, 2);
}

/* A new content that is fetched, and one that other nodes read. */
static void test_new_content(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    tc_value v = tc_assign_add(f->v, f->w);
    request_fetch(&f->r, v);
    request_fetch(&f->r, tc_neg(tc_assign(f->w, v)));
    (void)plan_of(f);
}

static void test_three_devices(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(3, 1);
    tc_value a = tc_exp(f->x);
    tc_device_push(f->graph, "cuda:1");
    tc_value b = tc_neg(a), c = tc_square(f->x);
    tc_device_pop(f->graph);
    request_fetch(&f->r, tc_mul(tc_mul(b, a), c));
    tc_plan *plan = plan_of(f);
    int direct = 0;
    for (int32_t i = 0; i < plan->n_steps; i++)
        if (!plan->steps[i].kernel)
            direct += input_buffer(plan, i, 0)->device && output_buffer(plan, i)->device;
    assert_int_equal(direct, 3); /* without a stop on the CPU */
    assert_int_equal(plan->n_transfers, 3 + 3);
    assert_true(plan->devices[1].arena_bytes > 0 && plan->devices[2].arena_bytes > 0);
}

static void test_budget(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    tc_value a = tc_exp(f->x), b = tc_tanh(f->x);
    request_fetch(&f->r, tc_neg(tc_mul(tc_mul(tc_sigmoid(a), b), tc_mul(a, tc_sigmoid(b)))));
    tc_plan *plan = plan_of(f), *small;
    const tc_shape shape = TC_SHAPE(8, 4);
    size_t bytes = plan->devices[1].arena_bytes;
    assert_int_equal(plan->devices[1].live_bytes, bytes);
    assert_int_equal(tc_plan_create(f->program, &shape, &f->target.target, bytes, &small), TC_OK);
    tc_plan_release(small);
    assert_int_equal(tc_plan_create(f->program, &shape, &f->target.target, 130, &small),
                     TC_RESOURCE_EXHAUSTED);
    assert_error_contains("on cuda:0");
    assert_error_contains("memory budget is 130");
}

/* Rows of nothing are copied nowhere. */
static void test_empty(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    request_fetch(&f->r, tc_neg(tc_exp(f->x)));
    tc_plan *plan = plan_batch(f, 0);
    assert_int_equal(plan->n_transfers, 0);
}

/* What is computed from a variable that nothing updates, through the CPU and back, is in no run. */
static void test_invariants_between_devices(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    f->target.cpu_only = "tanh";
    request_fetch(&f->r, tc_mul(f->x, tc_tanh(tc_exp(f->v))));
    assert_int_equal(plan_of(f)->n_transfers, 4);
    f->r.request.disable_passes = "fuse_elementwise";
    tc_plan *plan = plan_of(f);
    const int32_t devices[] = {1, 0, 0, 1};
    assert_int_equal(plan->n_transfers, 2);
    assert_int_equal(plan->n_segments, 1);
    assert_int_equal(plan->n_packs, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(plan->packs[i].device, devices[i]);
        assert_int_equal(plan->packs[i].kernel == NULL, i % 2);
    }
    /* That alone leaves a plan without steps, but of devices all the same. */
    f->r.request.n_fetches = 0;
    request_target(&f->r, tc_exp(f->w));
    plan = plan_of(f);
    assert_true(plan->mixed);
    assert_int_equal(plan->n_steps, 0);
    assert_int_equal(plan->n_packs, 1);
    /* What a request of the graph updates is no such thing. */
    request_target(&f->r, tc_assign(f->w, f->v));
    assert_int_equal(plan_of(f)->n_packs, 0);
}

static void test_same_again(void **state)
{
    fixture *f = *state;
    on_gpu(f);
    f->target.cpu_only = "tanh,sigmoid";
    tc_value y = f->x;
    for (int i = 0; i < 6; i++)
        y = tc_add(i % 2 ? tc_tanh(y) : tc_exp(y), i % 3 ? tc_sigmoid(f->x) : tc_mul(y, f->v));
    request_fetch(&f->r, y);
    char *text[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        FILE *file = open_memstream(&text[i], &size[i]);
        assert_ok(tc_plan_print(plan_of(f), TC_DUMP_JSON, file));
        fclose(file);
    }
    assert_string_equal(text[0], text[1]);
    free(text[0]);
    free(text[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_on_device),
        TEST(test_cpu_alone),
        TEST(test_few_segments),
        TEST(test_beside),
        TEST(test_commits),
        TEST(test_commits_across),
        TEST(test_new_content),
        TEST(test_three_devices),
        TEST(test_budget),
        TEST(test_empty),
        TEST(test_invariants_between_devices),
        TEST(test_same_again),
        TEST(test_controls),
        TEST(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
