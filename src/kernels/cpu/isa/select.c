/* Selection: copies bits, so that types matter by their size alone. */
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/isa/fused_tiles.h"
#include "kernels/cpu/isa/simd.h"

#define TILE(bits)                                                                                 \
    static void where_##bits##_tile(const void *const *in, void *out, int64_t n, unsigned scalars) \
    {                                                                                              \
        (void)scalars;                                                                             \
        const uint8_t *condition = in[0];                                                          \
        const uint##bits##_t *a = in[1], *b = in[2];                                               \
        uint##bits##_t *y = out;                                                                   \
        TC_INDEPENDENT                                                                             \
        for (int64_t i = 0; i < n; i++) {                                                          \
            uint##bits##_t if_true = a[i], if_false = b[i];                                        \
            y[i] = condition[i] ? if_true : if_false;                                              \
        }                                                                                          \
    }                                                                                              \
    TC_ELEMENTWISE_RUN(                                                                            \
        where, bits,                                                                               \
        {where_##bits##_tile, 3, false, {1, bits / 8, bits / 8}, bits / 8, NULL, NULL})

TILE(8)
TILE(16)
TILE(32)
TILE(64)

#define ENTRY(tag, bits) \
    TC_KERNEL(where, tag, .prepare = tc_elementwise_prepare, .run = run_where_##bits)

static const tc_kernel kernels[] = {
    ENTRY(f32, 32), ENTRY(f64, 64), ENTRY(f16, 16), ENTRY(bf16, 16), ENTRY(i8, 8),
    ENTRY(i16, 16), ENTRY(i32, 32), ENTRY(i64, 64), ENTRY(u8, 8),    ENTRY(u16, 16),
    ENTRY(u32, 32), ENTRY(u64, 64), ENTRY(bool, 8),
};

TC_KERNEL_TABLE(select, kernels);

const tc_tile_function TC_ISA_NAME(tc_fused_where_tiles)[4] = {where_8_tile, where_16_tile,
                                                               where_32_tile, where_64_tile};
