#include "kernels/cuda/fused_writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/host.h"

/*
 * Text
 */

static bool reserve(writer *w, size_t more)
{
    if (w->failed || w->length + more + 1 <= w->capacity)
        return !w->failed;
    size_t capacity = 2 * (w->length + more) + 4096;
    char *text = static_cast<char *>(tc_cuda_host->allocate(capacity));
    if (!text) {
        w->failed = true;
        return false;
    }
    if (w->text)
        memcpy(text, w->text, w->length);
    tc_cuda_host->release(w->text);
    w->text = text;
    w->capacity = capacity;
    return true;
}

void fused_put(writer *w, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length >= 0 && reserve(w, static_cast<size_t>(length))) {
        vsnprintf(w->text + w->length, static_cast<size_t>(length) + 1, format, arguments);
        w->length += static_cast<size_t>(length);
    }
    va_end(arguments);
}

/* Long texts as they are. */
void fused_put_text(writer *w, const char *text)
{
    size_t length = strlen(text);
    if (!reserve(w, length))
        return;
    memcpy(w->text + w->length, text, length + 1);
    w->length += length;
}

/*
 * Types
 */
const char *fused_stored(tc_dtype dtype)
{
    switch (dtype) {
    case TC_F32: return "float";
    case TC_F64: return "double";
    case TC_F16: return "half_bits";
    case TC_BF16: return "bfloat_bits";
    case TC_I8: return "signed char";
    case TC_I16: return "short";
    case TC_I32: return "int";
    case TC_I64: return "long long";
    case TC_U16: return "unsigned short";
    case TC_U32: return "unsigned";
    case TC_U64: return "unsigned long long";
    default: return "unsigned char"; /* u8 and bool */
    }
}

static bool is_half(tc_dtype dtype)
{
    return dtype == TC_F16 || dtype == TC_BF16;
}

const char *fused_computed(tc_dtype dtype)
{
    return is_half(dtype) ? "float" : fused_stored(dtype);
}

/*
 * Phases
 */
void fused_find_phases(writer *w)
{
    const tc_fused_program *p = w->p;
    tc_fused_extents(p, w->full);
    w->n_phases = 1;
    for (int32_t v = 0; v < tc_fused_values(p); v++) {
        const tc_fused_instruction *instruction = tc_fused_producer(p, v);
        w->phase[v] = w->available[v] = 0;
        for (int k = 0; instruction && k < tc_fused_infos[instruction->code].operands; k++)
            if (w->available[instruction->operands[k]] > w->phase[v])
                w->phase[v] = w->available[instruction->operands[k]];
        w->available[v] = w->phase[v] + (instruction && fused_is_reduction(instruction));
        if (w->available[v] >= w->n_phases)
            w->n_phases = w->available[v] + 1;
    }
}

int32_t fused_phases(const tc_fused_program *program)
{
    writer w = {};
    w.p = program;
    fused_find_phases(&w);
    return w.n_phases;
}

/* The full values that the loop over the columns of `phase` computes: what its reductions take,
 * and, in the last one, what is stored. */
void fused_find_needed(const writer *w, int32_t phase, bool needed[TC_FUSED_VALUES])
{
    const tc_fused_program *p = w->p;
    memset(needed, 0, TC_FUSED_VALUES * sizeof(bool));
    for (int32_t o = 0; phase == w->n_phases - 1 && o < p->n_outputs; o++)
        needed[p->outputs[o].value] |= w->full[p->outputs[o].value];
    for (int32_t i = p->n_instructions - 1; i >= 0; i--) {
        const tc_fused_instruction *instruction = &p->instructions[i];
        int32_t v = fused_value_of(p, i);
        bool reduces = fused_is_reduction(instruction) && w->phase[v] == phase;
        if (!reduces && !(needed[v] && w->full[v]))
            continue;
        for (int k = 0; k < tc_fused_infos[instruction->code].operands; k++)
            needed[instruction->operands[k]] |= w->full[instruction->operands[k]];
    }
}

/*
 * Values
 */
static void put_number(writer *w, tc_dtype dtype, double value)
{
    const char *type = fused_computed(dtype);
    if (dtype == TC_F64 || strcmp(type, "float") == 0) {
        if (isnan(value))
            fused_put(w, "(%s)NAN", type);
        else if (isinf(value))
            fused_put(w, "(%s)%sINFINITY", type, value < 0 ? "-" : "");
        else
            fused_put(w, "(%s)%a", type, value);
    } else {
        fused_put(w, "(%s)(%a)", type, value);
    }
}

/* A value where it is used: of a thread's element `e`, or of the row. */
void fused_put_value(writer *w, int32_t v)
{
    const tc_fused_program *p = w->p;
    if (v >= p->n_inputs && v < p->n_inputs + p->n_constants) {
        const tc_fused_constant *constant = &p->constants[v - p->n_inputs];
        put_number(w, constant->dtype, constant->value);
    } else if (v < p->n_inputs && w->full[v]) {
        fused_put(w, w->shape->cached ? "widen(x%d[u].at[e])" : "widen(x%d.at[e])",
                  static_cast<int>(v));
    } else {
        fused_put(w, "v%d", static_cast<int>(v));
    }
}

static void put_operands(writer *w, const tc_fused_instruction *instruction)
{
    for (int k = 0; k < tc_fused_infos[instruction->code].operands; k++) {
        fused_put(w, k ? ", " : "");
        fused_put_value(w, instruction->operands[k]);
    }
}

void fused_put_instruction(writer *w, int32_t i)
{
    const tc_fused_instruction *instruction = &w->p->instructions[i];
    tc_dtype from = tc_fused_dtype(w->p, instruction->operands[0]);
    const char *type = fused_computed(instruction->dtype);
    fused_put(w, "const %s v%d = ", type, static_cast<int>(fused_value_of(w->p, i)));
    switch (tc_fused_infos[instruction->code].kind) {
    case TC_FUSED_WHERE:
        fused_put_value(w, instruction->operands[0]);
        fused_put(w, " ? ");
        fused_put_value(w, instruction->operands[1]);
        fused_put(w, " : ");
        fused_put_value(w, instruction->operands[2]);
        break;
    case TC_FUSED_CAST:
        if (instruction->dtype == TC_BOOL)
            fused_put(w, "(unsigned char)(");
        else if (is_half(instruction->dtype))
            fused_put(w, "widen(narrow<%s>::of(cast<float>::of(", fused_stored(instruction->dtype));
        else
            fused_put(w, "cast<%s>::of(", type);
        put_operands(w, instruction);
        fused_put(w, instruction->dtype == TC_BOOL ? " != 0)"
                     : is_half(instruction->dtype) ? ")))"
                                                   : ")");
        break;
    case TC_FUSED_SHARE:
        put_operands(w, instruction);
        fused_put(w, " / (%s)p.row_length", type);
        break;
    default:
        fused_put(w, "tc_math_%s<%s>(", tc_fused_infos[instruction->code].name,
                  fused_computed(from));
        put_operands(w, instruction);
        fused_put(w, ")");
    }
    fused_put(w, ";\n");
}

/*
 * Places of elements
 */

/* Sums of coordinate times stride of an index along rows (part 0) or columns (1), for the inputs
 * that need them. */
void fused_put_loops(writer *w, const char *index, int part, const char *prefix)
{
    const fused_shape *s = w->shape;
    bool any = false;
    for (int32_t i = 0; i < w->p->n_inputs; i++)
        if (s->axis[i][part] == FUSED_LOOPS) {
            fused_put(w, "long long %s%d = 0;\n", prefix, static_cast<int>(i));
            any = true;
        }
    if (!any)
        return;
    fused_put(w, "{ place rest = %s;\n", index);
    for (int d = s->rank[part] - 1; d >= 0; d--) {
        if (d > 0)
            fused_put(
                w,
                "{ const place size = (place)p.sizes[%d][%d], next = rest / size, at = rest - "
                "next * size; rest = next;\n",
                part, d);
        else
            fused_put(w, "{ const place at = rest;\n");
        for (int32_t i = 0; i < w->p->n_inputs; i++)
            if (s->axis[i][part] == FUSED_LOOPS)
                fused_put(w, "%s%d += (long long)at * p.strides[%d][%d][%d];\n", prefix,
                          static_cast<int>(i), static_cast<int>(i), part, d);
        fused_put(w, "}\n");
    }
    fused_put(w, "}\n");
}

void fused_put_place(writer *w, int32_t input, int part, const char *index, const char *prefix)
{
    switch (w->shape->axis[input][part]) {
    case FUSED_ONE: fused_put(w, "0"); break;
    case FUSED_DENSE: fused_put(w, "(long long)%s", index); break;
    case FUSED_LOOPS: fused_put(w, "%s%d", prefix, static_cast<int>(input)); break;
    }
}

/* Loads the elements of full input `i` at column `c` into `into`. */
static void put_load(writer *w, int32_t i, const char *into)
{
    const char *type = fused_stored(w->p->inputs[i].dtype);
    fused_put(w, "{ const %s *from = (const %s *)p.inputs[%d] + (", type, type,
              static_cast<int>(i));
    fused_put_place(w, i, 0, "row", "r");
    fused_put(w, ") * %s + (", w->shape->axis[i][0] == FUSED_DENSE ? "p.columns" : "1");
    fused_put_place(w, i, 1, "c", "o");
    fused_put(w, ");\n");
    if (w->shape->axis[i][1] == FUSED_DENSE || w->shape->step[i])
        fused_put(w, "%s = *(const pack<%s, W> *)from; }\n", into, type);
    else
        fused_put(w, "for (int e = 0; e < W; e++) %s.at[e] = *from; }\n", into);
}

static bool needs_columns(const writer *w, const bool *needed)
{
    for (int32_t i = 0; i < w->p->n_inputs; i++)
        if (needed[i] && w->shape->axis[i][1] == FUSED_LOOPS)
            return true;
    return false;
}

void fused_put_loads(writer *w, const bool *needed)
{
    if (needs_columns(w, needed))
        fused_put_loops(w, "c", 1, "o");
    for (int32_t i = 0; i < w->p->n_inputs; i++) {
        if (!needed[i] || w->p->inputs[i].dtype == TC_DTYPE_INVALID)
            continue;
        char into[32];
        snprintf(into, sizeof into, w->shape->cached ? "x%d[u]" : "x%d", static_cast<int>(i));
        if (!w->shape->cached)
            fused_put(w, "pack<%s, W> x%d;\n", fused_stored(w->p->inputs[i].dtype),
                      static_cast<int>(i));
        put_load(w, i, into);
    }
}
