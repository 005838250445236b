/* The order of kernels: less memory alive, and everything still after what it waits for. */
#include "compiler/plan_test.h"

#include "compiler/planner.h"

static tc_plan *plan_without(fixture *f, const char *disable_passes)
{
    f->r.request.disable_passes = disable_passes;
    return plan_of(f);
}

/* Passes that would make one kernel of several, or other kernels. */
#define ALWAYS(name)
#define BASIC(name)
#define FULL(name)                name ","
#define TC_PASS(name, level, doc) level(#name)
static const char apart[] =
#include "compiler/passes.def"
    "cse,branches";
static const char apart_as_built[] =
#include "compiler/passes.def"
    "cse,branches,low_peak";
#undef TC_PASS

/* Wide values built first and reduced last: of eight, one needs to be alive. */
static void test_wide_values(void **state)
{
    fixture *f = *state;
    tc_value wide[8], sum = tc_constant_scalar(f->graph, TC_F32, 0);
    for (int i = 0; i < 8; i++)
        wide[i] = tc_matmul_at(
            TC_HERE, tc_reshape(f->x, TC_SHAPE(32, 1)),
            tc_reshape(tc_mul(f->x, tc_constant_scalar(f->graph, TC_F32, i + 2)), TC_SHAPE(1, 32)),
            NULL);
    for (int i = 0; i < 8; i++)
        sum = tc_add(sum, tc_reduce_max(tc_softmax(wide[i])));
    request_fetch(&f->r, sum);
    size_t built = plan_without(f, apart_as_built)->live_bytes;
    size_t ordered = plan_without(f, apart)->live_bytes;
    print_message("eight wide values: %zu bytes as built, %zu ordered\n", built, ordered);
    assert_true(built >= 8 * 32 * 32 * 4);
    assert_true(ordered <= 3 * 32 * 32 * 4);
}

/* What is best as it was built stays. */
static void test_chains_stay(void **state)
{
    fixture *f = *state;
    tc_value y = f->x;
    for (int i = 0; i < 10; i++)
        y = tc_softmax(tc_mul(y, f->v));
    request_fetch(&f->r, y);
    tc_plan *plan = plan_without(f, apart);
    for (int32_t i = 1; i < plan->n_compute; i++)
        assert_true(plan->steps[i].node > plan->steps[i - 1].node);
}

/* Never more memory than as built, on random graphs of trees, chains and joins. */
static void test_never_worse(void **state)
{
    fixture *f = *state;
    uint64_t random = 88172645463325252u;
    int better = 0;
    for (int round = 0; round < 40; round++) {
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(8, 4)), values[60] = {x};
        test_request r = {0};
        request_feed(&r, x);
        for (int i = 1; i < 60; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            tc_value a = values[(random >> 33) % (uint64_t)i];
            tc_value b = values[(random >> 43) % (uint64_t)i];
            switch ((random >> 53) % 4) {
            case 0: values[i] = tc_softmax(a); break;
            case 1: values[i] = tc_mul(a, b); break;
            case 2:
                values[i] = tc_mul(tc_reduce_sum(tc_matmul(tc_reshape(a, TC_SHAPE(32, 1)),
                                                           tc_reshape(b, TC_SHAPE(1, 32)))),
                                   a);
                break;
            default: values[i] = tc_add(tc_exp(a), b);
            }
        }
        request_fetch(&r, values[59]);
        request_fetch(&r, values[40]);
        assert_ok(tc_graph_status(g));
        size_t live[2];
        for (int ordered = 0; ordered < 2; ordered++) {
            r.request.disable_passes = ordered ? apart : apart_as_built;
            tc_program *program = compile_ok(g, &r, &f->target);
            tc_plan *plan = plan_ok(program, batch_of_8(), &f->target);
            live[ordered] = plan->live_bytes;
            tc_plan_release(plan);
            tc_program_release(program);
        }
        assert_true(live[1] <= live[0]);
        better += live[1] < live[0];
        tc_graph_release(g);
    }
    print_message("%d of 40 random graphs need less memory\n", better);
    assert_true(better >= 3);
}

static int32_t step_of(const tc_plan *plan, const char *name)
{
    for (int32_t i = 0; i < plan->n_compute; i++)
        if (plan->steps[i].node >= 0 &&
            strcmp(tc_graph_node_at(plan->program->graph, plan->steps[i].node)->name, name) == 0)
            return i;
    fail_msg("there is no step '%s'", name);
    return -1;
}

/* Control dependencies hold, through nodes without steps too, although another order needs less
 * memory. */
static void test_controls(void **state)
{
    fixture *f = *state;
    tc_value wide[4], last[4];
    for (int i = 0; i < 4; i++) {
        tc_value row = tc_mul(f->x, tc_constant_scalar(f->graph, TC_F32, i + 2));
        wide[i] = tc_matmul_at(
            TC_HERE, tc_reshape(row, TC_SHAPE(32, 1)), tc_reshape(f->x, TC_SHAPE(1, 32)),
            &(tc_matmul_options){sizeof(tc_matmul_options),
                                 .name = (const char *[]){"w0", "w1", "w2", "w3"}[i]});
    }
    tc_value all = tc_group(f->graph, wide, 4);
    tc_control_push(f->graph, &all, 1);
    for (int i = 0; i < 4; i++)
        last[i] = tc_softmax_at(
            TC_HERE, wide[i],
            &(tc_softmax_options){sizeof(tc_softmax_options),
                                  .name = (const char *[]){"s0", "s1", "s2", "s3"}[i]});
    tc_control_pop(f->graph);
    for (int i = 0; i < 4; i++)
        request_fetch(&f->r, tc_reduce_max(last[i]));
    tc_plan *plan = plan_without(f, apart);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            const char soft[] = {'s', (char)('0' + i), 0}, matmul[] = {'w', (char)('0' + k), 0};
            assert_true(step_of(plan, soft) > step_of(plan, matmul));
        }
}

/* Writes keep their order, and commits stay behind everything that computes. */
static void test_writes(void **state)
{
    fixture *f = *state;
    tc_value first = tc_assign_add(f->v, tc_exp(f->w));
    tc_value second = tc_assign_add(f->v, f->w);
    request_fetch(&f->r, tc_softmax(tc_add(second, first)));
    request_target(&f->r, tc_assign(f->w, tc_softmax(f->v)));
    (void)plan_without(f, apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_wide_values), TEST(test_chains_stay), TEST(test_never_worse),
        TEST(test_controls),    TEST(test_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
