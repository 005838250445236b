#include "core/fused_program.h"

#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "core/shape.h"

#define FLOAT  TC_DTYPES_FLOAT
#define NUMBER (TC_DTYPES_FLOAT | TC_DTYPE_BIT(TC_I32) | TC_DTYPE_BIT(TC_I64))
#define BOOL   TC_DTYPES_BOOL
#define ANY    TC_DTYPES_ANY

#define UNARY_OPERANDS   1
#define BINARY_OPERANDS  2
#define COMPARE_OPERANDS 2
#define WHERE_OPERANDS   3
#define CAST_OPERANDS    1
#define SHARE_OPERANDS   1
#define REDUCE_OPERANDS  1

const tc_fused_info tc_fused_infos[TC_FUSED_CODES] = {
#define TC_FUSED(code, kind, dtypes, text) {#code, TC_FUSED_##kind, dtypes, text, kind##_OPERANDS},
#include "core/fused_codes.def"
#undef TC_FUSED
};

int tc_fused_code_of(const tc_attrs *attrs)
{
    const char *name = attrs->op->name;
    for (int code = 0; code < TC_FUSED_CODES; code++) {
        if (tc_fused_infos[code].name[0] != name[0] || strcmp(tc_fused_infos[code].name, name) != 0)
            continue;
        if (code == TC_FUSED_gelu && tc_attrs_bool(attrs, "tanh_approximation"))
            return TC_FUSED_gelu_tanh;
        return code;
    }
    return -1;
}

void tc_fused_extents(const tc_fused_program *p, bool full[TC_FUSED_VALUES])
{
    int32_t value = 0;
    for (int32_t i = 0; i < p->n_inputs; i++)
        full[value++] = p->inputs[i].full;
    for (int32_t i = 0; i < p->n_constants; i++)
        full[value++] = false;
    for (int32_t i = 0; i < p->n_instructions; i++) {
        const tc_fused_instruction *instruction = &p->instructions[i];
        const tc_fused_info *info = &tc_fused_infos[instruction->code];
        bool any = false;
        for (int k = 0; k < info->operands; k++)
            any = any || full[instruction->operands[k]];
        full[value++] = any && info->kind != TC_FUSED_REDUCE;
    }
}

static bool in_set(uint32_t dtypes, tc_dtype dtype)
{
    return (unsigned)dtype < TC_DTYPE_COUNT && dtypes & TC_DTYPE_BIT(dtype);
}

static const char *verify_instruction(const tc_fused_program *p, int32_t index, bool *full)
{
    const tc_fused_instruction *instruction = &p->instructions[index];
    if ((unsigned)instruction->code >= TC_FUSED_CODES)
        return "an instruction has no known code";
    const tc_fused_info *info = &tc_fused_infos[instruction->code];
    int32_t value = p->n_inputs + p->n_constants + index;
    tc_dtype dtypes[3] = {TC_DTYPE_INVALID};
    bool any = false;
    for (int k = 0; k < 3; k++) {
        int32_t operand = instruction->operands[k];
        if (k >= info->operands) {
            if (operand != -1)
                return "an instruction has too many operands";
            continue;
        }
        if (operand < 0 || operand >= value)
            return "an instruction reads a value that is not computed before";
        dtypes[k] = tc_fused_dtype(p, operand);
        any = any || full[operand];
    }
    tc_dtype result = instruction->dtype, first = dtypes[info->kind == TC_FUSED_WHERE];
    if (!in_set(ANY, result) || !in_set(info->dtypes, first))
        return "an instruction does not take values of this dtype";
    if (info->kind == TC_FUSED_WHERE && (dtypes[0] != TC_BOOL || dtypes[2] != first))
        return "the operands of a where differ in dtype";
    if ((info->kind == TC_FUSED_BINARY || info->kind == TC_FUSED_COMPARE) && dtypes[1] != first)
        return "the operands of an instruction differ in dtype";
    if (info->kind != TC_FUSED_CAST && result != (info->kind == TC_FUSED_COMPARE ? TC_BOOL : first))
        return "the result of an instruction has the wrong dtype";
    if (info->kind == TC_FUSED_REDUCE && (!any || p->columns == 0))
        return "a reduction has nothing to reduce";
    full[value] = any && info->kind != TC_FUSED_REDUCE;
    return NULL;
}

static bool in_range(int32_t count, int32_t least, int32_t most)
{
    return count >= least && count <= most;
}

const char *tc_fused_verify(const tc_fused_program *p)
{
    bool full[TC_FUSED_VALUES];
    if (!in_range(p->columns, 0, TC_MAX_RANK) || !in_range(p->n_inputs, 0, TC_FUSED_INPUTS) ||
        !in_range(p->n_constants, 0, TC_FUSED_CONSTANTS) ||
        !in_range(p->n_instructions, 0, TC_FUSED_INSTRUCTIONS) ||
        !in_range(p->n_outputs, 1, TC_FUSED_OUTPUTS))
        return "the program is too large or has no output";
    for (int32_t i = 0; i < p->n_inputs; i++) {
        if (!in_set(ANY | TC_DTYPE_BIT(TC_DTYPE_INVALID), p->inputs[i].dtype) ||
            !in_range(p->inputs[i].shift, 0, TC_MAX_RANK))
            return "an input has no valid dtype or shift";
        full[i] = p->inputs[i].full;
    }
    for (int32_t i = 0; i < p->n_constants; i++) {
        if (!in_set(NUMBER | BOOL, p->constants[i].dtype))
            return "a constant has no dtype that programs compute with";
        full[p->n_inputs + i] = false;
    }
    int32_t reductions = 0;
    for (int32_t i = 0; i < p->n_instructions; i++) {
        const char *problem = verify_instruction(p, i, full);
        if (problem)
            return problem;
        reductions += tc_fused_infos[p->instructions[i].code].kind == TC_FUSED_REDUCE;
    }
    if (reductions > TC_FUSED_REDUCTIONS)
        return "the program has too many reductions";
    for (int32_t i = 0; i < p->n_outputs; i++) {
        const tc_fused_output *output = &p->outputs[i];
        if (output->value < 0 || output->value >= tc_fused_values(p))
            return "an output is no value of the program";
        if ((unsigned)output->extent > TC_FUSED_ROWS)
            return "an output has no valid extent";
        if (output->extent != TC_FUSED_FULL && (full[output->value] || p->columns == 0))
            return "an output per row has more than one element for it";
        if (output->extent != TC_FUSED_FULL && !tc_fused_producer(p, output->value))
            return "an output per row is not computed";
    }
    /* An input of as many bytes as output 0, which has the whole domain, is as long: only elements
     * of more bytes could be fewer. */
    size_t element = tc_dtype_size(tc_fused_dtype(p, p->outputs[0].value));
    if (element == 0)
        return "output 0 is an input that is not given";
    for (int32_t i = 0; i < p->n_inputs && i < TC_FUSED_TAKEN; i++) {
        if (tc_dtype_size(p->inputs[i].dtype) > element)
            return "an input whose memory output 0 may take has larger elements";
        if (p->inputs[i].dtype != TC_DTYPE_INVALID && p->outputs[0].extent != TC_FUSED_FULL)
            return "an input whose memory output 0 may take is read in every row of it";
    }
    return NULL;
}

const char *tc_fused_read(const tc_attrs *attrs, tc_fused_program *p)
{
    int32_t count, n_numbers;
    const int64_t *ints = tc_attrs_ints(attrs, "program", &count);
    const double *numbers = tc_attrs_floats(attrs, "constants", &n_numbers);
    memset(p, 0, sizeof *p);
    if (count < 5)
        return "the program is cut off";
    for (int32_t i = 0; i < count; i++)
        if (ints[i] < INT32_MIN || ints[i] > INT32_MAX)
            return "the program holds a number that is too large";
#define NEXT() ((int32_t)*ints++)
    p->columns = NEXT();
    p->n_inputs = NEXT();
    p->n_constants = NEXT();
    p->n_instructions = NEXT();
    p->n_outputs = NEXT();
    if (!in_range(p->n_inputs, 0, TC_FUSED_INPUTS) ||
        !in_range(p->n_constants, 0, TC_FUSED_CONSTANTS) ||
        !in_range(p->n_instructions, 0, TC_FUSED_INSTRUCTIONS) ||
        !in_range(p->n_outputs, 1, TC_FUSED_OUTPUTS))
        return "the program is too large or has no output";
    if (count != 5 + 3 * p->n_inputs + p->n_constants + 5 * p->n_instructions + 2 * p->n_outputs ||
        n_numbers != p->n_constants)
        return "the length of the program differs from what it says";
    for (int32_t i = 0; i < p->n_inputs; i++) {
        p->inputs[i].dtype = (tc_dtype)NEXT();
        p->inputs[i].shift = NEXT();
        p->inputs[i].full = NEXT() != 0;
    }
    for (int32_t i = 0; i < p->n_constants; i++)
        p->constants[i] = (tc_fused_constant){(tc_dtype)NEXT(), numbers[i]};
    for (int32_t i = 0; i < p->n_instructions; i++) {
        p->instructions[i].code = (tc_fused_code)NEXT();
        p->instructions[i].dtype = (tc_dtype)NEXT();
        for (int k = 0; k < 3; k++)
            p->instructions[i].operands[k] = NEXT();
    }
    for (int32_t i = 0; i < p->n_outputs; i++) {
        p->outputs[i].value = NEXT();
        p->outputs[i].extent = (tc_fused_extent)NEXT();
    }
#undef NEXT
    return tc_fused_verify(p);
}

int32_t tc_fused_write(const tc_fused_program *p, int64_t ints[TC_FUSED_INTS])
{
    int32_t n = 0;
    ints[n++] = p->columns;
    ints[n++] = p->n_inputs;
    ints[n++] = p->n_constants;
    ints[n++] = p->n_instructions;
    ints[n++] = p->n_outputs;
    for (int32_t i = 0; i < p->n_inputs; i++) {
        ints[n++] = p->inputs[i].dtype;
        ints[n++] = p->inputs[i].shift;
        ints[n++] = p->inputs[i].full;
    }
    for (int32_t i = 0; i < p->n_constants; i++)
        ints[n++] = p->constants[i].dtype;
    for (int32_t i = 0; i < p->n_instructions; i++) {
        ints[n++] = p->instructions[i].code;
        ints[n++] = p->instructions[i].dtype;
        for (int k = 0; k < 3; k++)
            ints[n++] = p->instructions[i].operands[k];
    }
    for (int32_t i = 0; i < p->n_outputs; i++) {
        ints[n++] = p->outputs[i].value;
        ints[n++] = p->outputs[i].extent;
    }
    return n;
}

/* Appends axes of size 1. */
static bool shift_shape(tc_shape *shape, int32_t shift)
{
    if (shape->rank + shift > TC_MAX_RANK)
        return false;
    for (int32_t i = 0; i < shift; i++)
        shape->dims[shape->rank++] = (tc_dim){1, NULL};
    return true;
}

/* What must be 1 is; unknown sizes are seen when they are known. */
static bool ones_behind(const tc_shape *shape, int32_t first)
{
    for (int32_t i = first < 0 ? 0 : first; i < shape->rank; i++)
        if (shape->dims[i].size >= 0 && shape->dims[i].size != 1)
            return false;
    return true;
}

const char *tc_fused_domain(const tc_fused_program *p, const tc_value_info *like,
                            const tc_value_info *inputs, tc_shape *domain)
{
    tc_shape shapes[TC_FUSED_INPUTS];
    *domain = like ? like->shape : tc_shape_of(0, NULL);
    for (int32_t i = 0; i < p->n_inputs; i++) {
        shapes[i] = inputs[i].shape;
        if (inputs[i].dtype != p->inputs[i].dtype)
            return "an input has another dtype than the program says";
        if (inputs[i].dtype == TC_DTYPE_INVALID)
            continue;
        if (!shift_shape(&shapes[i], p->inputs[i].shift) ||
            !tc_shape_broadcast(domain, &shapes[i], domain))
            return "the inputs do not broadcast";
    }
    if (domain->rank < p->columns)
        return "the inputs have fewer axes than a row";
    for (int32_t i = 0; i < p->n_inputs; i++)
        if (inputs[i].dtype != TC_DTYPE_INVALID && !p->inputs[i].full &&
            !ones_behind(&shapes[i], p->columns ? shapes[i].rank - p->columns : 0))
            return "an input that is not full varies along the columns";
    return NULL;
}

tc_shape tc_fused_output_shape(const tc_fused_program *p, int32_t output, const tc_shape *domain)
{
    tc_shape shape = *domain;
    tc_fused_extent extent = p->outputs[output].extent;
    int32_t rows = domain->rank - p->columns;
    for (int32_t i = rows; i < domain->rank && extent == TC_FUSED_KEPT; i++)
        shape.dims[i] = (tc_dim){1, NULL};
    if (extent != TC_FUSED_ROWS)
        return shape;
    for (int32_t i = rows; i < TC_MAX_RANK; i++)
        shape.dims[i] = (tc_dim){0, NULL};
    shape.rank = rows;
    return shape;
}

/*
 * Text
 */
typedef struct printer {
    const tc_fused_program *p;
    tc_text *text;
    int uses[TC_FUSED_VALUES];
} printer;

static void print_value(const printer *r, int32_t value, bool nested);

/* Values that several read are computed before; numbered in their order. */
static bool is_named(const printer *r, int32_t value)
{
    return tc_fused_producer(r->p, value) && r->uses[value] > 1;
}

static void print_expression(const printer *r, int32_t value, bool nested)
{
    const tc_fused_instruction *instruction = tc_fused_producer(r->p, value);
    const tc_fused_info *info = &tc_fused_infos[instruction->code];
    if (info->text[0]) {
        tc_text_append(r->text, nested ? "(" : "");
        print_value(r, instruction->operands[0], true);
        tc_text_append(r->text, " %s ", info->text);
        print_value(r, instruction->operands[1], true);
        tc_text_append(r->text, nested ? ")" : "");
        return;
    }
    tc_text_append(r->text, "%s(",
                   info->kind == TC_FUSED_CAST ? tc_dtype_name(instruction->dtype) : info->name);
    for (int k = 0; k < info->operands; k++) {
        tc_text_append(r->text, k ? ", " : "");
        print_value(r, instruction->operands[k], false);
    }
    tc_text_append(r->text, ")");
}

static char letter_of(const tc_fused_program *p, int32_t input)
{
    char letter = 'a';
    for (int32_t i = 0; i < input; i++)
        letter = (char)(letter + (p->inputs[i].dtype != TC_DTYPE_INVALID));
    return letter;
}

static void print_value(const printer *r, int32_t value, bool nested)
{
    const tc_fused_program *p = r->p;
    if (value < p->n_inputs)
        tc_text_append(r->text, "%c", letter_of(p, value));
    else if (!tc_fused_producer(p, value))
        tc_text_append(r->text, "%.9g", p->constants[value - p->n_inputs].value);
    else if (is_named(r, value))
        tc_text_append(r->text, "t%d", (int)(value - p->n_inputs - p->n_constants));
    else
        print_expression(r, value, nested);
}

void tc_fused_program_print(const tc_fused_program *p, tc_text *text)
{
    printer r = {.p = p, .text = text};
    for (int32_t i = 0; i < p->n_instructions; i++)
        for (int k = 0; k < tc_fused_infos[p->instructions[i].code].operands; k++)
            r.uses[p->instructions[i].operands[k]]++;
    for (int32_t i = 0; i < p->n_outputs; i++)
        r.uses[p->outputs[i].value]++;
    for (int32_t value = 0; value < tc_fused_values(p); value++) {
        if (!is_named(&r, value))
            continue;
        tc_text_append(text, "t%d = ", (int)(value - p->n_inputs - p->n_constants));
        print_expression(&r, value, false);
        tc_text_append(text, "; ");
    }
    for (int32_t i = 0; i < p->n_outputs; i++) {
        tc_text_append(text, i ? ", " : "");
        print_value(&r, p->outputs[i].value, false);
    }
}
