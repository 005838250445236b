/* Interpreter of fused programs: see kernels/cpu/fused_plan.h. */
#include "kernels/cpu/isa/fused_tiles.h"
#include "kernels/cpu/isa/simd.h"

typedef struct job {
    const tc_fused_plan *plan;
    const tc_fused_layout *layouts;
    const tc_fused_slot *slots;
    const tc_fused_step *prologue, *steps;
    const void *const *inputs;
    void *const *outputs;
    char *workspace;
} job;

/* One worker's part of the work. */
typedef struct task {
    const job *j;
    char *scratch;
    char *at[TC_FUSED_SLOTS];     /* where each slot lies now */
    bool loaded[TC_FUSED_INPUTS]; /* periodic inputs */
    int64_t start, count;         /* elements of the tile */
    int64_t row, rows;
    bool inputs_overwritten; /* an output lies where an input does */
} task;

static inline tc_tile_function tile_of(const tc_fused_step *step)
{
    tc_tile_function tile = TC_ISA_NAME(tc_fused_unary_tiles)[step->code][step->type];
    return tile ? tile : TC_ISA_NAME(tc_fused_binary_tiles)[step->code][step->type];
}

/* Stores a vector past the caches where the processor can; `to` is aligned to it. */
static inline void stream(void *to, tc_f32v v)
{
#if defined(__x86_64__) && TC_VECTOR_BYTES == 64
    _mm512_stream_ps(to, (__m512)v);
#elif defined(__x86_64__) && TC_VECTOR_BYTES == 32
    _mm256_stream_ps(to, (__m256)v);
#elif defined(__x86_64__)
    _mm_stream_ps(to, (__m128)v);
#else
    memcpy(to, &v, sizeof v);
#endif
}

/* Then other threads see what was streamed. */
static inline void stream_fence(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

#define R         float
#define V         tc_f32v
#define I         tc_i32v
#define N         TC_F32_LANES
#define ROW(name) tc_f32_##name
#include "kernels/cpu/isa/fused_reduce_body.h"

#define INLINE_EXP (TC_VECTOR_BYTES > 16)
#include "kernels/cpu/isa/fused_chain_body.h"
#undef INLINE_EXP
#undef R
#undef V
#undef I
#undef N
#undef ROW

#define R         double
#define V         tc_f64v
#define I         tc_i64v
#define N         TC_F64_LANES
#define ROW(name) tc_f64_##name
#include "kernels/cpu/isa/fused_reduce_body.h"

#define INLINE_EXP 0
#include "kernels/cpu/isa/fused_chain_body.h"
#undef INLINE_EXP
#undef R
#undef V
#undef I
#undef N
#undef ROW

/* Element number `index` of an input in its row-major order over domain or rows. */
static inline int64_t offset_of(const tc_fused_layout *l, int64_t index)
{
    if (l->rank <= 1)
        return index * l->step;
    int64_t outer = index / l->run, offset = index % l->run * l->step;
    if (l->rank == 2)
        return offset + outer * l->strides[0];
    for (int d = l->rank - 2; d >= 0; d--) {
        offset += outer % l->dims[d] * l->strides[d];
        outer /= l->dims[d];
    }
    return offset;
}

/* Short runs are copied element by element: that is less than a call. */
#define EACH_SIZE(size, DO)       \
    switch (size) {               \
    case 1: DO(uint8_t); break;   \
    case 2: DO(uint16_t); break;  \
    case 4: DO(uint32_t); break;  \
    default: DO(uint64_t); break; \
    }

static void repeat(const void *from, void *to, int64_t n, int size)
{
#define REPEAT(type)                    \
    {                                   \
        type *y = to, x;                \
        memcpy(&x, from, sizeof x);     \
        for (int64_t i = 0; i < n; i++) \
            y[i] = x;                   \
    }
    EACH_SIZE(size, REPEAT)
}

static void copy(const void *from, void *to, int64_t n, int size)
{
#define COPY(type)                      \
    {                                   \
        const type *x = from;           \
        type *y = to;                   \
        for (int64_t i = 0; i < n; i++) \
            y[i] = x[i];                \
    }
    EACH_SIZE(size, COPY)
}

static void gather(const tc_fused_layout *l, const char *base, int64_t index, int64_t n, char *to)
{
    while (n > 0) {
        int64_t left = l->run - index % l->run, part = left < n ? left : n;
        const char *from = base + offset_of(l, index) * l->size;
        if (l->step)
            copy(from, to, part, l->size);
        else
            repeat(from, to, part, l->size);
        index += part;
        n -= part;
        to += part * l->size;
    }
}

static void load(task *t, const tc_fused_step *step)
{
    int input = step->from[0];
    const tc_fused_layout *l = &t->j->layouts[input];
    const char *base = t->j->inputs[input];
    int64_t index = step->full ? t->start : t->row;
    if (!l->gather) {
        t->at[step->to] = (char *)base + offset_of(l, index) * l->size;
    } else if (!t->loaded[input]) {
        gather(l, base, index, step->full ? t->count : t->rows, t->at[step->to]);
        t->loaded[input] = l->periodic;
    }
}

static void spread(const task *t, const tc_fused_step *step)
{
    int size = 1 << step->type;
    int64_t columns = t->j->plan->columns;
    const char *from = t->at[step->from[0]];
    char *to = t->at[step->to];
    if (!step->per_row)
        repeat(from, to, step->full ? t->count : t->rows, size);
    for (int64_t r = 0; r < t->rows && step->per_row; r++)
        repeat(from + r * size, to + r * columns * size, columns, size);
}

static void reduce(task *t, const tc_fused_step *step)
{
    const tc_fused_plan *p = t->j->plan;
    const tc_fused_reduction *r = &p->reductions[step->code];
    const void *x = t->at[step->from[0]];
    tc_fused_state *s = (tc_fused_state *)(void *)t->scratch + step->code;
    if (step->type == TC_FUSED_F32) {
        if (p->whole)
            tc_f32_reduce(r, p, x, t->rows, (float *)(void *)t->at[step->to]);
        else
            tc_f32_take(s, r, p->group, x, t->count);
    } else {
        if (p->whole)
            tc_f64_reduce(r, p, x, t->rows, (double *)(void *)t->at[step->to]);
        else
            tc_f64_take(s, r, p->group, x, t->count);
    }
}

static void run_steps(task *t, const tc_fused_step *step, const tc_fused_step *end)
{
    for (; step < end; step++) {
        const void *const in[3] = {t->at[step->from[0]], t->at[step->from[1]],
                                   t->at[step->from[2]]};
        void *y = t->at[step->to];
        int64_t n = step->full ? t->count : t->rows;
        switch (step->kind) {
        case TC_FUSED_STEP_COMPUTE: tile_of(step)(in, y, n, step->scalars); break;
        case TC_FUSED_STEP_CHAIN:
            if (step->type == TC_FUSED_F32)
                tc_f32_run_chain(t, step);
            else
                tc_f64_run_chain(t, step);
            step += step->code + step->from[0];
            break;
        case TC_FUSED_STEP_WHERE: TC_ISA_NAME(tc_fused_where_tiles)[step->type](in, y, n, 0); break;
        case TC_FUSED_STEP_CAST:
            TC_ISA_NAME(tc_fused_cast_tiles)
            [step->type][step->code](in, y, step->scalars ? 1 : n, 0);
            break;
        case TC_FUSED_STEP_LOAD: load(t, step); break;
        case TC_FUSED_STEP_SPREAD: spread(t, step); break;
        default: reduce(t, step); break;
        }
    }
}

static void begin_task(task *t, const job *j, int worker)
{
    const tc_fused_plan *p = j->plan;
    t->j = j;
    t->scratch = j->workspace + p->scratch * (size_t)worker;
    memset(t->loaded, 0, sizeof t->loaded);
    for (int i = 0; i < p->n_slots; i++) {
        const tc_fused_slot *slot = &j->slots[i];
        t->at[i] = slot->constant >= 0
                       ? (char *)p + p->constants + (size_t)slot->constant * sizeof(double)
                       : t->scratch + (slot->offset < 0 ? 0 : slot->offset);
    }
    t->inputs_overwritten = false;
    for (int o = 0; o < p->n_outputs; o++)
        for (int i = 0; i < p->n_inputs; i++)
            t->inputs_overwritten = t->inputs_overwritten || j->outputs[o] == j->inputs[i];
    t->start = 0;
    t->count = p->tile;
    t->row = 0;
    t->rows = p->together;
    run_steps(t, j->prologue, j->steps);
}

static void place_outputs(task *t, bool full)
{
    const tc_fused_plan *p = t->j->plan;
    for (int o = 0; o < p->n_outputs; o++)
        if (p->output_full[o] == full)
            t->at[p->output_slot[o]] =
                (char *)t->j->outputs[o] + (full ? t->start : t->row) * p->output_size[o];
}

/* A unit that is one tile. */
static void run_whole(task *t, int64_t unit)
{
    const tc_fused_plan *p = t->j->plan;
    const tc_fused_step *steps = t->j->steps;
    if (p->by_rows) {
        t->row = unit * p->together;
        t->rows = p->rows - t->row < p->together ? p->rows - t->row : p->together;
        t->start = t->row * p->columns;
        t->count = t->rows * p->columns;
    } else {
        int64_t tiles = (p->columns + p->tile - 1) / p->tile, first = unit % tiles * p->tile;
        t->start = unit / tiles * p->columns + first;
        t->count = p->columns - first < p->tile ? p->columns - first : p->tile;
    }
    place_outputs(t, true);
    place_outputs(t, false);
    run_steps(t, steps, steps + p->n_steps);
}

static void start_reductions(const task *t, int first, int last)
{
    const tc_fused_plan *p = t->j->plan;
    tc_fused_state *s = (tc_fused_state *)(void *)t->scratch + first;
    for (const tc_fused_reduction *r = p->reductions + first; r < p->reductions + last; r++, s++) {
        if (r->type == TC_FUSED_F32)
            tc_f32_start(s, r);
        else
            tc_f64_start(s, r);
    }
}

static double partial_of(const task *t, int index)
{
    const tc_fused_plan *p = t->j->plan;
    const tc_fused_reduction *r = &p->reductions[index];
    tc_fused_state *s = (tc_fused_state *)(void *)t->scratch + index;
    return r->type == TC_FUSED_F32 ? tc_f32_partial(s, r, p->group)
                                   : tc_f64_partial(s, r, p->group);
}

static double combine(const tc_fused_reduction *r, double total, double part)
{
    if (r->code == TC_FUSED_reduce_max)
        return part > total || part != part ? part : total;
    if (r->code == TC_FUSED_reduce_min)
        return part < total || part != part ? part : total;
    return total + part;
}

static void finish_reduction(const task *t, int index, double total)
{
    if (t->j->plan->reductions[index].type == TC_FUSED_F32)
        tc_f32_finish(t, index, total);
    else
        tc_f64_finish(t, index, total);
}

/* The tiles of one chunk of a row in one phase. */
static void run_chunk(task *t, int64_t chunk, const tc_fused_phase *phase)
{
    const job *j = t->j;
    const tc_fused_plan *p = j->plan;
    int64_t column = chunk * p->chunk, left = p->columns - column;
    int64_t end = column + (left < p->chunk ? left : p->chunk);
    start_reductions(t, phase[0].first_reduction, phase[1].first_reduction);
    for (; column < end; column += t->count) {
        t->start = t->row * p->columns + column;
        t->count = end - column < p->tile ? end - column : p->tile;
        place_outputs(t, true);
        for (int i = 0; i < p->n_slots; i++)
            if (j->slots[i].moving)
                t->at[i] = t->scratch + j->slots[i].offset + column * j->slots[i].moving;
        run_steps(t, j->steps + phase->tiles, j->steps + phase[1].rows);
    }
}

static void run_rows_part(task *t, const tc_fused_phase *phase)
{
    run_steps(t, t->j->steps + phase->rows, t->j->steps + phase->tiles);
}

static void run_row(task *t, int64_t row)
{
    const tc_fused_plan *p = t->j->plan;
    double totals[TC_FUSED_REDUCTIONS];
    t->row = row;
    t->rows = 1;
    place_outputs(t, false);
    for (const tc_fused_phase *phase = p->phases; phase < p->phases + p->n_phases; phase++) {
        run_rows_part(t, phase);
        for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
            run_chunk(t, chunk, phase);
            for (int i = phase[0].first_reduction; i < phase[1].first_reduction; i++) {
                double part = partial_of(t, i);
                totals[i] = chunk ? combine(&p->reductions[i], totals[i], part) : part;
            }
        }
        for (int i = phase[0].first_reduction; i < phase[1].first_reduction; i++)
            finish_reduction(t, i, totals[i]);
    }
    run_rows_part(t, &p->phases[p->n_phases]);
}

static double *partials_of(const job *j, int64_t unit)
{
    return (double *)(void *)(j->workspace + j->plan->partials) + unit * j->plan->n_reductions;
}

static void run_split(task *t, int64_t unit)
{
    const tc_fused_plan *p = t->j->plan;
    double *partials = partials_of(t->j, unit);
    t->row = unit / p->chunks;
    t->rows = 1;
    place_outputs(t, false);
    run_rows_part(t, p->phases);
    run_chunk(t, unit % p->chunks, p->phases);
    for (int i = 0; i < p->n_reductions; i++)
        partials[i] = partial_of(t, i);
}

/* What is left to do for a row whose chunks are done. */
static void join_row(task *t, int64_t row)
{
    const tc_fused_plan *p = t->j->plan;
    t->row = row;
    t->rows = 1;
    place_outputs(t, false);
    run_rows_part(t, p->phases);
    for (int i = 0; i < p->n_reductions; i++) {
        double total = partials_of(t->j, row * p->chunks)[i];
        for (int64_t chunk = 1; chunk < p->chunks; chunk++)
            total =
                combine(&p->reductions[i], total, partials_of(t->j, row * p->chunks + chunk)[i]);
        finish_reduction(t, i, total);
    }
    for (int phase = 1; phase <= p->n_phases; phase++)
        run_rows_part(t, &p->phases[phase]);
}

static void run_units(void *argument, int64_t begin, int64_t end, int worker)
{
    const job *j = argument;
    task t;
    begin_task(&t, j, worker);
    for (int64_t unit = begin; unit < end; unit++) {
        if (j->plan->whole)
            run_whole(&t, unit);
        else if (j->plan->split)
            run_split(&t, unit);
        else
            run_row(&t, unit);
    }
    if (j->plan->streams)
        stream_fence();
}

static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const tc_fused_plan *p = params;
    const char *base = params;
    const tc_fused_step *prologue = (const void *)(base + p->steps);
    const job j = {.plan = p,
                   .layouts = (const void *)(base + p->layouts),
                   .slots = (const void *)(base + p->slots),
                   .prologue = prologue,
                   .steps = prologue + p->n_prologue,
                   .inputs = inputs + 1,
                   .outputs = outputs,
                   .workspace = context->workspace};
    tc_parallel_for(context->pool, p->units, p->grain, run_units, (void *)&j);
    if (p->split) {
        task t;
        begin_task(&t, &j, 0);
        for (int64_t row = 0; row < p->rows; row++)
            join_row(&t, row);
    }
    return TC_OK;
}

static const tc_kernel kernels[] = {TC_KERNEL(fused, any, .prepare = tc_fused_prepare, .run = run)};

TC_KERNEL_TABLE(fused, kernels);
