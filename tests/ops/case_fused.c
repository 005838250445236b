/* Fused programs, as the compiler would write them. */
#include <stdlib.h>

#include "core/dtype.h"
#include "core/fused_program.h"
#include "core/shape.h"
#include "elementwise.h"

/* A program for the dtype being tested: the dtypes of its values are filled in. */
typedef struct fused_sample {
    tc_fused_program program;
    bool like; /* input 0 is the one whose shape alone counts */
} fused_sample;

static tc_value build_program(const tc_fused_program *program, const tc_value *in, int32_t n)
{
    int64_t ints[TC_FUSED_INTS];
    double numbers[TC_FUSED_CONSTANTS];
    size_t count = (size_t)tc_fused_write(program, ints);
    for (int32_t i = 0; i < program->n_constants; i++)
        numbers[i] = program->constants[i].value;
    return tc_node_build(
        NULL,
        &(tc_node_spec){
            .op = "fused",
            .at = TC_HERE,
            .inputs = in,
            .n_inputs = (size_t)n,
            TC_SPEC_ATTRS({"program", tc_attr_ints(ints, count)},
                          {"constants", tc_attr_floats(numbers, (size_t)program->n_constants)})});
}

/* Values without a dtype take that of the first input. */
static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    const fused_sample *sample = options;
    tc_fused_program p = sample->program;
    tc_value inputs[TC_FUSED_INPUTS + 1] = {TC_NO_VALUE};
    tc_dtype dtype = tc_value_dtype(in[sample->like]);
    (void)graph;
    for (int32_t i = 0; i < p.n_inputs; i++)
        p.inputs[i].dtype = p.inputs[i].dtype ? p.inputs[i].dtype : dtype;
    for (int32_t i = 0; i < p.n_constants; i++)
        p.constants[i].dtype = p.constants[i].dtype ? p.constants[i].dtype : dtype;
    for (int32_t i = 0; i < p.n_instructions; i++)
        p.instructions[i].dtype = p.instructions[i].dtype ? p.instructions[i].dtype : dtype;
    if (sample->like)
        inputs[0] = in[0];
    for (int32_t i = 0; i < p.n_inputs; i++)
        inputs[i + 1] = in[i + sample->like];
    return build_program(&p, inputs, p.n_inputs + 1);
}

/*
 * The reference: every value as doubles over the whole domain.
 */
static double unary(tc_fused_code code, double x, double columns)
{
    switch (code) {
    case TC_FUSED_neg: return -x;
    case TC_FUSED_exp: return exp(x);
    case TC_FUSED_rsqrt: return 1 / sqrt(x);
    case TC_FUSED_square: return x * x;
    case TC_FUSED_tanh: return tanh(x);
    case TC_FUSED_relu: return x < 0 ? 0 : x;
    case TC_FUSED_logical_not: return x == 0;
    case TC_FUSED_share: return x / columns;
    default: return NAN;
    }
}

static double binary(tc_fused_code code, double a, double b)
{
    switch (code) {
    case TC_FUSED_add: return a + b;
    case TC_FUSED_sub: return a - b;
    case TC_FUSED_mul: return a * b;
    case TC_FUSED_div: return a / b;
    case TC_FUSED_maximum: return a > b ? a : b;
    case TC_FUSED_pow: return pow(a, b);
    case TC_FUSED_greater: return a > b;
    case TC_FUSED_less_equal: return a <= b;
    default: return NAN;
    }
}

static double reduced(tc_fused_code code, const double *x, int64_t n)
{
    double sum = 0, most = -INFINITY, least = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        most = x[i] > most ? x[i] : most;
        least = x[i] < least ? x[i] : least;
    }
    return code == TC_FUSED_reduce_sum    ? sum
           : code == TC_FUSED_reduce_mean ? sum / (double)n
           : code == TC_FUSED_reduce_max  ? most
                                          : least;
}

static double rounded(tc_dtype dtype, double x)
{
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, x);
    return tc_dtype_load(dtype, &element);
}

static void instruction(const tc_fused_instruction *in, tc_dtype dtype, double **values, double *y,
                        int64_t total, int64_t columns)
{
    double *operands[3] = {0};
    tc_fused_kind kind = tc_fused_infos[in->code].kind;
    for (int k = 0; k < tc_fused_infos[in->code].operands; k++)
        operands[k] = values[in->operands[k]];
    for (int64_t i = 0; i < total; i++) {
        if (kind == TC_FUSED_UNARY || kind == TC_FUSED_SHARE)
            y[i] = unary(in->code, operands[0][i], (double)columns);
        else if (kind == TC_FUSED_WHERE)
            y[i] = operands[0][i] != 0 ? operands[1][i] : operands[2][i];
        else if (kind == TC_FUSED_CAST)
            y[i] = rounded(in->dtype ? in->dtype : dtype, operands[0][i]);
        else if (kind == TC_FUSED_REDUCE)
            y[i] = i % columns ? y[i - 1] : reduced(in->code, operands[0] + i, columns);
        else
            y[i] = binary(in->code, operands[0][i], operands[1][i]);
    }
}

static void reference(const op_run *run)
{
    const fused_sample *sample = run->options;
    const tc_fused_program *p = &sample->program;
    tc_value_info infos[TC_FUSED_INPUTS + 1] = {{0}};
    tc_shape domain;
    double *values[TC_FUSED_VALUES];
    for (int32_t i = 0; i < run->n_inputs; i++)
        infos[i + !sample->like] = (tc_value_info){.shape = run->input_shapes[i]};
    for (int32_t i = 0; i < p->n_inputs; i++)
        infos[i + 1].dtype = p->inputs[i].dtype;
    domain = infos[0].shape;
    for (int32_t i = 0; i < p->n_inputs; i++) {
        for (int32_t k = 0; k < p->inputs[i].shift; k++)
            infos[i + 1].shape.dims[infos[i + 1].shape.rank++] = (tc_dim){1, NULL};
        if (!tc_shape_broadcast(&domain, &infos[i + 1].shape, &domain))
            return;
    }
    int64_t total = element_count(&domain), columns = 1;
    for (int32_t i = domain.rank - p->columns; i < domain.rank; i++)
        columns *= domain.dims[i].size;
    for (int32_t v = 0; v < tc_fused_values(p); v++) {
        values[v] = calloc((size_t)total + 1, sizeof(double));
        for (int64_t i = 0; i < total && v < p->n_inputs; i++)
            values[v][i] =
                run->inputs[v + sample->like][broadcast_index(&domain, &infos[v + 1].shape, i)];
        for (int64_t i = 0; i < total && v >= p->n_inputs && !tc_fused_producer(p, v); i++)
            values[v][i] = p->constants[v - p->n_inputs].value;
        if (tc_fused_producer(p, v))
            instruction(tc_fused_producer(p, v), run->dtype, values, values[v], total, columns);
    }
    for (int32_t o = 0; o < p->n_outputs; o++) {
        int64_t step = p->outputs[o].extent == TC_FUSED_FULL ? 1 : columns;
        for (int64_t i = 0; step > 0 && i < total / step; i++)
            run->outputs[o][i] = values[p->outputs[o].value][i * step];
    }
    for (int32_t v = 0; v < tc_fused_values(p); v++)
        free(values[v]);
}

#define EACH         \
    {                \
        .full = true \
    }
#define PER_ROW       \
    {                 \
        .full = false \
    }
#define OP1(name, a)                       \
    {                                      \
        TC_FUSED_##name, TC_DTYPE_INVALID, \
        {                                  \
            a, -1, -1                      \
        }                                  \
    }
#define OP2(name, a, b)                    \
    {                                      \
        TC_FUSED_##name, TC_DTYPE_INVALID, \
        {                                  \
            a, b, -1                       \
        }                                  \
    }
#define OP3(name, a, b, c)                 \
    {                                      \
        TC_FUSED_##name, TC_DTYPE_INVALID, \
        {                                  \
            a, b, c                        \
        }                                  \
    }
#define TEST(name, a, b)          \
    {                             \
        TC_FUSED_##name, TC_BOOL, \
        {                         \
            a, b, -1              \
        }                         \
    }
#define TO(type, a)          \
    {                        \
        TC_FUSED_cast, type, \
        {                    \
            a, -1, -1        \
        }                    \
    }

/* relu(a * b + c) */
static const fused_sample chain = {{.n_inputs = 3,
                                    .n_instructions = 3,
                                    .n_outputs = 1,
                                    .inputs = {EACH, EACH, EACH},
                                    .instructions = {OP2(mul, 0, 1), OP2(add, 3, 2), OP1(relu, 4)},
                                    .outputs = {{5, TC_FUSED_FULL}}},
                                   false};

/* exp(a - max) / sum, and the maximum */
static const fused_sample softmax = {
    {.columns = 1,
     .n_inputs = 1,
     .n_instructions = 5,
     .n_outputs = 2,
     .inputs = {EACH},
     .instructions = {OP1(reduce_max, 0), OP2(sub, 0, 1), OP1(exp, 2), OP1(reduce_sum, 3),
                      OP2(div, 3, 4)},
     .outputs = {{5, TC_FUSED_FULL}, {1, TC_FUSED_KEPT}}},
    false};

/* (a - mean) / sqrt(variance + 1/4) * scale + offset; the input may become the output, which is
 * read last in another phase */
static const fused_sample normalize = {
    {.columns = 1,
     .n_inputs = 3,
     .n_constants = 1,
     .n_instructions = 9,
     .n_outputs = 1,
     .inputs = {EACH, EACH, EACH},
     .constants = {{TC_DTYPE_INVALID, 0.25}},
     .instructions = {OP1(reduce_mean, 0), OP2(sub, 0, 4), OP1(square, 5), OP1(reduce_mean, 6),
                      OP2(add, 7, 3), OP1(rsqrt, 8), OP2(mul, 5, 9), OP2(mul, 10, 1),
                      OP2(add, 11, 2)},
     .outputs = {{12, TC_FUSED_FULL}}},
    false};

/* The first output is ready long before its input is read for the last time. */
static const fused_sample early = {
    {.columns = 1,
     .n_inputs = 2,
     .n_instructions = 4,
     .n_outputs = 2,
     .inputs = {EACH, PER_ROW},
     .instructions = {OP1(tanh, 0), OP1(reduce_min, 2), OP2(sub, 0, 3), OP2(mul, 4, 1)},
     .outputs = {{2, TC_FUSED_FULL}, {5, TC_FUSED_FULL}}},
    false};

/* Sum and square root of the sum of squares of everything, and -a beside them. */
static const fused_sample totals = {
    {.columns = 2,
     .n_inputs = 1,
     .n_constants = 1,
     .n_instructions = 5,
     .n_outputs = 3,
     .inputs = {EACH},
     .constants = {{TC_DTYPE_INVALID, 0.5}},
     .instructions = {OP1(reduce_sum, 0), OP1(square, 0), OP1(reduce_sum, 3), OP2(pow, 4, 1),
                      OP1(neg, 0)},
     .outputs = {{6, TC_FUSED_FULL}, {2, TC_FUSED_ROWS}, {5, TC_FUSED_KEPT}}},
    false};

/* b per row, divided by the columns, repeated in the shape of `like` */
static const fused_sample shared = {{.columns = 2,
                                     .n_inputs = 1,
                                     .n_instructions = 1,
                                     .n_outputs = 1,
                                     .inputs = {{.shift = 2, .full = false}},
                                     .instructions = {OP1(share, 0)},
                                     .outputs = {{1, TC_FUSED_FULL}}},
                                    true};

/* where(not(a > 1/2), f(a as i32), c) with c along the first axis, and the condition */
static const fused_sample selected = {
    {.n_inputs = 2,
     .n_constants = 1,
     .n_instructions = 5,
     .n_outputs = 2,
     .inputs = {EACH, {.shift = 1, .full = true}},
     .constants = {{TC_DTYPE_INVALID, 0.5}},
     .instructions = {TEST(greater, 0, 2),
                      {TC_FUSED_logical_not, TC_BOOL, {3, -1, -1}},
                      TO(TC_I32, 0),
                      TO(TC_DTYPE_INVALID, 5),
                      OP3(where, 4, 6, 1)},
     .outputs = {{7, TC_FUSED_FULL}, {4, TC_FUSED_FULL}}},
    false};

/* Rounded to bf16 and back on the way. */
static const fused_sample rounding = {
    {.n_inputs = 1,
     .n_instructions = 3,
     .n_outputs = 2,
     .inputs = {EACH},
     .instructions = {TO(TC_BF16, 0), TO(TC_DTYPE_INVALID, 1), OP2(sub, 2, 0)},
     .outputs = {{2, TC_FUSED_FULL}, {1, TC_FUSED_FULL}}},
    false};

#define CHAIN(sample_name, a, b, y, flat) \
    {.name = sample_name " chain",        \
     .inputs = {{a}, {b}, {a}},           \
     .n_inputs = 3,                       \
     .outputs = {{y}},                    \
     .options = &chain},
#define ROWS(sample_name, rows, columns)                                          \
    {.name = "softmax of " sample_name,                                           \
     .inputs = {{OP_SHAPE(rows, columns)}},                                       \
     .outputs = {{OP_SHAPE(rows, columns)}, {OP_SHAPE(rows, 1)}},                 \
     .options = &softmax},                                                        \
        {.name = "normalized " sample_name,                                       \
         .inputs = {{OP_SHAPE(rows, columns)}, {OP_SHAPE(columns)}, {.rank = 0}}, \
         .n_inputs = 3,                                                           \
         .outputs = {{OP_SHAPE(rows, columns)}},                                  \
         .options = &normalize,                                                   \
         .loosen = 4},                                                            \
        {.name = "early output of " sample_name,                                  \
         .inputs = {{OP_SHAPE(rows, columns)}, {OP_SHAPE(rows, 1)}},              \
         .outputs = {{OP_SHAPE(rows, columns)}, {OP_SHAPE(rows, columns)}},       \
         .options = &early},                                                      \
        {.name = "totals of " sample_name,                                        \
         .inputs = {{OP_SHAPE(rows, columns)}},                                   \
         .outputs = {{OP_SHAPE(rows, columns)}, {.rank = 0}, {OP_SHAPE(1, 1)}},   \
         .options = &totals,                                                      \
         .loosen = 20},
static const op_sample samples[] = {
    BROADCASTS(CHAIN) ROWS("one element", 1, 1) ROWS("short rows", 300, 7)
        ROWS("rows of one", 40, 1) ROWS("rows of a tile", 5, 1024) ROWS("odd rows", 9, 133)
            ROWS("long rows", 3, 2500)
                ROWS("one long row", 1, 70000){.name = "no rows",
                                               .inputs = {{OP_SHAPE(0, 5)}},
                                               .outputs = {{OP_SHAPE(0, 5)}, {OP_SHAPE(0, 1)}},
                                               .options = &softmax},
    {.name = "shared",
     .inputs = {{OP_SHAPE(3, 5, 40), .dtype = TC_I8}, {OP_SHAPE(3)}},
     .outputs = {{OP_SHAPE(3, 5, 40)}},
     .options = &shared},
    {.name = "shared by many",
     .inputs = {{OP_SHAPE(1, 50, 1000), .dtype = TC_I8}, {OP_SHAPE(1)}},
     .outputs = {{OP_SHAPE(1, 50, 1000)}},
     .options = &shared},
    {.name = "selected",
     .inputs = {{OP_SHAPE(30, 70), .low = -3, .high = 3}, {OP_SHAPE(30)}},
     .outputs = {{OP_SHAPE(30, 70)}, {.dtype = TC_BOOL, OP_SHAPE(30, 70)}},
     .options = &selected},
    {.name = "rounding",
     .inputs = {{OP_SHAPE(3000)}},
     .outputs = {{OP_SHAPE(3000)}, {.dtype = TC_BF16, OP_SHAPE(3000)}},
     .options = &rounding,
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64)},
};

/* A program that says `message`. */
static const fused_sample no_output = {{.n_inputs = 1, .inputs = {EACH}}, false};
static const fused_sample forward = {{.n_inputs = 1,
                                      .n_instructions = 1,
                                      .n_outputs = 1,
                                      .inputs = {EACH},
                                      .instructions = {OP1(exp, 1)},
                                      .outputs = {{1, TC_FUSED_FULL}}},
                                     false};
static const fused_sample no_rows = {{.n_inputs = 1,
                                      .n_instructions = 1,
                                      .n_outputs = 1,
                                      .inputs = {EACH},
                                      .instructions = {OP1(reduce_sum, 0)},
                                      .outputs = {{0, TC_FUSED_FULL}}},
                                     false};

/* The sum of each row may not lie where what is multiplied with every row does. */
static const fused_sample taken = {{.columns = 1,
                                    .n_inputs = 2,
                                    .n_instructions = 2,
                                    .n_outputs = 1,
                                    .inputs = {EACH, EACH},
                                    .instructions = {OP2(mul, 0, 1), OP1(reduce_sum, 2)},
                                    .outputs = {{3, TC_FUSED_ROWS}}},
                                   false};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(3)}, {OP_SHAPE(4)}, {OP_SHAPE(3)}},
     .options = &chain,
     .message = "the inputs do not broadcast"},
    {.inputs = {{OP_SHAPE(3)}}, .options = &no_output, .message = "has no output"},
    {.inputs = {{OP_SHAPE(3)}}, .options = &forward, .message = "is not computed before"},
    {.inputs = {{OP_SHAPE(3)}}, .options = &no_rows, .message = "has nothing to reduce"},
    {.inputs = {{OP_SHAPE(3, 3)}, {OP_SHAPE(3)}},
     .options = &taken,
     .message = "is read in every row"},
    {.inputs = {{.rank = 0}},
     .n_inputs = 1,
     .options = &softmax,
     .message = "fewer axes than a row"},
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 4)}},
     .options = &early,
     .message = "varies along the columns"},
    {.inputs = {{OP_SHAPE(3), .dtype = TC_I32}},
     .options = &softmax,
     .message = "does not take values of this dtype"},
};

extern const op_case op_case_fused;
const op_case op_case_fused = {.op = "fused",
                               .build = build,
                               .reference = reference,
                               OP_LIST(samples),
                               OP_BAD(bad),
                               .n_inputs = 1,
                               .dtypes = TC_DTYPES_FLOAT};
