/* Slices, splits and joins that take no step: ranges of the memory of others. */
#include "compiler/plan_test.h"

static tc_ints ints(const int64_t *data, size_t count)
{
    return (tc_ints){data, count};
}

static tc_value rows(tc_value x, int64_t begin, int64_t end)
{
    return tc_slice_at(TC_HERE, x, ints(&begin, 1), ints(&end, 1), NULL);
}

static tc_value columns(tc_value x, int64_t begin, int64_t end)
{
    const int64_t axis = 1;
    return tc_slice_at(TC_HERE, x, ints(&begin, 1), ints(&end, 1),
                       &(tc_slice_options){sizeof(tc_slice_options), .axes = ints(&axis, 1)});
}

static int aliased_setup(void **state)
{
    (void)setup(state);
    fixture *f = *state;
    f->r.request.disable_passes = NULL;
    f->x = tc_placeholder(f->graph, "rows", TC_F32, TC_SHAPE(8, 4));
    request_feed(&f->r, f->x);
    return 0;
}

static tc_plan *plan_aliased(fixture *f)
{
    const tc_shape shapes[] = {TC_SHAPE(8, 4), TC_SHAPE(8, 4)};
    assert_ok(tc_graph_status(f->graph));
    tc_plan_release(f->plan);
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &f->r, &f->target);
    return f->plan = plan_ok(f->program, shapes, &f->target);
}

static int count_kernels_of(const tc_plan *plan, const char *op)
{
    int count = 0;
    for (int32_t i = 0; i < plan->n_steps; i++)
        count += plan->steps[i].kernel && strcmp(plan->steps[i].kernel->op, op) == 0;
    return count;
}

static void test_rows_of_a_feed(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_exp(rows(f->x, 2, 5)));
    tc_plan *plan = plan_aliased(f);
    assert_int_equal(plan->n_steps, 1);
    const tc_buffer *x = input_buffer(plan, 0, 0);
    assert_int_equal(x->place, TC_PLACE_FEED);
    assert_int_equal(x->offset, 32);
    assert_int_equal(x->bytes, 48);
    assert_int_equal(plan->arena_bytes, 0);
    /* The same with the pass switched off copies. */
    f->r.request.disable_passes = "alias";
    assert_int_equal(count_kernels_of(plan_aliased(f), "slice"), 1);
}

static void test_rows_of_rows(void **state)
{
    fixture *f = *state;
    tc_value inner = rows(tc_reshape(rows(f->x, 2, 6), TC_SHAPE(2, 8)), 1, 2);
    request_fetch(&f->r, tc_exp(tc_reshape(inner, TC_SHAPE(8))));
    tc_plan *plan = plan_aliased(f);
    assert_int_equal(plan->n_steps, 1);
    assert_int_equal(input_buffer(plan, 0, 0)->offset, 64);
}

static void test_what_is_no_range(void **state)
{
    fixture *f = *state;
    const int64_t begin = 0, end = 8, stride = 2, last = -1;
    request_fetch(&f->r, tc_exp(columns(f->x, 1, 3)));
    request_fetch(&f->r, tc_exp(tc_slice_at(TC_HERE, f->x, ints(&begin, 1), ints(&end, 1),
                                            &(tc_slice_options){sizeof(tc_slice_options),
                                                                .strides = ints(&stride, 1)})));
    request_fetch(&f->r, tc_exp(tc_slice_at(TC_HERE, f->x, ints(&last, 1), ints(&begin, 1),
                                            &(tc_slice_options){sizeof(tc_slice_options),
                                                                .strides = ints(&last, 1)})));
    assert_int_equal(count_kernels_of(plan_aliased(f), "slice"), 3);
}

/* One row, and of that some columns, is a range. */
static void test_part_of_a_row(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_exp(columns(rows(f->x, 3, 4), 1, 3)));
    tc_plan *plan = plan_aliased(f);
    assert_int_equal(plan->n_steps, 1);
    assert_int_equal(input_buffer(plan, 0, 0)->offset, 3 * 16 + 4);
    assert_int_equal(input_buffer(plan, 0, 0)->bytes, 8);
}

static void test_split(void **state)
{
    fixture *f = *state;
    tc_value parts = tc_split(tc_exp(f->x), 0, 2);
    request_fetch(&f->r, tc_neg(parts));
    request_fetch(&f->r, tc_sqrt(tc_output(parts, 1)));
    tc_plan *plan = plan_aliased(f);
    assert_int_equal(count_kernels_of(plan, "split"), 0);
    assert_int_equal(plan->n_steps, 3);
    assert_int_equal(plan->arena_bytes, 128);
    for (int32_t i = 1; i < 3; i++) {
        bool first = strcmp(plan->steps[i].kernel->op, "neg") == 0;
        assert_int_equal(input_buffer(plan, i, 0)->offset, first ? 0 : 64);
    }
}

static void test_join_into_the_output(void **state)
{
    fixture *f = *state;
    const tc_value parts[] = {tc_exp(f->x), tc_neg(f->x)};
    request_fetch(&f->r, tc_concat(parts, 2, 0));
    tc_plan *plan = plan_aliased(f);
    assert_int_equal(plan->n_steps, 2);
    assert_int_equal(plan->arena_bytes, 0);
    for (int32_t i = 0; i < 2; i++)
        assert_int_equal(output_buffer(plan, i)->place, TC_PLACE_OUTPUT);
    assert_int_equal(output_buffer(plan, 0)->offset + output_buffer(plan, 1)->offset, 128);
}

static void test_stack_of_stacks(void **state)
{
    fixture *f = *state;
    const tc_value inner[] = {tc_exp(f->x), tc_neg(f->x)};
    tc_value both = tc_reshape(tc_stack(inner, 2, 0), TC_SHAPE(16, 4));
    const tc_value outer[] = {tc_sqrt(f->x), both};
    tc_value all = tc_concat(outer, 2, 0);
    request_fetch(&f->r, tc_reduce_sum(tc_mul(all, all)));
    request_fetch(&f->r, tc_tanh(inner[0]));
    assert_int_equal(count_kernels_of(plan_aliased(f), "concat"), 0);
}

/* What exists, or is joined twice, is copied by the kernel. */
static void test_join_of_what_exists(void **state)
{
    fixture *f = *state;
    tc_value y = tc_exp(f->x);
    const tc_value with_feed[] = {y, f->x}, twice[] = {y, y};
    request_fetch(&f->r, tc_concat(with_feed, 2, 0));
    request_fetch(&f->r, tc_concat(twice, 2, 0));
    assert_int_equal(count_kernels_of(plan_aliased(f), "concat"), 2);
}

/* A part that is read after an element-wise reader of it must not be overwritten by that reader. */
static void test_parts_are_kept(void **state)
{
    fixture *f = *state;
    tc_value a = tc_exp(f->x);
    const tc_value parts[] = {a, tc_neg(a)};
    tc_value joined = tc_concat(parts, 2, 0);
    request_fetch(&f->r, tc_sqrt(tc_tanh(a)));
    request_fetch(&f->r, tc_reduce_sum(tc_mul(joined, tc_tanh(joined))));
    (void)plan_aliased(f);
}

/* Ranges of a variable that this run updates show its old content. */
static void test_rows_of_a_variable(void **state)
{
    fixture *f = *state;
    tc_value half = tc_variable(f->graph, "half", tc_fill(f->graph, TC_F32, TC_SHAPE(2), 1));
    request_target(&f->r, tc_assign_add(f->v, f->w));
    request_target(&f->r, tc_assign(half, rows(f->v, 1, 3)));
    request_target(&f->r, tc_assign_add(f->w, f->v));
    request_fetch(&f->r, tc_exp(rows(f->v, 2, 4)));
    request_fetch(&f->r, rows(f->v, 0, 1));
    assert_int_equal(count_kernels_of(plan_aliased(f), "slice"), 0);
}

/* A row that is needed late does not keep all of a large value alive. */
static void test_small_rows_are_copied(void **state)
{
    fixture *f = *state;
    tc_value large = tc_exp(f->x);
    tc_value row = rows(large, 1, 2), late = tc_reduce_sum(large);
    for (int i = 0; i < 4; i++)
        late = tc_sqrt(tc_tanh(late));
    request_fetch(&f->r, tc_add(row, late));
    tc_plan *plan = plan_aliased(f);
    assert_int_equal(count_kernels_of(plan, "slice"), 1);
    assert_true(plan->arena_bytes >= 128);
}

static void test_empty_parts(void **state)
{
    fixture *f = *state;
    const tc_value parts[] = {tc_exp(rows(f->x, 3, 3)), tc_neg(f->x)};
    request_fetch(&f->r, tc_concat(parts, 2, 0));
    request_fetch(&f->r, tc_exp(rows(tc_neg(f->x), 9, 12)));
    (void)plan_aliased(f);
}

#define ALIAS_TEST(name) cmocka_unit_test_setup_teardown(name, aliased_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALIAS_TEST(test_rows_of_a_feed),
        ALIAS_TEST(test_rows_of_rows),
        ALIAS_TEST(test_what_is_no_range),
        ALIAS_TEST(test_part_of_a_row),
        ALIAS_TEST(test_split),
        ALIAS_TEST(test_join_into_the_output),
        ALIAS_TEST(test_stack_of_stacks),
        ALIAS_TEST(test_join_of_what_exists),
        ALIAS_TEST(test_parts_are_kept),
        ALIAS_TEST(test_rows_of_a_variable),
        ALIAS_TEST(test_small_rows_are_copied),
        ALIAS_TEST(test_empty_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
