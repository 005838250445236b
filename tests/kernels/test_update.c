/* Twenty steps of each optimizer against the formulas in double, on every instruction set. */
#include "kernels/node_run.h"

#include <math.h>

#include <tensorc/ops/state.h>

#include "core/dtype.h"

enum { COUNT = 40007, STEPS = 20 }; /* more than two parallel blocks and a remainder */

typedef struct optimizer {
    const char *name;
    int slots;
    tc_value (*build)(const tc_value *in);
    /* One element: parameter, slots, gradient, learning rate, step. */
    void (*step)(double *p, double *slot, double g, double rate, int t);
} optimizer;

static tc_value build_sgd(const tc_value *in)
{
    return tc_apply_sgd(in[0], in[1], in[2], .weight_decay = 0.02);
}

static void step_sgd(double *p, double *slot, double g, double rate, int t)
{
    *p -= rate * (g + 0.02 * *p);
}

static tc_value build_momentum(const tc_value *in)
{
    return tc_apply_momentum(in[0], in[1], in[2], in[3], .weight_decay = 0.02);
}

static void step_momentum(double *p, double *slot, double g, double rate, int t)
{
    slot[0] = 0.9 * slot[0] + g + 0.02 * *p;
    *p -= rate * slot[0];
}

static tc_value build_nesterov(const tc_value *in)
{
    return tc_apply_momentum(in[0], in[1], in[2], in[3], .momentum = TC_SOME(0.8),
                             .nesterov = true);
}

static void step_nesterov(double *p, double *slot, double g, double rate, int t)
{
    slot[0] = 0.8 * slot[0] + g;
    *p -= rate * (g + 0.8 * slot[0]);
}

static tc_value build_adam(const tc_value *in)
{
    const tc_apply_adam_inputs inputs = {in[0], in[1], in[2], in[3], in[4], in[5]};
    return tc_apply_adam(&inputs, .beta1 = TC_SOME(0.85), .beta2 = TC_SOME(0.99),
                         .weight_decay = 0.1);
}

static void step_adam(double *p, double *slot, double g, double rate, int t)
{
    *p *= 1 - rate * 0.1;
    slot[0] = 0.85 * slot[0] + 0.15 * g;
    slot[1] = 0.99 * slot[1] + 0.01 * g * g;
    double mean = slot[0] / (1 - pow(0.85, t)), square = slot[1] / (1 - pow(0.99, t));
    *p -= rate * mean / (sqrt(square) + 1e-8);
}

static const optimizer optimizers[] = {
    {"sgd", 0, build_sgd, step_sgd},
    {"momentum", 1, build_momentum, step_momentum},
    {"nesterov", 1, build_nesterov, step_nesterov},
    {"adam", 2, build_adam, step_adam},
};

/* A gradient that changes from step to step, as the dtype holds it; zero everywhere for some. */
static double gradient_at(tc_dtype dtype, int i, int t)
{
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, i % 11 == 0 ? 0 : sin(0.37 * i + t));
    return tc_dtype_load(dtype, &element);
}

typedef struct buffers {
    char *p, *g, *slot[2];
    size_t size, slot_size; /* of elements */
} buffers;

static buffers buffers_create(tc_dtype dtype, tc_dtype slot)
{
    buffers b = {.size = tc_dtype_size(dtype), .slot_size = tc_dtype_size(slot)};
    b.p = malloc(COUNT * b.size);
    b.g = malloc(COUNT * b.size);
    for (int s = 0; s < 2; s++)
        b.slot[s] = calloc(COUNT, b.slot_size);
    for (size_t i = 0; i < COUNT; i++)
        tc_dtype_store(dtype, b.p + i * b.size, cos((double)i));
    return b;
}

static void buffers_free(buffers *b)
{
    free(b->p), free(b->g), free(b->slot[0]), free(b->slot[1]);
}

static void run_step_when(const optimizer *o, tc_value update, const node_run *how,
                          const buffers *from, const buffers *to, const void *rate,
                          const int64_t *t, const bool *when)
{
    const void *inputs[8];
    void *outputs[3];
    int n = 0;
    inputs[n] = from->p, outputs[n++] = to->p;
    for (int s = 0; s < o->slots; s++)
        inputs[n] = from->slot[s], outputs[n++] = to->slot[s];
    inputs[n++] = from->g, inputs[n++] = rate;
    if (o->slots == 2)
        inputs[n++] = t;
    inputs[n] = when;
    node_compute(update, how, inputs, outputs);
}

static void run_step(const optimizer *o, tc_value update, const node_run *how, const buffers *from,
                     const buffers *to, const void *rate, const int64_t *t)
{
    run_step_when(o, update, how, from, to, rate, t, NULL);
}

static tc_value build(tc_graph *g, const optimizer *o, tc_dtype dtype, tc_dtype slot, tc_dtype rate)
{
    tc_value in[6];
    int n = 0;
    in[n++] = tc_variable(g, "p", tc_zeros(g, dtype, TC_SHAPE(COUNT)));
    for (int s = 0; s < o->slots; s++)
        in[n++] = tc_variable(g, s ? "v" : "m", tc_zeros(g, slot, TC_SHAPE(COUNT)));
    in[n++] = tc_placeholder(g, "g", dtype, TC_SHAPE(COUNT));
    in[n++] = tc_placeholder(g, "rate", rate, TC_SCALAR);
    in[n++] = tc_placeholder(g, "t", TC_I64, TC_SCALAR);
    return o->build(in);
}

static void check_optimizer(const optimizer *o, tc_dtype dtype, double tolerance)
{
    const tc_dtype slot = dtype == TC_F64 ? TC_F64 : TC_F32;
    tc_graph *g = tc_graph_create();
    tc_value update = build(g, o, dtype, slot, TC_F64);
    const double rate = 0.05;
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa, .threads = 1}, shared = {.isa = isa, .threads = 3};
        buffers in = buffers_create(dtype, slot), out = buffers_create(dtype, slot);
        double *p = malloc(COUNT * sizeof *p), *slots = calloc(COUNT * 2, sizeof *slots);
        for (size_t i = 0; i < COUNT; i++)
            p[i] = tc_dtype_load(dtype, in.p + i * in.size);
        for (int64_t t = 1; t <= STEPS; t++) {
            for (int i = 0; i < COUNT; i++) {
                double gradient = gradient_at(dtype, i, (int)t);
                tc_dtype_store(dtype, in.g + (size_t)i * in.size, gradient);
                /* A 16-bit parameter is rounded in each step; the reference follows it. */
                if (in.size == 2)
                    p[i] = tc_dtype_load(dtype, in.p + (size_t)i * in.size);
                o->step(&p[i], &slots[2 * i], gradient, rate, (int)t);
            }
            run_step(o, update, &how, &in, &out, &rate, &t);
            run_step(o, update, &shared, &in, &in, &rate, &t); /* in place */
            assert_memory_equal(in.p, out.p, COUNT * in.size);
            for (int s = 0; s < o->slots; s++)
                assert_memory_equal(in.slot[s], out.slot[s], COUNT * in.slot_size);
            for (size_t i = 0; i < COUNT; i++) {
                double got = tc_dtype_load(dtype, in.p + i * in.size);
                if (!(fabs(got - p[i]) <= tolerance * (1 + fabs(p[i]))))
                    fail_msg("%s of %s on %s, step %d, element %d: %.17g instead of %.17g", o->name,
                             tc_dtype_name(dtype), tc_isa_name(isa), (int)t, (int)i, got, p[i]);
            }
        }
        free(p);
        free(slots);
        buffers_free(&in);
        buffers_free(&out);
    }
    tc_graph_release(g);
}

static void test_update_optimizers(void **state)
{
    for (size_t i = 0; i < sizeof optimizers / sizeof optimizers[0]; i++) {
        check_optimizer(&optimizers[i], TC_F32, 2e-6);
        check_optimizer(&optimizers[i], TC_F64, 1e-14);
        check_optimizer(&optimizers[i], TC_F16, 0x1p-11);
        check_optimizer(&optimizers[i], TC_BF16, 0x1p-8);
    }
}

/* The operator and inputs of `update` with another last one, which says whether it happens. */
static tc_value with_when(tc_value update, tc_value when)
{
    tc_value inputs[8];
    int32_t n = tc_node_input_count(update);
    for (int32_t i = 0; i < n; i++)
        inputs[i] = tc_node_input(update, i);
    inputs[n - 1] = when;
    return tc_node_build(update.graph, &(const tc_node_spec){.op = tc_value_op(update),
                                                             .at = TC_HERE,
                                                             .inputs = inputs,
                                                             .n_inputs = (size_t)n});
}

static void check_when(const optimizer *o, tc_dtype dtype)
{
    const tc_dtype slot = dtype == TC_F64 ? TC_F64 : TC_F32;
    tc_graph *g = tc_graph_create();
    tc_value always = build(g, o, dtype, slot, TC_F64);
    tc_value update = with_when(always, tc_placeholder(g, "when", TC_BOOL, TC_SCALAR));
    const double rate = 0.05;
    const int64_t t = 1;
    const bool yes = true, no = false;
    always = with_when(always, tc_no_value()); /* of the same attributes */
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa, .threads = 2};
        buffers in = buffers_create(dtype, slot), out = buffers_create(dtype, slot),
                expected = buffers_create(dtype, slot);
        for (int i = 0; i < COUNT; i++)
            tc_dtype_store(dtype, in.g + (size_t)i * in.size, i % 2 ? NAN : INFINITY);
        memset(out.p, 0x55, COUNT * out.size);
        memset(out.slot[0], 0x55, COUNT * out.slot_size);
        run_step_when(o, update, &how, &in, &out, &rate, &t, &no);
        assert_memory_equal(in.p, out.p, COUNT * in.size);
        for (int s = 0; s < o->slots; s++)
            assert_memory_equal(in.slot[s], out.slot[s], COUNT * in.slot_size);
        run_step_when(o, update, &how, &in, &in, &rate, &t, &no);
        assert_memory_equal(in.p, out.p, COUNT * in.size);
        for (int i = 0; i < COUNT; i++)
            tc_dtype_store(dtype, in.g + (size_t)i * in.size, gradient_at(dtype, i, 1));
        run_step(o, always, &how, &in, &expected, &rate, &t);
        run_step_when(o, update, &how, &in, &out, &rate, &t, &yes);
        assert_memory_equal(expected.p, out.p, COUNT * in.size);
        assert_memory_not_equal(in.p, out.p, COUNT * in.size);
        buffers_free(&in);
        buffers_free(&out);
        buffers_free(&expected);
    }
    tc_graph_release(g);
}

static void test_update_when(void **state)
{
    static const tc_dtype dtypes[] = {TC_F32, TC_F64, TC_F16, TC_BF16};
    (void)state;
    for (size_t i = 0; i < sizeof optimizers / sizeof optimizers[0]; i++)
        for (size_t k = 0; k < sizeof dtypes / sizeof dtypes[0]; k++)
            check_when(&optimizers[i], dtypes[k]);
}

/* The learning rate may be f32, and a rate of zero changes nothing but the slots. */
static void test_update_learning_rate(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value update = build(g, &optimizers[3], TC_F32, TC_F32, TC_F32);
    const node_run how = {.isa = TC_ISA_SCALAR};
    buffers in = buffers_create(TC_F32, TC_F32), out = buffers_create(TC_F32, TC_F32);
    for (int i = 0; i < COUNT; i++)
        tc_dtype_store(TC_F32, in.g + (size_t)i * in.size, gradient_at(TC_F32, i, 1));
    const float none = 0, some = 0.25f;
    const int64_t first = 1;
    run_step(&optimizers[3], update, &how, &in, &out, &none, &first);
    assert_memory_equal(in.p, out.p, COUNT * in.size);
    assert_memory_not_equal(in.slot[0], out.slot[0], COUNT * in.size);
    /* The first step of Adam has the length of the rate, whatever the gradient. */
    run_step(&optimizers[3], update, &how, &in, &out, &some, &first);
    for (int i = 1; i < 10; i++) {
        float p = ((const float *)in.p)[i], q = ((const float *)out.p)[i];
        double sign = gradient_at(TC_F32, i, 1) > 0 ? 1 : -1;
        assert_true(fabs(q - (0.975 * p - 0.25 * sign)) < 1e-6);
    }
    buffers_free(&in);
    buffers_free(&out);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_update_optimizers),
        cmocka_unit_test(test_update_when),
        cmocka_unit_test(test_update_learning_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
