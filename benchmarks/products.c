/* Matrix products. */
#include "bound.h"

typedef struct product {
    int64_t m, n, k;
} product;

static tc_status create(const workload *w, const tc_session_options *options, void **state)
{
    const product *p = w->detail;
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, TC_SHAPE(p->m, p->k));
    tc_value y = tc_placeholder(b->graph, "y", TC_F32, TC_SHAPE(p->k, p->n));
    TC_TRY(random_floats(TC_SHAPE(p->m, p->k), &b->inputs[0]));
    TC_TRY(random_floats(TC_SHAPE(p->k, p->n), &b->inputs[1]));
    return bound_compile(b, options, TC_FETCHES(x, y), tc_matmul(x, y), TC_NO_VALUE);
}

static const product sizes[] = {{1024, 1024, 1024}, {2048, 2048, 2048}, {64, 10, 784},
                                {64, 256, 784},     {1, 1000, 2048},    {32, 512, 512},
                                {128, 768, 3072}};

#define PRODUCT(name, index)                                                              \
    {                                                                                     \
        "operators", "sgemm " name, create, bound_run, bound_destroy, 1, 0, &sizes[index] \
    }

static const workload rows[] = {
    PRODUCT("M1024 N1024 K1024", 0), PRODUCT("M2048 N2048 K2048", 1), PRODUCT("M64 N10 K784", 2),
    PRODUCT("M64 N256 K784", 3),     PRODUCT("M1 N1000 K2048", 4),    PRODUCT("M32 N512 K512", 5),
    PRODUCT("M128 N768 K3072", 6),
};

const workload_table product_workloads = {rows, sizeof rows / sizeof rows[0]};
