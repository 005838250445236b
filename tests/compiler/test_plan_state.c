/* Plans of programs that write variables: what is in place, what is copied, in which order. */
#include "compiler/plan_test.h"

static void test_commit_in_place(void **state)
{
    fixture *f = *state;
    tc_value update = tc_assign_sub(f->v, tc_exp(f->v));
    request_target(&f->r, update);
    request_fetch(&f->r, f->v); /* old */
    request_fetch(&f->r, update);
    tc_plan *plan = plan_of(f);
    assert_true(f->program->writes);
    assert_true(f->program->training);
    assert_int_equal(plan->n_steps, 4);
    assert_int_equal(plan->n_compute, 2);
    assert_int_equal(output_buffer(plan, 2)->place, TC_PLACE_VARIABLE);
    assert_int_equal(input_buffer(plan, 3, 0)->place, TC_PLACE_VARIABLE);
    assert_int_equal(output_buffer(plan, 3)->place, TC_PLACE_OUTPUT);
    assert_int_equal(plan->copied_bytes, 32);
    assert_true(plan->variables[0].written);
}

static void test_update_that_is_read(void **state)
{
    fixture *f = *state;
    tc_value update = tc_assign_add(f->v, tc_exp(f->v));
    request_fetch(&f->r, tc_mul(update, f->v)); /* new times old */
    tc_plan *plan = plan_of(f);
    /* exp, assign_add into the arena, mul; then the copy into the variable. */
    assert_int_equal(plan->n_compute, 3);
    assert_int_equal(plan->n_steps, 4);
    assert_null(plan->steps[3].kernel);
    assert_int_equal(plan->copied_bytes, 16);
}

static void test_view_of_update(void **state)
{
    fixture *f = *state;
    tc_value update = tc_assign_add(f->v, tc_exp(f->v));
    request_fetch(&f->r, tc_reshape(update, TC_SHAPE(2, 2)));
    request_fetch(&f->r, update);
    (void)plan_of(f);
}

static void test_chained_writes(void **state)
{
    fixture *f = *state;
    tc_value first = tc_assign_add(f->v, tc_exp(f->w));
    tc_value second = tc_assign(f->v, tc_neg(f->v)); /* reads the old content */
    tc_value third = tc_assign_sub(f->v, f->w);
    request_fetch(&f->r, first);
    request_fetch(&f->r, second);
    request_target(&f->r, third);
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_steps - plan->n_compute, 5);
    assert_int_equal(plan->copied_bytes, 32);
    /* The resource of the second write is the output of the first, and so on. */
    const tc_graph *graph = f->program->graph;
    const tc_node *last = tc_graph_node_at(graph, f->program->targets[0]);
    const tc_node *middle = tc_graph_node_at(graph, last->inputs[0].node);
    assert_string_equal(middle->attrs.op->name, "assign");
    assert_string_equal(tc_graph_node_at(graph, middle->inputs[0].node)->attrs.op->name,
                        "assign_add");
}

/* Of three writes the output of the second is read: the first two compute in the arena, the third
 * commits. */
static void test_chain_read_in_the_middle(void **state)
{
    fixture *f = *state;
    tc_value first = tc_assign_add(f->v, f->w);
    tc_value second = tc_assign_add(f->v, f->w);
    tc_value third = tc_assign_add(f->v, f->w);
    request_fetch(&f->r, tc_exp(second));
    request_fetch(&f->r, first);
    request_target(&f->r, third);
    tc_plan *plan = plan_of(f);
    assert_int_equal(kernels(plan), 4);
    assert_int_equal(plan->n_compute, 3);
    assert_int_equal(plan->n_steps, 5); /* copy of the second, then the third in place */
    assert_int_equal(plan->copied_bytes, 16);
}

static void test_swap(void **state)
{
    fixture *f = *state;
    request_target(&f->r, tc_assign(f->v, f->w));
    request_target(&f->r, tc_assign(f->w, f->v));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->copied_bytes, 16); /* one of the two must be saved */
    assert_int_equal(plan->n_steps, 3);
    assert_int_equal(plan->n_compute, 1);
}

static void test_commit_reads_itself(void **state)
{
    fixture *f = *state;
    request_target(&f->r, tc_assign_add(f->v, f->v));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->copied_bytes, 16);
}

/* A view shows a variable's memory as well. */
static void test_commit_reads_a_view(void **state)
{
    fixture *f = *state;
    tc_value m = tc_variable(f->graph, "m", tc_fill(f->graph, TC_F32, TC_SHAPE(2, 2), 0));
    request_target(&f->r, tc_assign_add(f->v, f->w));
    request_target(&f->r, tc_assign_add(f->w, f->v));
    request_target(&f->r, tc_assign(m, tc_reshape(f->v, TC_SHAPE(2, 2))));
    (void)plan_of(f);
}

/* A copy of the weights is taken before they change, whatever was built first. */
static void test_reader_commits_first(void **state)
{
    fixture *f = *state;
    request_target(&f->r, tc_assign_sub(f->w, tc_exp(f->w)));
    request_target(&f->r, tc_assign(f->v, f->w));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->copied_bytes, 0);
    assert_string_equal(plan->steps[1].kernel->op, "assign");
}

static void test_optimizer_in_place(void **state)
{
    fixture *f = *state;
    tc_value m = vector_variable(f->graph, "m"), s = vector_variable(f->graph, "s");
    tc_value lr = tc_constant_scalar(f->graph, TC_F32, 0.1);
    tc_value step = tc_variable(f->graph, "step", tc_constant_scalar(f->graph, TC_I64, 0));
    tc_value count = tc_assign_add(step, tc_constant_scalar(f->graph, TC_I64, 1));
    tc_value update = tc_apply_adam(&((tc_apply_adam_inputs){f->v, m, s, tc_neg(f->v), lr, count}));
    request_target(&f->r, update);
    tc_plan *plan = plan_of(f);
    /* The new step is read by the update, so it is computed before and copied; the rest is in
     * place. */
    assert_int_equal(plan->copied_bytes, 8);
    assert_int_equal(plan->n_steps - plan->n_compute, 2);
    const tc_step *adam = NULL;
    for (int32_t i = plan->n_compute; i < plan->n_steps; i++)
        if (plan->steps[i].kernel)
            adam = &plan->steps[i];
    assert_non_null(adam);
    assert_string_equal(adam->kernel->op, "apply_adam");
    for (int32_t i = 0; i < 3; i++)
        assert_int_equal(plan->buffers[plan->operands[adam->first_output + i]].place,
                         TC_PLACE_VARIABLE);
}

static void test_inference_does_not_write(void **state)
{
    fixture *f = *state;
    (void)tc_assign(f->v, tc_exp(f->v));
    request_fetch(&f->r, tc_mul(f->x, f->v));
    tc_plan *plan = plan_of(f);
    assert_false(f->program->writes);
    assert_int_equal(plan->n_compute, plan->n_steps);
    assert_false(plan->variables[0].written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commit_in_place),          TEST(test_update_that_is_read),
        TEST(test_view_of_update),           TEST(test_chained_writes),
        TEST(test_chain_read_in_the_middle), TEST(test_swap),
        TEST(test_commit_reads_itself),      TEST(test_commit_reads_a_view),
        TEST(test_reader_commits_first),     TEST(test_optimizer_in_place),
        TEST(test_inference_does_not_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
