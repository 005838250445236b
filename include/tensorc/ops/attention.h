/*
 * Scaled dot-product attention (Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1).
 *
 * Takes f32, f64, f16 and bf16 (the 16-bit floats are computed in f32). Gives the same bits with
 * any number of threads. Builders are not thread-safe on one graph; errors stick to the graph (see
 * graph.h).
 */
#ifndef TENSORC_OPS_ATTENTION_H
#define TENSORC_OPS_ATTENTION_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_attention_options {
    size_t struct_size;
    const char *name;        /**< of the node; default "attention" */
    tc_value mask;           /**< see below; default none */
    bool causal;             /**< query i sees the keys j <= i + n_k - n_q alone */
    tc_optional_float scale; /**< of q k'; default 1 / sqrt(d) */
} tc_attention_options;

/**
 * softmax(scale * q k' + mask) v over the keys, for `q` [..., heads, n_q, d], `k` [..., heads_kv,
 * n_k, d] and `v` [..., heads_kv, n_k, d_v]: [..., heads, n_q, d_v]. The leading dimensions agree;
 * `heads` is a multiple of `heads_kv`, and neighbouring heads share keys and values (grouped
 * queries, Ainslie et al. 2023).
 *
 * `.mask` broadcasts to [..., heads, n_q, n_k]: of bool, true where a query may look at a key; or
 * of the dtype of `q`, added before the softmax. A query that may look at nothing gets zeros.
 *
 * Outputs (tc_output): 0 the result; 1 the logarithm of the sum of the exponentials [..., heads,
 * n_q], f32 where `q` is a 16-bit float, -inf for a query that may look at nothing.
 *
 * The memory is linear in n_q + n_k: keys and values stream through blocks of queries, forward and
 * backward (Dao et al. 2022, "FlashAttention"). The gradient of a float mask and gradients of
 * higher order are composed of products and take memory of n_q * n_k; where heads != heads_kv they
 * need both numbers known when they are built. Errors: INVALID_ARGUMENT for shapes or dtypes that
 * do not fit, a scale that is not finite.
 */
TC_API tc_value tc_attention_at(tc_location at, tc_value q, tc_value k, tc_value v,
                                const tc_attention_options *options);

/**
 * Where query i may look at key j when it sees no later one, j <= i + n_k - n_q: bool [n_q, n_k],
 * for `scores` [..., n_q, n_k] of any dtype, whose elements are not used. Not differentiable.
 * Errors: INVALID_ARGUMENT for a rank below 2.
 */
TC_API tc_value tc_causal_mask_at(tc_location at, tc_value scores);

#ifndef __cplusplus
/** tc_attention(q, k, v, .mask = mask, .causal = true) */
#define tc_attention(...)      TC_BUILD3(tc_attention, __VA_ARGS__)
#define tc_causal_mask(scores) tc_causal_mask_at(TC_HERE, scores)
#endif

#ifdef __cplusplus
}
#endif

#endif
