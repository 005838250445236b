/*
 * Shapes, blocks and scratch of attention; the arithmetic is in isa/attention_body.h.
 *
 * An item is a head of keys and values with the queries of all heads that share it: `rows` rows of
 * q, which lie behind each other. Blocks of LANES queries (or keys) lie along vectors and meet
 * LINES keys (or queries) at a time, so that a tile of scores is [LINES, LANES]. Nothing depends on
 * the number of threads but the choice between two orders of the same additions.
 */
#ifndef TC_KERNELS_CPU_ATTENTION_H
#define TC_KERNELS_CPU_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/extend.h>

enum {
    TC_ATTENTION_LANES = 64,
    TC_ATTENTION_LINES = 64,
    TC_ATTENTION_FEW = 8,    /* up to this many rows are dot products with many keys at a time */
    TC_ATTENTION_KEYS = 512, /* so many */
};

/* Parts of a worker's scratch. */
typedef enum tc_attention_part {
    TC_ATTENTION_PANEL_1, /* q or k of the lanes, transposed */
    TC_ATTENTION_PANEL_2, /* dy or v of the lanes, transposed */
    TC_ATTENTION_SCORES,
    TC_ATTENTION_DSCORES,
    TC_ATTENTION_BIAS, /* of the mask, by queries */
    TC_ATTENTION_BIAS_TURNED,
    TC_ATTENTION_LINES_1, /* k or q of the lines, widened from 16 bits */
    TC_ATTENTION_LINES_2, /* v or dy of the lines */
    TC_ATTENTION_SUM_1,   /* results before they are narrowed */
    TC_ATTENTION_SUM_2,
    TC_ATTENTION_STATISTICS, /* four numbers per lane */
    TC_ATTENTION_PARTS
} tc_attention_part;

typedef struct tc_attention {
    tc_dtype dtype, mask_dtype; /* TC_DTYPE_INVALID: no mask */
    bool narrow;                /* 16 bits */
    bool causal;
    bool mask_shared; /* all rows of an item have the same mask */
    bool few;         /* rows: keys lie along vectors */
    bool whole;       /* backward: one job does all blocks of an item */
    int64_t heads_kv, group, n_q, n_k, depth, depth_v;
    int64_t items, rows; /* both 0 without queries */
    int64_t row_blocks, key_blocks;
    double scale;
    int32_t mask_rank; /* leading dimensions of q, and elements of the mask between them */
    int64_t mask_dims[TC_MAX_RANK], mask_steps[TC_MAX_RANK];
    int64_t mask_head, mask_q, mask_k;
    size_t part[TC_ATTENTION_PARTS]; /* offsets in the scratch */
    size_t scratch;                  /* of one worker */
    size_t shared;                   /* of the workspace, before the workers' */
    size_t zeros[3]; /* backward without queries or keys: bytes of the results, which are 0 */
} tc_attention;

/** prepare of attention and of attention_grad: params are a tc_attention. */
tc_status tc_attention_prepare(tc_prepare *prepare);
tc_status tc_attention_grad_prepare(tc_prepare *prepare);

/** Element of the mask for row 0 of `item` and key 0. */
int64_t tc_attention_mask_start(const tc_attention *p, int64_t item);

/** Keys before this one are seen by row `row` of an item (not clamped to n_k). */
static inline int64_t tc_attention_seen(const tc_attention *p, int64_t row)
{
    return p->causal ? row % p->n_q + p->n_k - p->n_q + 1 : p->n_k;
}

/** The least and the most that any of the rows [row, row + count) sees. */
static inline void tc_attention_seen_range(const tc_attention *p, int64_t row, int64_t count,
                                           int64_t *least, int64_t *most)
{
    bool one_head = row % p->n_q + count <= p->n_q;
    *least = tc_attention_seen(p, one_head ? row : 0);
    *most = tc_attention_seen(p, one_head ? row + count - 1 : p->n_q - 1);
}

#endif
