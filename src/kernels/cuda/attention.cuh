/*
 * Attention: shapes and masks, shared by the kernels of attention.cu and, where cuDNN has one, the
 * graphs of attention_dnn.cu.
 *
 * An item is a head of keys and values with the queries of all heads that share it: `rows` rows of
 * q, which lie behind each other.
 */
#ifndef TC_KERNELS_CUDA_ATTENTION_CUH
#define TC_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/dnn.cuh"
#include "kernels/cuda/rows.cuh"

extern "C" {
#include "core/attention.h"
}

/* Inputs of attention, and what attention_grad has besides. */
enum tc_attention_input {
    TC_ATTENTION_Q,
    TC_ATTENTION_K,
    TC_ATTENTION_V,
    TC_ATTENTION_MASK,
    TC_ATTENTION_Y,
    TC_ATTENTION_LSE,
    TC_ATTENTION_DY,
    TC_ATTENTION_DLSE
};

/** Plain data, for params. */
struct tc_attention {
    tc_dtype dtype, mask_dtype; /* TC_DTYPE_INVALID: no mask */
    bool causal;
    int32_t n_q, n_k, rows; /* rows and items are 0 without queries */
    int64_t heads_kv, group, depth, depth_v, items;
    int64_t row_blocks, key_blocks;
    uint32_t slabs; /* of the columns of results */
    double scale;
    int32_t mask_rank; /* leading dimensions of q, and elements of the mask between them */
    int64_t mask_dims[TC_MAX_RANK], mask_steps[TC_MAX_RANK];
    int64_t mask_head, mask_q, mask_k;
    size_t zeros[3]; /* backward without queries or keys: bytes of the results, which are 0 */
    /* Of cuDNN, and the numbers that it is given. */
    struct tc_dnn_plan plan;
    size_t plan_bytes;
    bool any_order;
    float factor, lowest, one;
};

/** Reads shapes and attributes of attention or attention_grad. RESOURCE_EXHAUSTED: too many queries
 * or keys. */
tc_status tc_attention_describe(const tc_prepare *prepare, struct tc_attention *p);

/** Sets p->plan and p->plan_bytes where cuDNN computes this. */
tc_status tc_attention_plan(const tc_prepare *prepare, bool gradient, struct tc_attention *p);
/** Runs the plan. All buffers must begin at multiples of 16 bytes; the workspace has p->plan_bytes.
 */
tc_status tc_attention_run_plan(const struct tc_attention *p, bool gradient,
                                const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context);

#endif
