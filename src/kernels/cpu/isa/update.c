/* Writing variables: adding to them and steps of optimizers. All of it may be in place and never
 * fails. */
#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/kernel.h"

/* Elements of 16 bits are converted in pieces of so many; a parallel block has GRAIN elements. */
#define PIECE 1024
#define GRAIN (16 * PIECE)

typedef struct update_params {
    int64_t count;
    double weight_decay, momentum, beta1, beta2, epsilon;
    tc_dtype rate_dtype;
    int32_t when; /* the input that says whether to step; -1: always */
    bool nesterov;
} update_params;

/* What a step multiplies with, in double until it is used. */
typedef struct update_scalars {
    double rate;  /* learning rate; of Adam divided by 1 - beta1^step */
    double decay; /* factor of the parameter in the gradient */
    double momentum;
    double keep; /* of Adam: what weight decay leaves of the parameter */
    double root; /* of Adam: 1 / sqrt(1 - beta2^step) */
    double beta1, beta2, epsilon;
    bool nesterov;
} update_scalars;

#define S          float
#define NAME(name) f32_##name
#define SQRT       sqrtf
#include "update_body.h"

#define S          double
#define NAME(name) f64_##name
#define SQRT       sqrt
#include "update_body.h"

typedef struct update_job {
    update_scalars scalars;
    const void *p, *g, *slot[2];
    void *new_p, *new_slot[2];
    int32_t slots;
    void (*f32)(const update_scalars *, const f32_piece *);
    void (*f64)(const update_scalars *, const f64_piece *);
} update_job;

/* Arrays of the slots at `begin`. */
#define SLOTS_AT(piece, type, job, begin)                           \
    for (int32_t s = 0; s < (job)->slots; s++) {                    \
        (piece).slot[s] = (const type *)(job)->slot[s] + (begin);   \
        (piece).new_slot[s] = (type *)(job)->new_slot[s] + (begin); \
    }

#define WHOLE_BLOCK(tag, type)                                                      \
    static void block_##tag(void *argument, int64_t begin, int64_t end, int worker) \
    {                                                                               \
        (void)worker;                                                               \
        const update_job *job = argument;                                           \
        tag##_piece piece = {                                                       \
            .p = (const type *)job->p + begin,                                      \
            .g = (const type *)job->g + begin,                                      \
            .new_p = (type *)job->new_p + begin,                                    \
            .count = end - begin,                                                   \
        };                                                                          \
        SLOTS_AT(piece, type, job, begin)                                           \
        job->tag(&job->scalars, &piece);                                            \
    }
WHOLE_BLOCK(f32, float)
WHOLE_BLOCK(f64, double)

#define CONVERTED_BLOCK(tag)                                                        \
    static void block_##tag(void *argument, int64_t begin, int64_t end, int worker) \
    {                                                                               \
        (void)worker;                                                               \
        const update_job *job = argument;                                           \
        float p[PIECE], g[PIECE];                                                   \
        for (int64_t i = begin; i < end; i += PIECE) {                              \
            f32_piece piece = {.p = p, .g = g, .new_p = p, .count = end - i};       \
            if (piece.count > PIECE)                                                \
                piece.count = PIECE;                                                \
            convert_from_##tag((const uint16_t *)job->p + i, p, piece.count);       \
            convert_from_##tag((const uint16_t *)job->g + i, g, piece.count);       \
            SLOTS_AT(piece, float, job, i)                                          \
            job->f32(&job->scalars, &piece);                                        \
            convert_to_##tag(p, (uint16_t *)job->new_p + i, piece.count);           \
        }                                                                           \
    }
CONVERTED_BLOCK(f16)
CONVERTED_BLOCK(bf16)

/* Operators without one of the attributes have 0 in its place. */
static void read_attrs(const tc_prepare *prepare, update_params *params)
{
    const tc_attrs *attrs = prepare->attrs;
    int32_t last = prepare->n_inputs - 1;
    params->when = prepare->inputs[last].dtype == TC_BOOL ? last : -1;
    params->weight_decay = tc_attrs_float(attrs, "weight_decay");
    params->momentum = tc_attrs_float(attrs, "momentum");
    params->nesterov = tc_attrs_bool(attrs, "nesterov");
    params->beta1 = tc_attrs_float(attrs, "beta1");
    params->beta2 = tc_attrs_float(attrs, "beta2");
    params->epsilon = tc_attrs_float(attrs, "epsilon");
}

static tc_status prepare_update(tc_prepare *prepare)
{
    update_params *params = tc_prepare_params(prepare, sizeof *params);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params->count = tc_shape_size(&prepare->outputs[0].shape);
    read_attrs(prepare, params);
    params->rate_dtype = prepare->inputs[prepare->n_outputs + 1].dtype;
    return TC_OK;
}

static bool is_due(const update_params *params, const void *const *inputs)
{
    return params->when < 0 || *(const bool *)inputs[params->when];
}

static update_scalars scalars_of(const update_params *params, const void *rate)
{
    return (update_scalars){.rate = tc_dtype_load(params->rate_dtype, rate),
                            .decay = params->weight_decay,
                            .momentum = params->momentum,
                            .nesterov = params->nesterov};
}

/* Inputs are the parameter, `slots` slots, gradient, learning rate and what else the step needs. */
static update_job start_update(const update_params *params, int32_t slots,
                               const void *const *inputs, void *const *outputs)
{
    update_job job = {
        .scalars = scalars_of(params, inputs[slots + 2]),
        .p = inputs[0],
        .g = inputs[slots + 1],
        .new_p = outputs[0],
        .slots = slots,
    };
    for (int32_t s = 0; s < slots; s++) {
        job.slot[s] = inputs[s + 1];
        job.new_slot[s] = outputs[s + 1];
    }
    return job;
}

static void start_adam(update_job *job, const update_params *params, const void *step)
{
    update_scalars *u = &job->scalars;
    double t = tc_dtype_load(TC_I64, step);
    u->keep = 1 - u->rate * params->weight_decay;
    u->rate /= 1 - pow(params->beta1, t);
    u->root = 1 / sqrt(1 - pow(params->beta2, t));
    u->beta1 = params->beta1;
    u->beta2 = params->beta2;
    u->epsilon = params->epsilon;
}

#define RUN(kind, slots, tag, more)                                                             \
    static tc_status run_##kind##_##tag(const void *params, const void *const *inputs,          \
                                        void *const *outputs, const tc_kernel_context *context) \
    {                                                                                           \
        const update_params *p = params;                                                        \
        update_job job = start_update(p, slots, inputs, outputs);                               \
        bool due = is_due(p, inputs);                                                           \
        job.f32 = due ? f32_##kind : f32_keep;                                                  \
        job.f64 = due ? f64_##kind : f64_keep;                                                  \
        more;                                                                                   \
        tc_parallel_for(context->pool, p->count, GRAIN, block_##tag, &job);                     \
        return TC_OK;                                                                           \
    }
#define EACH_FLOAT(do_, kind, slots, more)                                              \
    do_(kind, slots, f32, more) do_(kind, slots, f64, more) do_(kind, slots, f16, more) \
        do_(kind, slots, bf16, more)
EACH_FLOAT(RUN, sgd, 0, (void)0)
EACH_FLOAT(RUN, momentum, 1, (void)0)
EACH_FLOAT(RUN, adam, 2, start_adam(&job, p, inputs[5]))

/*
 * The steps on many parameters as one loop over all their elements. Inputs are all parameters, all
 * of each slot, all gradients, then learning rate and what else the step needs.
 */

typedef struct merged_params {
    update_params update;
    int32_t kind; /* index of merged_kinds */
    int32_t members;
    tc_dtype dtype;
    int64_t ends[]; /* elements of the members up to and with each */
} merged_params;

static const struct {
    const char *op;
    int32_t slots;
    void (*f32)(const update_scalars *, const f32_piece *);
    void (*f64)(const update_scalars *, const f64_piece *);
} merged_kinds[] = {{"apply_sgd_all", 0, f32_sgd, f64_sgd},
                    {"apply_momentum_all", 1, f32_momentum, f64_momentum},
                    {"apply_adam_all", 2, f32_adam, f64_adam}};

typedef struct merged_job {
    const merged_params *params;
    const void *const *inputs;
    void *const *outputs;
    update_job step; /* without arrays */
    tc_loop_function block;
} merged_job;

static tc_status prepare_merged(tc_prepare *prepare)
{
    int32_t kind = 0;
    while (strcmp(merged_kinds[kind].op, prepare->attrs->op->name) != 0)
        kind++;
    int32_t slots = merged_kinds[kind].slots, members = prepare->n_outputs / (1 + slots);
    merged_params *params =
        tc_prepare_params(prepare, sizeof *params + (size_t)members * sizeof params->ends[0]);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    int64_t end = 0;
    for (int32_t i = 0; i < members; i++) {
        /* All lie in memory, so their sum fits. */
        end += tc_shape_size(&prepare->outputs[i].shape);
        params->ends[i] = end;
    }
    read_attrs(prepare, &params->update);
    params->update.count = end;
    params->update.rate_dtype = prepare->inputs[members * (2 + slots)].dtype;
    params->kind = kind;
    params->members = members;
    params->dtype = prepare->inputs[0].dtype;
    return TC_OK;
}

/* Elements [begin, end) of all members. */
static void block_merged(void *argument, int64_t begin, int64_t end, int worker)
{
    const merged_job *job = argument;
    const merged_params *params = job->params;
    int32_t n = params->members, member = 0;
    for (int32_t above = n - 1; member < above;) { /* the first that ends behind `begin` */
        int32_t middle = (member + above) / 2;
        if (params->ends[middle] > begin)
            above = middle;
        else
            member = middle + 1;
    }
    for (; begin < end; member++) {
        int64_t start = member ? params->ends[member - 1] : 0;
        int64_t stop = params->ends[member] < end ? params->ends[member] : end;
        if (stop <= begin)
            continue;
        update_job one = job->step;
        one.p = job->inputs[member];
        one.new_p = job->outputs[member];
        for (int32_t s = 0; s < one.slots; s++) {
            one.slot[s] = job->inputs[n * (1 + s) + member];
            one.new_slot[s] = job->outputs[n * (1 + s) + member];
        }
        one.g = job->inputs[n * (1 + one.slots) + member];
        job->block(&one, begin - start, stop - start, worker);
        begin = stop;
    }
}

static tc_status run_merged(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const merged_params *p = params;
    int32_t slots = merged_kinds[p->kind].slots;
    const void *const *rest = inputs + (size_t)p->members * (size_t)(2 + slots);
    merged_job job = {.params = p,
                      .inputs = inputs,
                      .outputs = outputs,
                      .step = {.scalars = scalars_of(&p->update, rest[0]),
                               .slots = slots,
                               .f32 = merged_kinds[p->kind].f32,
                               .f64 = merged_kinds[p->kind].f64}};
    if (!is_due(&p->update, inputs)) {
        job.step.f32 = f32_keep;
        job.step.f64 = f64_keep;
    }
    if (slots == 2)
        start_adam(&job.step, &p->update, rest[1]);
    switch (p->dtype) {
    case TC_F64: job.block = block_f64; break;
    case TC_F16: job.block = block_f16; break;
    case TC_BF16: job.block = block_bf16; break;
    default: job.block = block_f32;
    }
    tc_parallel_for(context->pool, p->update.count, GRAIN, block_merged, &job);
    return TC_OK;
}

/*
 * assign_add, assign_sub
 */

typedef struct assign_job {
    const char *content, *delta;
    char *out;
} assign_job;

static tc_status prepare_assign(tc_prepare *prepare)
{
    int64_t *count = tc_prepare_params(prepare, sizeof *count);
    if (!count)
        return TC_RESOURCE_EXHAUSTED;
    *count = tc_shape_size(&prepare->outputs[0].shape);
    return TC_OK;
}

#define RUN_ASSIGN(op, tag)                                                                   \
    static tc_status run_##op##_##tag(const void *params, const void *const *inputs,          \
                                      void *const *outputs, const tc_kernel_context *context) \
    {                                                                                         \
        assign_job job = {inputs[0], inputs[1], outputs[0]};                                  \
        tc_parallel_for(context->pool, *(const int64_t *)params, GRAIN, op##_##tag, &job);    \
        return TC_OK;                                                                         \
    }

#define ASSIGN(op, sign, tag, type)                                                          \
    static void op##_##tag(void *argument, int64_t begin, int64_t end, int worker)           \
    {                                                                                        \
        (void)worker;                                                                        \
        const assign_job *job = argument;                                                    \
        const type *content = (const type *)job->content, *delta = (const type *)job->delta; \
        type *out = (type *)job->out;                                                        \
        TC_INDEPENDENT                                                                       \
        for (int64_t i = begin; i < end; i++)                                                \
            out[i] = (type)(content[i] sign delta[i]);                                       \
    }                                                                                        \
    RUN_ASSIGN(op, tag)

#define ASSIGN16(op, sign, tag)                                                     \
    static void op##_##tag(void *argument, int64_t begin, int64_t end, int worker)  \
    {                                                                               \
        (void)worker;                                                               \
        const assign_job *job = argument;                                           \
        float content[PIECE], delta[PIECE];                                         \
        for (int64_t i = begin; i < end; i += PIECE) {                              \
            int64_t count = end - i < PIECE ? end - i : PIECE;                      \
            convert_from_##tag((const uint16_t *)job->content + i, content, count); \
            convert_from_##tag((const uint16_t *)job->delta + i, delta, count);     \
            for (int64_t j = 0; j < count; j++)                                     \
                content[j] = content[j] sign delta[j];                              \
            convert_to_##tag(content, (uint16_t *)job->out + i, count);             \
        }                                                                           \
    }                                                                               \
    RUN_ASSIGN(op, tag)

/* Integers are unsigned here, so that they wrap; the bits are those of signed ones. */
#define EACH_NUMBER(op, sign)       \
    ASSIGN(op, sign, f32, float)    \
    ASSIGN(op, sign, f64, double)   \
    ASSIGN16(op, sign, f16)         \
    ASSIGN16(op, sign, bf16)        \
    ASSIGN(op, sign, u8, uint8_t)   \
    ASSIGN(op, sign, u16, uint16_t) \
    ASSIGN(op, sign, u32, uint32_t) \
    ASSIGN(op, sign, u64, uint64_t)
EACH_NUMBER(assign_add, +)
EACH_NUMBER(assign_sub, -)

#define UPDATE_KERNEL(kind, slots, tag, more)                                           \
    TC_KERNEL(apply_##kind, tag, .prepare = prepare_update, .run = run_##kind##_##tag), \
        TC_KERNEL(apply_##kind##_all, tag, .prepare = prepare_merged, .run = run_merged),
#define ASSIGN_KERNEL(op, tag, by) \
    TC_KERNEL(op, tag, .prepare = prepare_assign, .run = run_##op##_##by)
#define ASSIGN_KERNELS(op)                                                                     \
    ASSIGN_KERNEL(op, f32, f32), ASSIGN_KERNEL(op, f64, f64), ASSIGN_KERNEL(op, f16, f16),     \
        ASSIGN_KERNEL(op, bf16, bf16), ASSIGN_KERNEL(op, i8, u8), ASSIGN_KERNEL(op, i16, u16), \
        ASSIGN_KERNEL(op, i32, u32), ASSIGN_KERNEL(op, i64, u64), ASSIGN_KERNEL(op, u8, u8),   \
        ASSIGN_KERNEL(op, u16, u16), ASSIGN_KERNEL(op, u32, u32), ASSIGN_KERNEL(op, u64, u64)

static const tc_kernel kernels[] = {
    /* clang-format off */
    EACH_FLOAT(UPDATE_KERNEL, sgd, 0, )
    EACH_FLOAT(UPDATE_KERNEL, momentum, 1, )
    EACH_FLOAT(UPDATE_KERNEL, adam, 2, )
    /* clang-format on */
    ASSIGN_KERNELS(assign_add),
    ASSIGN_KERNELS(assign_sub),
};

TC_KERNEL_TABLE(update, kernels);
