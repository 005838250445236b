/*
 * Attention in blocks, forward (the online softmax of Dao et al. 2022, "FlashAttention") and
 * backward. Products go through the register tiles of gemm_micro.h, which read keys, values and
 * queries where they are: what lies along vectors is transposed once per block.
 */
#include "kernels/cpu/attention.h"

#include "core/dtype.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_widen.h"
#include "kernels/cpu/isa/storage.h"

enum { Q, K, V, MASK, Y, LSE, DY, DLSE };

extern const tc_gemm_micro TC_ISA_NAME(tc_gemm_micro);
#define MICRO (&TC_ISA_NAME(tc_gemm_micro))

typedef struct job {
    const tc_attention *p;
    const void *const *in;
    void *const *out;
    char *shared;  /* backward: D and the logsumexp of every query */
    char *scratch; /* of all workers */
} job;

#define INTEGERS_f32 tc_i32v
#define INTEGERS_f64 tc_i64v

/* What lies along the vectors of a tile of scores; the others are its lines. */
typedef enum lanes { LANES_ARE_KEYS, LANES_ARE_ROWS } lanes;

/* Keys [key, key + keys) against rows [row, row + rows) of an item. */
typedef struct tile {
    int64_t item, row, rows, key, keys;
} tile;

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t round_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b * b;
}

static void *part_of(const job *j, int worker, tc_attention_part part)
{
    return j->scratch + j->p->scratch * (size_t)worker + j->p->part[part];
}

/* Row `row` of an item of an array with `per_item` rows of `columns` elements. */
static const void *stored(const tc_attention *p, const void *base, int64_t per_item, int64_t item,
                          int64_t row, int64_t columns)
{
    return (const char *)base +
           (size_t)((item * per_item + row) * columns) * tc_dtype_size(p->dtype);
}

static void *result(const tc_attention *p, void *base, int64_t per_item, int64_t item, int64_t row,
                    int64_t columns)
{
    return (char *)base + (size_t)((item * per_item + row) * columns) * tc_dtype_size(p->dtype);
}

/* Whether some score of the tile is masked or biased. */
static bool is_masked(const tc_attention *p, const tile *t)
{
    int64_t least, most;
    tc_attention_seen_range(p, t->row, t->rows, &least, &most);
    return p->mask_dtype != TC_DTYPE_INVALID || least < t->key + t->keys;
}

#define TAG     f32
#define EXP_LOW -87.0f
#include "kernels/cpu/isa/attention_body.h"
#include "kernels/cpu/isa/attention_grad_body.h"
#define TAG     f64
#define EXP_LOW -708.0
#include "kernels/cpu/isa/attention_body.h"
#include "kernels/cpu/isa/attention_grad_body.h"

#define KERNELS(tag, body)                                                             \
    TC_KERNEL(attention, tag, .prepare = tc_attention_prepare, .run = forward_##body), \
        TC_KERNEL(attention_grad, tag, .prepare = tc_attention_grad_prepare,           \
                  .run = backward_##body)

static const tc_kernel kernels[] = {KERNELS(f32, f32), KERNELS(f64, f64), KERNELS(f16, f32),
                                    KERNELS(bf16, f32)};
TC_KERNEL_TABLE(attention, kernels);
