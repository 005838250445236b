#include "kernels/cpu/elementwise.h"

#include <string.h>

#include "core/shape.h"

/* Elements that one task computes, and that the scratch buffers of one input hold. */
#define GRAIN ((int64_t)16384)
#define CHUNK ((int64_t)512)

/* Rows shorter than this are put together in scratch, because each call of a tile has a price. */
#define SHORT_ROW ((int64_t)128)

tc_elementwise_params *tc_elementwise_plan(tc_prepare *prepare)
{
    tc_elementwise_params *params = tc_prepare_params(prepare, sizeof *params);
    if (params)
        tc_broadcast_plan(&params->broadcast, prepare);
    return params;
}

tc_status tc_elementwise_prepare(tc_prepare *prepare)
{
    return tc_elementwise_plan(prepare) ? TC_OK : TC_RESOURCE_EXHAUSTED;
}

typedef struct job {
    const tc_elementwise *code;
    const tc_broadcast *params;
    const void *const *inputs;
    char *output;
    bool flat[TC_ELEMENTWISE_INPUTS];     /* element i of the output uses element i of the input */
    bool periodic[TC_ELEMENTWISE_INPUTS]; /* every row uses the same elements */
} job;

/* Scratch of one task: the elements of each input as the tile takes them, and what it gives. */
typedef struct scratch {
    _Alignas(64) char inputs[TC_ELEMENTWISE_INPUTS][CHUNK * 8];
    _Alignas(64) float output[CHUNK];
} scratch;

#define SPREAD_AS(type)                     \
    {                                       \
        const type *x = from;               \
        type *y = to, first = x[0];         \
        if (repeat)                         \
            for (int64_t i = 0; i < n; i++) \
                y[i] = first;               \
        else                                \
            for (int64_t i = 0; i < n; i++) \
                y[i] = x[i];                \
    }                                       \
    break

/* Copies n elements, or the first one n times; `to` may then be `from`. */
static void spread(const void *from, void *to, int64_t n, bool repeat, int size)
{
    switch (size) {
    case 1: SPREAD_AS(uint8_t);
    case 2: SPREAD_AS(uint16_t);
    case 4: SPREAD_AS(uint32_t);
    default: SPREAD_AS(uint64_t);
    }
}

static const char *address(const job *j, int input, int64_t element)
{
    return (const char *)j->inputs[input] + element * j->code->input_size[input];
}

/* Element of `input` that belongs to the first element of `row`. */
static int64_t row_offset(const tc_broadcast *p, int input, int64_t row)
{
    if (p->rank == 2)
        return row * p->strides[input][0];
    int64_t offset = 0;
    for (int d = p->rank - 2; d >= 0; d--) {
        offset += row % p->dims[d] * p->strides[input][d];
        row /= p->dims[d];
    }
    return offset;
}

static void call_tile(const job *j, const void *const *inputs, int64_t at, int64_t n,
                      unsigned scalars, scratch *s)
{
    const tc_elementwise *code = j->code;
    char *y = j->output + at * code->output_size;
    code->tile(inputs, code->narrow ? (void *)s->output : y, n, scalars);
    if (code->narrow)
        code->narrow(s->output, (uint16_t *)y, n);
}

/*
 * Computes output elements [at, at + n) from inputs that are dense from `base` (bit of `scalars`
 * clear) or one element. Elements are converted and single ones multiplied in scratch, where the
 * tile asks for that.
 */
static void run_dense(const job *j, const char *const *base, int64_t at, int64_t n,
                      unsigned scalars, scratch *s)
{
    const tc_elementwise *code = j->code;
    bool copy_scalars = scalars && !code->scalars;
    if (!code->widen && !code->narrow && !copy_scalars) {
        code->tile((const void *const *)base, j->output + at * code->output_size, n, scalars);
        return;
    }
    const void *inputs[TC_ELEMENTWISE_INPUTS];
    for (int64_t done = 0; done < n; done += CHUNK) {
        int64_t part = n - done < CHUNK ? n - done : CHUNK;
        for (int i = 0; i < code->inputs; i++) {
            bool scalar = scalars >> i & 1;
            int size = code->widen ? 4 : code->input_size[i];
            inputs[i] = base[i] + (scalar ? 0 : done * code->input_size[i]);
            if (scalar && done > 0 && (code->widen || copy_scalars)) {
                inputs[i] = s->inputs[i];
                continue; /* made for the first part, which is the longest */
            }
            if (code->widen) {
                code->widen(inputs[i], (float *)(void *)s->inputs[i], scalar ? 1 : part);
                inputs[i] = s->inputs[i];
            }
            if (scalar && copy_scalars) {
                spread(inputs[i], s->inputs[i], part, true, size);
                inputs[i] = s->inputs[i];
            }
        }
        call_tile(j, inputs, at + done, part, copy_scalars ? 0 : scalars, s);
    }
}

/* Nothing is broadcast, or rows are long: tiles read the inputs where they are. */
static void long_rows(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const job *j = argument;
    const tc_broadcast *p = j->params;
    scratch s;
    for (int64_t at = begin; at < end;) {
        int64_t row = at / p->inner, column = at % p->inner;
        int64_t n = p->inner - column < end - at ? p->inner - column : end - at;
        const char *base[TC_ELEMENTWISE_INPUTS];
        unsigned scalars = 0;
        for (int i = 0; i < j->code->inputs; i++) {
            int64_t step = p->rank ? p->strides[i][p->rank - 1] : 1;
            base[i] = address(j, i, row_offset(p, i, row) + step * column);
            scalars |= (unsigned)(step == 0) << i;
        }
        run_dense(j, base, at, n, scalars, &s);
        at += n;
    }
}

/* Rows are short: as many as fit are laid out densely in scratch for one call of the tile. Counts
 * rows. */
static void short_rows(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const job *j = argument;
    const tc_broadcast *p = j->params;
    const tc_elementwise *code = j->code;
    scratch s;
    _Alignas(64) char gathered[TC_ELEMENTWISE_INPUTS][CHUNK * 8];
    int64_t inner = p->inner, rows = CHUNK / inner;
    const char *base[TC_ELEMENTWISE_INPUTS];
    for (int64_t row = begin; row < end; row += rows) {
        int64_t n = end - row < rows ? end - row : rows;
        for (int i = 0; i < code->inputs; i++) {
            int size = code->input_size[i];
            base[i] = j->flat[i] ? address(j, i, row * inner) : gathered[i];
            if (j->flat[i] || (j->periodic[i] && row > begin))
                continue;
            for (int64_t r = 0; r < n; r++)
                spread(address(j, i, row_offset(p, i, row + r)), gathered[i] + r * inner * size,
                       inner, p->strides[i][p->rank - 1] == 0, size);
        }
        run_dense(j, base, row * inner, n * inner, 0, &s);
    }
}

void tc_elementwise_run(const tc_elementwise *code, const tc_elementwise_params *params,
                        const void *const *inputs, void *output, const tc_kernel_context *context)
{
    const tc_broadcast *p = &params->broadcast;
    if (p->count == 0)
        return;
    job j = {.code = code, .params = p, .inputs = inputs, .output = output};
    if (p->rank < 2 || p->inner >= SHORT_ROW) {
        tc_parallel_for(context->pool, p->count, GRAIN, long_rows, &j);
        return;
    }
    for (int i = 0; i < code->inputs; i++) {
        int64_t dense = 1;
        j.flat[i] = j.periodic[i] = true;
        for (int d = p->rank - 1; d >= 0; d--) {
            j.flat[i] = j.flat[i] && p->strides[i][d] == dense;
            j.periodic[i] = j.periodic[i] && (d == p->rank - 1 || p->strides[i][d] == 0);
            dense *= p->dims[d];
        }
    }
    tc_parallel_for(context->pool, p->count / p->inner, GRAIN / p->inner, short_rows, &j);
}
