/* Independent parts of a graph, which threads can run beside each other. */
#include <stdio.h>

#include "bound.h"

/* What one branch does to a square matrix `x`, `length` times over. */
typedef struct branch {
    int64_t size;
    int length;
    int count; /* branches */
    bool products;
} branch;

static tc_value build_branch(const branch *b, tc_value x, int index)
{
    x = tc_mul(x, tc_constant_scalar(x.graph, TC_F32, 1 + index)); /* equal ones would be merged */
    for (int i = 0; i < b->length; i++) {
        char name[32];
        snprintf(name, sizeof name, "w%d_%d", index, i);
        if (b->products)
            x = tc_matmul(x,
                          tc_variable(x.graph, name,
                                      tc_random_uniform(x.graph, TC_F32, TC_SHAPE(b->size, b->size),
                                                        .low = -0.1, .high = TC_SOME(0.1))));
        x = tc_tanh(x);
    }
    return x;
}

static tc_status create_branches(const workload *w, const tc_session_options *options, void **state)
{
    const branch *what = w->detail;
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_shape shape = TC_SHAPE(what->size, what->size);
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, shape);
    tc_value sum = build_branch(what, x, 0);
    for (int i = 1; i < what->count; i++)
        sum = tc_add(sum, build_branch(what, x, i));
    TC_TRY(random_floats(shape, &b->inputs[0]));
    return bound_compile(b, options, TC_FETCHES(x), sum, TC_NO_VALUE);
}

static const branch products_2 = {80, 16, 2, true};
static const branch products_4 = {64, 4, 4, true};
static const branch elements_2 = {48, 16, 2, false};

static const workload rows[] = {
    {"branches", "2 branches of 16 products 80x80 and tanh", create_branches, bound_run,
     bound_destroy, 50, 0, &products_2},
    {"branches", "4 branches of 4 products 64x64 and tanh", create_branches, bound_run,
     bound_destroy, 50, 0, &products_4},
    {"branches", "2 branches of 16 tanh of 48x48", create_branches, bound_run, bound_destroy, 50, 0,
     &elements_2},
};

const workload_table branch_workloads = {rows, sizeof rows / sizeof rows[0]};
