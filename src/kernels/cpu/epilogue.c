/* What follows a product (see epilogue.h): reading nodes, choosing code. */
#include "kernels/cpu/epilogue.h"

#include <string.h>

#include "base/alloc.h"
#include "core/shape.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_widen.h"

enum { SCALE = 2, BIAS, RESIDUAL };

extern const tc_epilogue_code tc_epilogue_code_scalar;
#if defined(__x86_64__)
extern const tc_epilogue_code tc_epilogue_code_avx2, tc_epilogue_code_avx512;
#elif defined(__aarch64__)
extern const tc_epilogue_code tc_epilogue_code_neon;
#endif

static const tc_epilogue_code *code_of(tc_isa isa)
{
    static const tc_epilogue_code *const variants[TC_ISA_COUNT] = {
        [TC_ISA_SCALAR] = &tc_epilogue_code_scalar,
#if defined(__x86_64__)
        [TC_ISA_AVX2] = &tc_epilogue_code_avx2,
        [TC_ISA_AVX512] = &tc_epilogue_code_avx512,
#elif defined(__aarch64__)
        [TC_ISA_NEON] = &tc_epilogue_code_neon,
#endif
    };
    return variants[isa] ? variants[isa] : &tc_epilogue_code_scalar;
}

static tc_epilogue_function function_of(const char *word)
{
    static const char *const words[] = {"none", "relu", "sigmoid", "tanh", "gelu", "gelu_tanh"};
    int i = 0;
    while (strcmp(words[i], word) != 0) /* the attribute has no other values */
        i++;
    return (tc_epilogue_function)i;
}

static bool given(const tc_prepare *prepare, int32_t input)
{
    return input < prepare->n_inputs && prepare->inputs[input].dtype != TC_DTYPE_INVALID;
}

static tc_dtype computed_in(tc_dtype dtype)
{
    return dtype == TC_F64 ? TC_F64 : TC_F32;
}

bool tc_epilogue_read(const tc_prepare *prepare, tc_isa isa, tc_epilogue *e)
{
    *e = (tc_epilogue){0};
    if (!tc_attrs_get(prepare->attrs, "activation"))
        return true;
    e->isa = isa;
    e->dtype = prepare->outputs[0].dtype;
    e->residual = given(prepare, RESIDUAL);
    e->activation = function_of(tc_attrs_string(prepare->attrs, "activation"));
    e->alpha = tc_attrs_float(prepare->attrs, "alpha");
    bool vectors = false;
    for (int32_t i = SCALE; i <= BIAS; i++) {
        if (!given(prepare, i))
            continue;
        vectors = true;
        e->vectors = prepare->inputs[i].dtype;
        e->channels = prepare->inputs[i].shape.dims[0].size;
    }
    e->used = vectors || e->residual || e->activation != TC_EPILOGUE_NONE || e->alpha != 1;
    if (!vectors || e->vectors == computed_in(e->dtype))
        return true;
    size_t one;
    if (!tc_mul_size((size_t)e->channels, sizeof(float), &one) || one > SIZE_MAX / 4)
        return false;
    e->bytes = 2 * tc_align_up(one, 64);
    return true;
}

tc_epilogue_inputs tc_epilogue_bind(const tc_epilogue *e, const void *const *inputs, void *memory)
{
    tc_epilogue_inputs bound = {NULL, NULL, NULL};
    if (!e->used)
        return bound;
    bound = (tc_epilogue_inputs){inputs[SCALE], inputs[BIAS], inputs[RESIDUAL]};
    const void **vectors[2] = {&bound.scale, &bound.bias};
    for (size_t i = 0; e->bytes && i < 2; i++) {
        char *wide = (char *)memory + i * (e->bytes / 2);
        if (*vectors[i])
            tc_widen(tc_gemm_micro_of(e->isa), e->vectors, *vectors[i], 0, 1, e->channels, wide, 0);
        *vectors[i] = *vectors[i] ? wide : NULL;
    }
    return bound;
}

void tc_epilogue_apply(const tc_epilogue *e, const tc_epilogue_tile *tile)
{
    const tc_epilogue_code *code = code_of(e->isa);
    (e->dtype == TC_F64 ? code->f64 : code->f32)(e, tile);
}
