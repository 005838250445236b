#include "kernels/cuda/fused_source.h"

#include <string.h>

#include "kernels/cuda/fused_prelude.h"
#include "kernels/cuda/fused_writer.h"
#include "kernels/cuda/host.h"
#include "kernels/cuda/math_source.h"

/*
 * Kernels
 */

/* Opens the loop of a thread over its columns of the row or chunk. */
static void put_column_loop(writer *w)
{
    const fused_shape *s = w->shape;
    if (!s->reduces)
        fused_put(w,
                  "for (place c = ((place)blockIdx.x * %d + threadIdx.x) * W; c < end; c += "
                  "(place)gridDim.x * %d * W) {\n",
                  static_cast<int>(s->threads), static_cast<int>(s->threads));
    else if (s->cached)
        fused_put(
            w,
            "_Pragma(\"unroll\") for (int u = 0; u < U; u++) { const place c = (lane + (place)u "
            "* %d) * W; if (c < end) {\n",
            static_cast<int>(s->group));
    else
        fused_put(w, "for (place c = begin + lane * W; c < end; c += (place)%d * W) {\n",
                  static_cast<int>(s->group));
}

static void end_column_loop(writer *w)
{
    fused_put(w, w->shape->reduces && w->shape->cached ? "} }\n" : "}\n");
}

static const char *reduction_type(const tc_fused_instruction *instruction)
{
    return instruction->code == TC_FUSED_reduce_max   ? "most"
           : instruction->code == TC_FUSED_reduce_min ? "least"
                                                      : "add_up";
}

static const char *reduction_start(const tc_fused_instruction *instruction)
{
    return instruction->code == TC_FUSED_reduce_max   ? "-INFINITY"
           : instruction->code == TC_FUSED_reduce_min ? "INFINITY"
                                                      : "0";
}

/* Row v of a reduction from the total of its group. */
static void put_reduced(writer *w, int32_t i)
{
    const tc_fused_instruction *instruction = &w->p->instructions[i];
    const char *type = fused_computed(instruction->dtype);
    fused_put(w, "const %s v%d = (%s)(t%d%s);\n", type, static_cast<int>(fused_value_of(w->p, i)),
              type, static_cast<int>(i),
              instruction->code == TC_FUSED_reduce_mean ? " / (double)p.row_length" : "");
}

/* Whether output 0 may be written where all threads read an element of the row. */
static bool takes_row_input(const writer *w)
{
    for (int32_t i = 0; i < w->p->n_inputs && i < TC_FUSED_TAKEN; i++)
        if (!w->full[i] && w->p->inputs[i].dtype != TC_DTYPE_INVALID)
            return true;
    return false;
}

/* The values of a row that are known from `phase` on; inputs and instructions. */
static void put_row_values(writer *w, int32_t phase)
{
    const tc_fused_program *p = w->p;
    for (int32_t i = 0; phase == 0 && i < p->n_inputs; i++) {
        if (w->full[i] || p->inputs[i].dtype == TC_DTYPE_INVALID)
            continue;
        fused_put(w, "const %s v%d = widen(((const %s *)p.inputs[%d])[",
                  fused_computed(p->inputs[i].dtype), static_cast<int>(i),
                  fused_stored(p->inputs[i].dtype), static_cast<int>(i));
        fused_put_place(w, i, 0, "row", "r");
        fused_put(w, "]);\n");
    }
    if (phase == 0 && takes_row_input(w))
        fused_put(w, w->shape->group == 32 ? "__syncwarp();\n" : "__syncthreads();\n");
    for (int32_t i = 0; i < p->n_instructions; i++) {
        int32_t v = fused_value_of(p, i);
        if (!w->full[v] && !fused_is_reduction(&p->instructions[i]) && w->phase[v] == phase)
            fused_put_instruction(w, i);
    }
}

static void put_stores(writer *w)
{
    const tc_fused_program *p = w->p;
    for (int32_t o = 0; o < p->n_outputs; o++) {
        int32_t v = p->outputs[o].value;
        if (p->outputs[o].extent == TC_FUSED_FULL) {
            const char *type = fused_stored(tc_fused_dtype(p, v));
            fused_put(w, "y%d.at[e] = narrow<%s>::of(", static_cast<int>(o), type);
            fused_put_value(w, v);
            fused_put(w, ");\n");
        }
    }
}

/* The body for the elements of one group of columns: computes, reduces, stores. */
static void put_elements(writer *w, int32_t phase, const bool *needed)
{
    const tc_fused_program *p = w->p;
    bool stores = phase == w->n_phases - 1;
    for (int32_t o = 0; stores && o < p->n_outputs; o++)
        if (p->outputs[o].extent == TC_FUSED_FULL)
            fused_put(w, "pack<%s, W> y%d;\n", fused_stored(tc_fused_dtype(p, p->outputs[o].value)),
                      static_cast<int>(o));
    fused_put(w, "_Pragma(\"unroll\") for (int e = 0; e < W; e++) {\n");
    for (int32_t i = 0; i < p->n_instructions; i++) {
        int32_t v = fused_value_of(p, i);
        const tc_fused_instruction *instruction = &p->instructions[i];
        if (w->full[v] && needed[v]) {
            fused_put_instruction(w, i);
        } else if (fused_is_reduction(instruction) && w->phase[v] == phase) {
            fused_put(w, "t%d = %s::of(t%d, (double)", static_cast<int>(i),
                      reduction_type(instruction), static_cast<int>(i));
            fused_put_value(w, instruction->operands[0]);
            fused_put(w, ");\n");
        }
    }
    if (stores)
        put_stores(w);
    fused_put(w, "}\n");
    for (int32_t o = 0; stores && o < p->n_outputs; o++)
        if (p->outputs[o].extent == TC_FUSED_FULL) {
            const char *type = fused_stored(tc_fused_dtype(p, p->outputs[o].value));
            fused_put(
                w,
                "*(pack<%s, W> *)((%s *)p.outputs[%d] + (long long)row * p.columns + c) = y%d;\n",
                type, type, static_cast<int>(o), static_cast<int>(o));
        }
}

static bool has_work(const bool *needed)
{
    for (int32_t v = 0; v < TC_FUSED_VALUES; v++)
        if (needed[v])
            return true;
    return false;
}

static bool stores_full(const writer *w)
{
    for (int32_t o = 0; o < w->p->n_outputs; o++)
        if (w->p->outputs[o].extent == TC_FUSED_FULL)
            return true;
    return false;
}

static void put_phase_loop(writer *w, int32_t phase)
{
    const tc_fused_program *p = w->p;
    bool needed[TC_FUSED_VALUES];
    fused_find_needed(w, phase, needed);
    for (int32_t i = 0; i < p->n_instructions; i++)
        if (fused_is_reduction(&p->instructions[i]) && w->phase[fused_value_of(p, i)] == phase)
            fused_put(w, "double t%d = %s;\n", static_cast<int>(i),
                      reduction_start(&p->instructions[i]));
    if (!has_work(needed) && !(phase == w->n_phases - 1 && stores_full(w)))
        return;
    put_column_loop(w);
    if (!w->shape->cached)
        fused_put_loads(w, needed);
    put_elements(w, phase, needed);
    end_column_loop(w);
}

/* Reads everything that any phase needs into registers. */
static void put_cache(writer *w)
{
    bool all[TC_FUSED_VALUES] = {false}, needed[TC_FUSED_VALUES];
    for (int32_t phase = 0; phase < w->n_phases; phase++) {
        fused_find_needed(w, phase, needed);
        for (int32_t v = 0; v < TC_FUSED_VALUES; v++)
            all[v] |= needed[v];
    }
    fused_put(w, "constexpr int U = %d / W;\n", static_cast<int>(w->shape->cached));
    for (int32_t i = 0; i < w->p->n_inputs; i++)
        if (all[i])
            fused_put(w, "pack<%s, W> x%d[U];\n", fused_stored(w->p->inputs[i].dtype),
                      static_cast<int>(i));
    put_column_loop(w);
    fused_put_loads(w, all);
    end_column_loop(w);
}

static void put_row_outputs(writer *w)
{
    const tc_fused_program *p = w->p;
    fused_put(w, "if (lane == 0%s) {\n", w->shape->split ? " && blockIdx.y == 0" : "");
    for (int32_t o = 0; o < p->n_outputs; o++) {
        int32_t v = p->outputs[o].value;
        if (p->outputs[o].extent == TC_FUSED_FULL)
            continue;
        const char *type = fused_stored(tc_fused_dtype(p, v));
        fused_put(w, "((%s *)p.outputs[%d])[row] = narrow<%s>::of(", type, static_cast<int>(o),
                  type);
        fused_put_value(w, v);
        fused_put(w, ");\n");
    }
    fused_put(w, "}\n");
}

/* What the chunks of a row found in `phase`, added up in their order. */
static void put_combined(writer *w, int32_t phase)
{
    const tc_fused_program *p = w->p;
    for (int32_t i = 0, n = 0; i < p->n_instructions; i++) {
        const tc_fused_instruction *instruction = &p->instructions[i];
        if (!fused_is_reduction(instruction))
            continue;
        if (w->phase[fused_value_of(p, i)] == phase) {
            fused_put(w, "double t%d = %s;\n", static_cast<int>(i), reduction_start(instruction));
            fused_put(w,
                      "for (place k = lane; k < (place)p.chunks; k += %d) t%d = %s::of(t%d, "
                      "p.partials[(%d * p.rows + row) * p.chunks + k]);\n",
                      static_cast<int>(w->shape->group), static_cast<int>(i),
                      reduction_type(instruction), static_cast<int>(i), static_cast<int>(n));
            fused_put(w, "t%d = together<%s, %d>(t%d, shared);\n", static_cast<int>(i),
                      reduction_type(instruction), static_cast<int>(w->shape->group),
                      static_cast<int>(i));
            put_reduced(w, i);
        }
        n++;
    }
}

static void put_totals(writer *w, int32_t phase)
{
    const tc_fused_program *p = w->p;
    for (int32_t i = 0, n = 0; i < p->n_instructions; i++) {
        const tc_fused_instruction *instruction = &p->instructions[i];
        if (!fused_is_reduction(instruction))
            continue;
        if (w->phase[fused_value_of(p, i)] == phase) {
            fused_put(w, "t%d = together<%s, %d>(t%d, shared);\n", static_cast<int>(i),
                      reduction_type(instruction), static_cast<int>(w->shape->group),
                      static_cast<int>(i));
            if (w->shape->split)
                fused_put(
                    w,
                    "if (lane == 0) p.partials[(%d * p.rows + row) * p.chunks + blockIdx.y] = "
                    "t%d;\n",
                    static_cast<int>(n), static_cast<int>(i));
            else
                put_reduced(w, i);
        }
        n++;
    }
}

/* Rows by groups of threads. */
static void put_rows_body(writer *w, int32_t only)
{
    const fused_shape *s = w->shape;
    fused_put(w, "__shared__ double shared[32];\n(void)shared;\n");
    fused_put(w, "const place lane = threadIdx.x %% %d;\n", static_cast<int>(s->group));
    fused_put(w, "const place row = (place)blockIdx.x * %d + threadIdx.x / %d;\n",
              static_cast<int>(s->threads / s->group), static_cast<int>(s->group));
    fused_put(w, "if (row >= (place)p.rows) return;\n");
    if (s->split)
        fused_put(w, "const place begin = (place)blockIdx.y * (place)p.chunk;\n"
                     "const place end = begin + (place)p.chunk < (place)p.columns ? begin + "
                     "(place)p.chunk : (place)p.columns;\n");
    else
        fused_put(w, "const place begin = 0, end = (place)p.columns;\n(void)begin;\n");
    fused_put_loops(w, "row", 0, "r");
    if (s->cached)
        put_cache(w);
    for (int32_t phase = 0; phase < w->n_phases; phase++) {
        bool last = phase == w->n_phases - 1;
        put_row_values(w, phase);
        if (s->split && phase < only) {
            put_combined(w, phase);
            continue;
        }
        put_phase_loop(w, phase);
        if (last)
            put_row_outputs(w);
        else
            put_totals(w, phase);
        if (s->split)
            break;
    }
}

/* All elements as one row, each thread for itself; what belongs to a row is written with its first
 * element. */
static void put_flat_body(writer *w)
{
    const tc_fused_program *p = w->p;
    bool needed[TC_FUSED_VALUES] = {false};
    fused_put(w, "const place row = 0, end = (place)p.columns;\n");
    for (int32_t v = 0; v < tc_fused_values(p); v++)
        needed[v] = true;
    for (int32_t i = 0; i < p->n_inputs; i++)
        w->full[i] = true; /* an element for each, be it the same one */
    put_column_loop(w);
    fused_put_loads(w, needed);
    for (int32_t o = 0; o < p->n_outputs; o++)
        if (p->outputs[o].extent == TC_FUSED_FULL)
            fused_put(w, "pack<%s, W> y%d;\n", fused_stored(tc_fused_dtype(p, p->outputs[o].value)),
                      static_cast<int>(o));
    fused_put(w, "_Pragma(\"unroll\") for (int e = 0; e < W; e++) {\n");
    for (int32_t i = 0; i < p->n_instructions; i++)
        fused_put_instruction(w, i);
    put_stores(w);
    for (int32_t o = 0; o < p->n_outputs; o++) {
        int32_t v = p->outputs[o].value;
        if (p->outputs[o].extent == TC_FUSED_FULL)
            continue;
        const char *type = fused_stored(tc_fused_dtype(p, v));
        fused_put(w,
                  "if ((c + e) %% (place)p.row_length == 0) ((%s *)p.outputs[%d])[(c + e) / "
                  "(place)p.row_length] = narrow<%s>::of(",
                  type, static_cast<int>(o), type);
        fused_put_value(w, v);
        fused_put(w, ");\n");
    }
    fused_put(w, "}\n");
    for (int32_t o = 0; o < p->n_outputs; o++)
        if (p->outputs[o].extent == TC_FUSED_FULL) {
            const char *type = fused_stored(tc_fused_dtype(p, p->outputs[o].value));
            fused_put(w, "*(pack<%s, W> *)((%s *)p.outputs[%d] + c) = y%d;\n", type, type,
                      static_cast<int>(o), static_cast<int>(o));
        }
    end_column_loop(w);
    fused_put(w, "(void)row;\n");
}

static void put_kernel(writer *w, int32_t phase)
{
    const fused_shape *s = w->shape;
    fused_put(
        w,
        "template <int W> static __device__ __forceinline__ void body_%d(const fused_arguments &p)\n{\n",
        static_cast<int>(phase));
    if (s->reduces)
        put_rows_body(w, phase);
    else
        put_flat_body(w);
    fused_put(w, "}\n");
    for (int wide = 0; wide <= s->vectors; wide++) {
        int width = wide ? static_cast<int>(s->width) : 1;
        fused_put(
            w,
            "extern \"C\" __global__ void __launch_bounds__(%d) fused_%d_%d(FUSED_CONSTANT fused_arguments p) { "
            "body_%d<%d>(p); }\n",
            static_cast<int>(s->threads), static_cast<int>(phase), width, static_cast<int>(phase),
            width);
    }
}

char *fused_source(const tc_fused_program *program, const fused_shape *shape)
{
    writer w = {};
    w.p = program;
    w.shape = shape;
    fused_find_phases(&w);
    fused_put(&w, "#ifdef TC_CUDA_HOST\n#define FUSED_CONSTANT const\n#else\n"
                  "#define FUSED_CONSTANT const __grid_constant__\n#endif\n"
                  "#ifndef INFINITY\n#define INFINITY __int_as_float(0x7f800000)\n"
                  "#define NAN __int_as_float(0x7fffffff)\n#endif\n");
    fused_put_text(&w, tc_cuda_math_source);
    fused_put_text(&w, fused_prelude);
    fused_put(&w, "%s\ntypedef %s place;\n", FUSED_ARGUMENTS_TEXT,
              shape->wide ? "unsigned long long" : "unsigned");
    for (int32_t phase = 0; phase < (shape->split ? w.n_phases : 1); phase++)
        put_kernel(&w, phase);
    if (w.failed) {
        tc_cuda_host->release(w.text);
        return NULL;
    }
    return w.text;
}
