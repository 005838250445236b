/* What the gradients of sums, means and products need. */
#include <string.h>

#include "base/alloc.h"
#include "core/dtype.h"
#include "core/float16.h"
#include "core/shape.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/reduce_plan.h"

/*
 * reduce_expand: y [kept, width] repeated along the reduced dimensions.
 */

/* Elements that are worth a task of their own; bytes that are repeated while they are in cache. */
#define UNIT_ELEMENTS (64 * 1024)
#define REPEAT_BYTES  4096

typedef struct expand_job {
    const tc_reduce_plan *plan;
    const char *y;
    char *x;
} expand_job;

/* to[i] = from[i] / divisor, rounded once. */
static void divide(tc_dtype dtype, const void *from, int64_t count, double divisor, void *to)
{
#define EACH(T, LOAD, STORE)                       \
    do {                                           \
        const T *a = from;                         \
        T *b = to;                                 \
        for (int64_t i = 0; i < count; i++)        \
            b[i] = (T)STORE(LOAD(a[i]) / divisor); \
    } while (0)
    switch (dtype) {
    case TC_F32: EACH(float, (double), ); break;
    case TC_F64: EACH(double, , ); break;
    case TC_F16: EACH(uint16_t, tc_f16_to_f64, tc_f64_to_f16); break;
    default: EACH(uint16_t, tc_bf16_to_f64, tc_f64_to_bf16); break;
    }
#undef EACH
}

/* Fills `total` bytes with copies of the first `unit` ones. */
static void repeat(char *bytes, size_t unit, size_t total)
{
    size_t done = unit;
    while (done < total) {
        size_t step = done;
        if (step > REPEAT_BYTES && step > unit)
            step = REPEAT_BYTES / unit ? REPEAT_BYTES / unit * unit : unit;
        if (step > total - done)
            step = total - done;
        memcpy(bytes + done, bytes, step);
        done += step;
    }
}

static void expand_units(void *context, int64_t begin, int64_t end, int worker)
{
    const expand_job *j = context;
    const tc_reduce_plan *plan = j->plan;
    size_t element = tc_dtype_size(plan->dtype), row_bytes = (size_t)plan->width * element;
    (void)worker;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t chunk = unit % plan->chunks, slice = unit / plan->chunks % plan->reduced.count;
        int64_t kept = unit / plan->chunks / plan->reduced.count;
        int64_t row = chunk * plan->chunk_rows;
        int64_t rows = plan->rows - row < plan->chunk_rows ? plan->rows - row : plan->chunk_rows;
        char *x = j->x + (size_t)(tc_reduce_offset(&plan->kept, kept) +
                                  tc_reduce_offset(&plan->reduced, slice) + row * plan->width) *
                             element;
        const char *y = j->y + (size_t)kept * row_bytes;
        if (plan->divisor != 1)
            divide(plan->dtype, y, plan->width, plan->divisor, x);
        else
            memcpy(x, y, row_bytes);
        repeat(x, row_bytes, (size_t)rows * row_bytes);
    }
}

static tc_status expand_prepare(tc_prepare *prepare)
{
    tc_reduce_plan *plan = tc_prepare_params(prepare, sizeof *plan);
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    bool reduced[TC_MAX_RANK];
    const tc_shape *x = &prepare->outputs[0].shape;
    tc_reduce_plan_axes(prepare->attrs, x->rank, reduced);
    tc_reduce_plan_make(x, reduced, plan);
    plan->dtype = prepare->inputs[0].dtype;
    if (tc_attrs_bool(prepare->attrs, "mean"))
        plan->divisor = (double)plan->count;
    int64_t width = plan->width ? plan->width : 1, rows = plan->rows ? plan->rows : 1;
    plan->chunk_rows = width < UNIT_ELEMENTS ? UNIT_ELEMENTS / width : 1;
    plan->chunks = (rows - 1) / plan->chunk_rows + 1;
    plan->units = tc_shape_size(x) ? plan->kept.count * plan->reduced.count * plan->chunks : 0;
    int64_t elements = width * (rows < plan->chunk_rows ? rows : plan->chunk_rows);
    plan->grain = elements < UNIT_ELEMENTS ? UNIT_ELEMENTS / elements : 1;
    return TC_OK;
}

static tc_status expand_run(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const tc_reduce_plan *plan = params;
    expand_job j = {plan, inputs[0], outputs[0]};
    tc_parallel_for(context->pool, plan->units, plan->grain, expand_units, &j);
    return TC_OK;
}

/*
 * reduce_prod_others (see src/ops/op_reduce.c). A state is a polynomial in e1 ... em without
 * squares: the coefficient of a product of some e is at the index that has their bits. Result i is
 * the coefficient of all of them in the product of the elements before i (a prefix) and that of the
 * elements behind. Prefixes are kept at the start of each block, and inside the one that is worked
 * on.
 */
#define OTHERS_BLOCK 256
#define MAX_TANGENTS 6
#define MAX_STATES   (1 << MAX_TANGENTS)

typedef struct others_params {
    tc_reduce_plan plan;
    int32_t tangents, states;
    int64_t blocks;
    size_t scratch; /* bytes of a worker */
    int64_t grain;
} others_params;

typedef struct others_job {
    const others_params *params;
    const void *const *inputs;
    void *y;
    char *scratch;
} others_job;

/* state *= x + e1 t1 + ... + em tm, at element `at`. */
static void multiply(const others_job *j, int64_t at, double *state)
{
    const others_params *p = j->params;
    size_t offset = (size_t)at * tc_dtype_size(p->plan.dtype);
    double factors[MAX_TANGENTS + 1];
    for (int32_t i = 0; i <= p->tangents; i++)
        factors[i] = tc_dtype_load(p->plan.dtype, (const char *)j->inputs[i] + offset);
    for (int32_t set = p->states - 1; set >= 0; set--) {
        double sum = state[set] * factors[0];
        for (int32_t i = 0; i < p->tangents; i++)
            if (set >> i & 1)
                sum += state[set ^ 1 << i] * factors[i + 1];
        state[set] = sum;
    }
}

static int64_t element_offset(const tc_reduce_plan *plan, int64_t base, int64_t index)
{
    return base + tc_reduce_offset(&plan->reduced, index / plan->rows) +
           index % plan->rows * plan->width;
}

static void copy_state(double *to, const double *from, int32_t states)
{
    memcpy(to, from, (size_t)states * sizeof *to);
}

/* The group of elements at base + [reduced, rows]; `starts` has a state per block, `inside` one per
 * element of a block. */
static void product_of_others(const others_job *j, int64_t base, double *starts, double *inside)
{
    const others_params *p = j->params;
    const tc_reduce_plan *plan = &p->plan;
    int32_t states = p->states;
    double state[MAX_STATES] = {1};
    for (int64_t i = 0; i < plan->count; i++) {
        if (i % OTHERS_BLOCK == 0)
            copy_state(starts + i / OTHERS_BLOCK * states, state, states);
        multiply(j, element_offset(plan, base, i), state);
    }
    double behind[MAX_STATES] = {1};
    for (int64_t block = p->blocks - 1; block >= 0; block--) {
        int64_t first = block * OTHERS_BLOCK;
        int64_t count = plan->count - first < OTHERS_BLOCK ? plan->count - first : OTHERS_BLOCK;
        copy_state(state, starts + block * states, states);
        for (int64_t i = 0; i < count; i++) {
            copy_state(inside + i * states, state, states);
            multiply(j, element_offset(plan, base, first + i), state);
        }
        for (int64_t i = count - 1; i >= 0; i--) {
            const double *before = inside + i * states;
            double sum = 0;
            for (int32_t set = 0; set < states; set++)
                sum += before[set] * behind[states - 1 - set];
            int64_t at = element_offset(plan, base, first + i);
            tc_dtype_store(plan->dtype, (char *)j->y + (size_t)at * tc_dtype_size(plan->dtype),
                           sum);
            multiply(j, at, behind);
        }
    }
}

static void others_units(void *context, int64_t begin, int64_t end, int worker)
{
    const others_job *j = context;
    const others_params *p = j->params;
    double *starts = (double *)(void *)(j->scratch + (size_t)worker * p->scratch);
    double *inside = starts + p->blocks * p->states;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t base = tc_reduce_offset(&p->plan.kept, unit / p->plan.width);
        product_of_others(j, base + unit % p->plan.width, starts, inside);
    }
}

static tc_status others_prepare(tc_prepare *prepare)
{
    others_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    bool reduced[TC_MAX_RANK];
    const tc_shape *x = &prepare->inputs[0].shape;
    tc_reduce_plan_axes(prepare->attrs, x->rank, reduced);
    tc_reduce_plan_make(x, reduced, &p->plan);
    p->plan.dtype = prepare->inputs[0].dtype;
    p->tangents = prepare->n_inputs - 1;
    p->states = 1 << p->tangents;
    p->blocks = (p->plan.count + OTHERS_BLOCK - 1) / OTHERS_BLOCK;
    p->grain = p->plan.count < UNIT_ELEMENTS / 64 ? UNIT_ELEMENTS / 64 / (p->plan.count + 1) : 1;
    p->grain = p->grain ? p->grain : 1;
    size_t states, bytes;
    if (!tc_add_size((size_t)p->blocks, OTHERS_BLOCK, &states) ||
        !tc_mul_size(states, (size_t)p->states * sizeof(double), &p->scratch) ||
        !tc_mul_size(p->scratch, (size_t)prepare->threads, &bytes))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "a product of %lld elements is too large",
                              (long long)p->plan.count);
    prepare->workspace_bytes = bytes;
    return TC_OK;
}

static tc_status others_run(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const others_params *p = params;
    others_job j = {p, inputs, outputs[0], context->workspace};
    int64_t groups = p->plan.count ? p->plan.kept.count * p->plan.width : 0;
    tc_parallel_for(context->pool, groups, p->grain, others_units, &j);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(reduce_expand, any, .prepare = expand_prepare, .run = expand_run),
    TC_KERNEL(reduce_prod_others, any, .prepare = others_prepare, .run = others_run),
};
TC_KERNEL_TABLE(reduce_grad, kernels);
