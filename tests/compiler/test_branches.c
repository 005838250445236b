/* Regions of lanes: found where they pay, apart from each other in data and memory. */
#include "compiler/plan_test.h"

#define SIDE 64

/* `length` products with tanh, from x [SIDE, SIDE]. */
static tc_value chain(tc_value x, int branch, int length)
{
    tc_value y = tc_mul(x, tc_constant_scalar(x.graph, TC_F32, 2 + branch));
    for (int i = 0; i < length; i++)
        y = tc_tanh(tc_matmul(y, x));
    return y;
}

typedef struct square {
    tc_graph *graph;
    tc_value x;
    tc_shape shape;
    test_request r;
    fake_target target;
    tc_program *program;
    tc_plan *plan;
} square;

static int square_setup(void **state)
{
    square *s = calloc(1, sizeof *s);
    s->graph = tc_graph_create();
    s->shape = TC_SHAPE(SIDE, SIDE);
    s->x = tc_placeholder(s->graph, "x", TC_F32, s->shape);
    s->target = fake_target_make();
    request_feed(&s->r, s->x);
    *state = s;
    return 0;
}

static int square_teardown(void **state)
{
    square *s = *state;
    tc_plan_release(s->plan);
    tc_program_release(s->program);
    tc_graph_release(s->graph);
    free(s);
    return 0;
}

static const tc_plan *square_plan(square *s, int threads)
{
    assert_ok(tc_graph_status(s->graph));
    tc_plan_release(s->plan);
    tc_program_release(s->program);
    s->target.target.threads = threads;
    s->program = compile_ok(s->graph, &s->r, &s->target);
    s->plan = plan_ok(s->program, &s->shape, &s->target);
    return s->plan;
}

/* A stretch of the arena, as numbers of bytes. */
typedef struct stretch {
    size_t begin, end;
    int32_t lane;
    bool written;
} stretch;

/* What a region has is of one segment, and copies between devices are in none. */
static void check_device(const tc_plan *plan, const tc_region *region)
{
    int inside = plan->n_segments == 0;
    for (int32_t i = 0; i < plan->n_segments; i++) {
        const tc_segment *segment = &plan->segments[i];
        inside += region->first_step >= segment->first_step &&
                  region->first_step + region->n_steps <= segment->first_step + segment->n_steps;
    }
    assert_int_equal(inside, 1);
    for (int32_t i = region->first_step; i < region->first_step + region->n_steps; i++) {
        const tc_step *step = &plan->steps[i];
        for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
            int32_t buffer = plan->operands[step->first_input + k];
            if (buffer >= 0 && plan->buffers[buffer].place == TC_PLACE_ARENA)
                assert_int_equal(plan->buffers[buffer].device, step->device);
        }
    }
}

static int step_stretches(const tc_plan *plan, const tc_step *step, stretch *out)
{
    int count = 0;
    for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
        bool written = k >= step->n_inputs;
        int32_t at = written ? step->first_output + k - step->n_inputs : step->first_input + k;
        int32_t buffer = plan->operands[at];
        if (buffer < 0 || plan->buffers[buffer].place != TC_PLACE_ARENA)
            continue;
        size_t begin = plan->buffers[buffer].offset;
        out[count++] = (stretch){begin, begin + plan->buffers[buffer].bytes, step->lane, written};
    }
    if (step->workspace_bytes > 0)
        out[count++] = (stretch){step->workspace_offset,
                                 step->workspace_offset + step->workspace_bytes, step->lane, true};
    return count;
}

/* What a lane writes no other lane of the region touches, and regions and steps agree. */
static void check_lanes(const tc_plan *plan)
{
    int32_t end = 0;
    for (int32_t r = 0; r < plan->n_regions; r++) {
        const tc_region *region = &plan->regions[r];
        assert_true(region->first_step >= end);
        end = region->first_step + region->n_steps;
        assert_true(end <= plan->n_compute && region->n_lanes >= 2);
        assert_int_equal(region->lane_begin[0], region->first_step);
        assert_int_equal(region->lane_begin[region->n_lanes], end);
        check_device(plan, region);
        stretch *all = calloc((size_t)region->n_steps * 12 + 1, sizeof *all);
        int count = 0;
        for (int32_t lane = 0; lane < region->n_lanes; lane++) {
            assert_true(region->lane_begin[lane] < region->lane_begin[lane + 1]);
            for (int32_t i = region->lane_begin[lane]; i < region->lane_begin[lane + 1]; i++) {
                const tc_step *step = &plan->steps[i];
                assert_int_equal(step->region, r);
                assert_int_equal(step->lane, lane);
                assert_true(step->n_inputs + step->n_outputs < 12);
                count += step_stretches(plan, step, all + count);
            }
        }
        for (int i = 0; i < count; i++)
            for (int j = 0; j < count; j++)
                if (all[i].lane != all[j].lane && all[i].written)
                    assert_false(all[i].begin < all[j].end && all[j].begin < all[i].end);
        free(all);
    }
    for (int32_t i = 0; i < plan->n_steps; i++) {
        int32_t r = plan->steps[i].region;
        bool inside = r >= 0 && i >= plan->regions[r].first_step &&
                      i < plan->regions[r].first_step + plan->regions[r].n_steps;
        assert_true(inside == (r >= 0));
    }
}

static void test_branches_fork_and_join(void **state)
{
    square *s = *state;
    tc_value a = chain(s->x, 0, 4), b = chain(s->x, 1, 4);
    request_fetch(&s->r, tc_add(a, b));
    const tc_plan *plan = square_plan(s, 2);
    check_lanes(plan);
    assert_int_equal(plan->n_regions, 1);
    assert_int_equal(plan->regions[0].n_lanes, 2);
    const tc_region *region = &plan->regions[0];
    assert_in_range(plan->n_steps - region->n_steps, 0, 2); /* the last addition */
    int32_t first = region->lane_begin[1] - region->lane_begin[0];
    assert_in_range(2 * first - region->n_steps + 1, 0, 2); /* halves */
    for (int threads = 3; threads <= 8; threads++) /* there are no more branches than two */
        assert_int_equal(square_plan(s, threads)->regions[0].n_lanes, 2);
}

static void test_branches_are_dealt_out(void **state)
{
    square *s = *state;
    tc_value sum = chain(s->x, 0, 3);
    for (int i = 1; i < 6; i++)
        sum = tc_add(sum, chain(s->x, i, 3));
    request_fetch(&s->r, sum);
    for (int threads = 2; threads <= 6; threads++) {
        const tc_plan *plan = square_plan(s, threads);
        check_lanes(plan);
        assert_true(plan->n_regions >= 1);
        assert_int_equal(plan->regions[0].n_lanes, threads);
    }
}

static void test_branches_only_where_asked_for(void **state)
{
    square *s = *state;
    request_fetch(&s->r, tc_add(chain(s->x, 0, 4), chain(s->x, 1, 4)));
    assert_int_equal(square_plan(s, 1)->n_regions, 0);
    assert_int_equal(square_plan(s, 2)->n_regions, 1);
    s->r.request.disable_passes = "branches";
    assert_int_equal(square_plan(s, 2)->n_regions, 0);
    s->r.request.disable_passes = NULL;
    s->r.request.optimization = TC_OPTIMIZATION_BASIC;
    assert_int_equal(square_plan(s, 2)->n_regions, 0);
}

/* What is over in no time, and what follows from one another, stays in one row. */
static void test_branches_only_where_they_pay(void **state)
{
    square *s = *state;
    request_fetch(&s->r, chain(s->x, 0, 20));
    assert_int_equal(square_plan(s, 2)->n_regions, 0);
    tc_value small = tc_reduce_sum(s->x);
    request_fetch(&s->r, tc_add(tc_tanh(tc_neg(small)), tc_exp(tc_tanh(small))));
    assert_int_equal(square_plan(s, 2)->n_regions, 0);
}

/* Large products have all threads already. */
static void test_branches_not_of_large_kernels(void **state)
{
    square *s = *state;
    tc_value y = tc_placeholder(s->graph, "y", TC_F32, TC_SHAPE(1024, 1024));
    tc_value products = tc_add(tc_matmul(y, y), tc_matmul(y, y, .transpose_a = true));
    request_feed(&s->r, y);
    request_fetch(&s->r, products);
    s->program = compile_ok(s->graph, &s->r, &s->target);
    tc_shape shapes[] = {s->shape, TC_SHAPE(1024, 1024)};
    s->plan = plan_ok(s->program, shapes, &s->target);
    assert_int_equal(s->plan->n_regions, 0);
}

/* Lanes use their own memory over and over: a long branch takes no more of it than a short one. */
static void test_branches_memory_of_lanes(void **state)
{
    square *s = *state;
    request_fetch(&s->r, tc_add(chain(s->x, 0, 3), chain(s->x, 1, 3)));
    size_t bytes = square_plan(s, 2)->arena_bytes;
    s->r.fetches[0] = (tc_edge){tc_add(chain(s->x, 0, 30), chain(s->x, 1, 30)).node, 0};
    const tc_plan *plan = square_plan(s, 2);
    check_lanes(plan);
    assert_int_equal(plan->n_regions, 1);
    assert_true(plan->arena_bytes <= bytes);
}

/* Memory before time: under a budget that only one row of steps meets, it is one row. */
static void test_branches_within_budget(void **state)
{
    square *s = *state;
    request_fetch(&s->r, tc_add(chain(s->x, 0, 4), chain(s->x, 1, 4)));
    s->r.request.disable_passes = "branches";
    size_t serial = square_plan(s, 2)->arena_bytes;
    s->r.request.disable_passes = NULL;
    assert_true(square_plan(s, 2)->arena_bytes > serial);
    tc_plan *plan;
    assert_ok(tc_plan_create(s->program, &s->shape, &s->target.target, serial, &plan));
    assert_int_equal(plan->n_regions, 0);
    assert_true(plan->arena_bytes <= serial);
    for (int32_t i = 0; i < plan->n_steps; i++)
        assert_int_equal(plan->steps[i].region, -1);
    tc_plan_release(plan);
}

/* Queues of a device, at most 4: what is too small to fill it. */
static void test_branches_of_a_device(void **state)
{
    square *s = *state;
    s->target = fake_devices(2, 1);
    tc_value y = tc_mul(s->x, s->x), sum = chain(y, 0, 2);
    request_fetch(&s->r, tc_add(chain(y, 0, 3), chain(y, 1, 3)));
    for (int threads = 1; threads <= 8; threads += 7) {
        const tc_plan *plan = square_plan(s, threads);
        check_lanes(plan);
        assert_int_equal(plan->n_regions, 1);
        assert_int_equal(plan->regions[0].n_lanes, 2);
        assert_int_equal(plan->n_segments, 1);
    }
    for (int i = 1; i < 6; i++)
        sum = tc_add(sum, chain(y, i, 2));
    s->r.request.n_fetches = 0;
    request_fetch(&s->r, sum);
    check_lanes(square_plan(s, 1));
    assert_int_equal(s->plan->regions[0].n_lanes, 4);
    /* As the three products of attention. */
    tc_value products = tc_matmul(tc_matmul(y, y), tc_matmul(y, y, .transpose_a = true));
    s->r.request.n_fetches = 0;
    request_fetch(&s->r, tc_matmul(products, tc_matmul(y, y, .transpose_b = true)));
    check_lanes(square_plan(s, 1));
    assert_int_equal(s->plan->n_regions, 1);
    assert_int_equal(s->plan->regions[0].n_lanes, 3);
    /* Two kernels are over before queues are tied. */
    s->r.request.n_fetches = 0;
    request_fetch(&s->r, tc_mul(tc_matmul(y, y), tc_matmul(y, y, .transpose_a = true)));
    assert_int_equal(square_plan(s, 1)->n_regions, 0);
}

/* What fills the device runs alone. */
static void test_branches_not_of_what_fills_a_device(void **state)
{
    square *s = *state;
    s->target = fake_devices(2, 1);
    tc_value y = tc_placeholder(s->graph, "y", TC_F32, TC_SHAPE(1024, 1024));
    tc_value sum = tc_matmul(y, y);
    for (int i = 0; i < 4; i++)
        sum = tc_add(sum, tc_matmul(y, tc_add(y, tc_constant_scalar(s->graph, TC_F32, i))));
    request_feed(&s->r, y);
    request_fetch(&s->r, sum);
    s->program = compile_ok(s->graph, &s->r, &s->target);
    tc_shape shapes[] = {s->shape, TC_SHAPE(1024, 1024)};
    s->plan = plan_ok(s->program, shapes, &s->target);
    check_lanes(s->plan);
    for (int32_t i = 0; i < s->plan->n_steps; i++)
        if (s->plan->steps[i].kernel && strcmp(s->plan->steps[i].kernel->op, "matmul") == 0)
            assert_int_equal(s->plan->steps[i].region, -1);
}

/* Each device, and the CPU beside them, has regions of its own. */
static void test_branches_of_several_devices(void **state)
{
    square *s = *state;
    s->target = fake_devices(3, 1);
    const char *const names[] = {"cuda:0", "cpu", "cuda:1"};
    tc_value at = s->x;
    bool has[3] = {false};
    for (int i = 0; i < 3; i++) {
        tc_device_push(s->graph, names[i]);
        at = tc_add(chain(at, 0, 4), chain(at, 1, 4));
        tc_device_pop(s->graph);
    }
    request_fetch(&s->r, at);
    const tc_plan *plan = square_plan(s, 2);
    check_lanes(plan);
    for (int32_t i = 0; i < plan->n_regions; i++)
        has[plan->steps[plan->regions[i].first_step].device] = true;
    assert_true(has[0] && has[1] && has[2]);
}

static uint32_t pick(uint64_t *state, uint32_t count)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % count;
}

/* Any graph: plan_ok follows every step, check_lanes looks at what goes on at the same time. */
static void test_branches_of_random_graphs(void **state)
{
    (void)state;
    int regions = 0, of_devices = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        square *s;
        square_setup((void **)&s);
        uint64_t random = seed * 0x9e3779b97f4a7c15u;
        tc_value values[40] = {s->x};
        int n = 1 + (int)pick(&random, 39);
        tc_value v = tc_variable(s->graph, "v", tc_fill(s->graph, TC_F32, s->shape, 1));
        for (int i = 1; i < n; i++) {
            /* Close ancestors make long chains, far ones wide graphs. */
            int near = pick(&random, 2) && i > 3 ? i - 3 : 0;
            tc_value a = values[near + (int)pick(&random, (uint32_t)(i - near))];
            tc_value b = values[pick(&random, (uint32_t)i)];
            switch (pick(&random, 6)) {
            case 0: values[i] = tc_add(a, b); break;
            case 1: values[i] = tc_tanh(a); break;
            case 2: values[i] = tc_reshape(a, s->shape); break;
            case 3: values[i] = tc_matmul(a, v); break;
            default: values[i] = tc_matmul(a, b); break;
            }
        }
        request_fetch(&s->r, values[n - 1]);
        request_fetch(&s->r, values[n / 2]);
        request_target(&s->r, tc_assign_add(v, values[pick(&random, (uint32_t)n)]));
        for (int threads = 2; threads <= 5; threads += 3) {
            const tc_plan *plan = square_plan(s, threads);
            check_lanes(plan);
            regions += plan->n_regions;
        }
        s->target = fake_devices(2, 1);
        s->target.cpu_only = seed % 3 ? "tanh" : NULL;
        const tc_plan *plan = square_plan(s, 1 + (int)seed % 3);
        check_lanes(plan);
        for (int32_t i = 0; i < plan->n_regions; i++)
            of_devices += plan->steps[plan->regions[i].first_step].device != 0;
        square_teardown((void **)&s);
    }
    assert_true(regions > 100);
    assert_true(of_devices > 30);
}

#define SQUARE(name) cmocka_unit_test_setup_teardown(name, square_setup, square_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SQUARE(test_branches_fork_and_join),
        SQUARE(test_branches_are_dealt_out),
        SQUARE(test_branches_only_where_asked_for),
        SQUARE(test_branches_only_where_they_pay),
        SQUARE(test_branches_not_of_large_kernels),
        SQUARE(test_branches_memory_of_lanes),
        SQUARE(test_branches_within_budget),
        SQUARE(test_branches_of_a_device),
        SQUARE(test_branches_not_of_what_fills_a_device),
        SQUARE(test_branches_of_several_devices),
        cmocka_unit_test(test_branches_of_random_graphs),
    };
    return cmocka_run_group_tests_name("branches", tests, NULL, NULL);
}
