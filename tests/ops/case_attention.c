/* Attention, its gradient and the causal mask: shapes that reach every block and both ways of
 * laying scores out, masks, queries that see nothing. */
#include <stdlib.h>

#include "places.h"

typedef struct attention_case {
    bool causal;
    bool allowing; /* the mask is of bool */
    tc_optional_float scale;
} attention_case;

static const attention_case plain;

static const attention_case *case_of(const void *options)
{
    return options ? options : &plain;
}

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const attention_case *o = case_of(options);
    return tc_attention(in[0], in[1], in[2], .mask = in[3], .causal = o->causal, .scale = o->scale);
}

/* q, k, v, mask, dy, dlogsumexp. */
static tc_value build_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    const attention_case *o = case_of(options);
    tc_value y = build(graph, in, options);
    return tc_node_build(
        graph, &(tc_node_spec){
                   .op = "attention_grad",
                   .at = TC_HERE,
                   TC_SPEC_INPUTS(in[0], in[1], in[2], in[3], y, tc_output(y, 1), in[4], in[5]),
                   TC_SPEC_ATTRS({"scale", tc_attr_floats(&o->scale.value, o->scale.has)},
                                 {"causal", tc_attr_bool(o->causal)})});
}

/* One head of one example: where it lies, and its weights. */
typedef struct head {
    int64_t count; /* of heads */
    int64_t n_q, n_k, d, d_v, shared;
    const double *q, *k, *v;
    double *weights, *lse; /* [n_q, n_k], [n_q] */
    double scale;
} head;

static int64_t from_end(const tc_shape *shape, int place)
{
    return shape->dims[shape->rank - place].size;
}

/* What the mask adds to the score at `place` of [..., heads, n_q, n_k]. */
static double bias_at(const op_run *run, const int64_t *place, int32_t rank)
{
    const attention_case *o = case_of(run->options);
    const tc_shape *mask = &run->input_shapes[3];
    int64_t at[TC_MAX_RANK];
    if (o->causal && place[rank - 1] > place[rank - 2] + from_end(&run->input_shapes[1], 2) -
                                           from_end(&run->input_shapes[0], 2))
        return -INFINITY;
    if (!run->inputs[3])
        return 0;
    for (int32_t d = 0; d < mask->rank; d++)
        at[d] = mask->dims[d].size == 1 ? 0 : place[rank - mask->rank + d];
    double value = run->inputs[3][index_of(mask, at)];
    return !o->allowing ? value : value != 0 ? 0 : -INFINITY;
}

static head head_create(const op_run *run)
{
    const attention_case *o = case_of(run->options);
    const tc_shape *q = &run->input_shapes[0], *k = &run->input_shapes[1];
    head h = {.n_q = from_end(q, 2),
              .n_k = from_end(k, 2),
              .d = from_end(q, 1),
              .d_v = from_end(&run->input_shapes[2], 1)};
    h.scale = o->scale.has ? o->scale.value : h.d ? 1 / sqrt((double)h.d) : 1;
    h.count = 1;
    for (int32_t i = 0; i < q->rank - 2; i++)
        h.count *= q->dims[i].size;
    h.weights = calloc((size_t)(h.n_q * h.n_k + 1), sizeof(double));
    h.lse = calloc((size_t)h.n_q + 1, sizeof(double));
    if (!h.weights || !h.lse)
        abort();
    return h;
}

static void head_free(head *h)
{
    free(h->weights);
    free(h->lse);
}

static void weigh(const op_run *run, int64_t number, head *h)
{
    tc_shape scores = run->input_shapes[0];
    scores.dims[scores.rank - 1].size = h->n_k;
    h->shared = number / (from_end(&run->input_shapes[0], 3) / from_end(&run->input_shapes[1], 3));
    h->q = run->inputs[0] + number * h->n_q * h->d;
    h->k = run->inputs[1] + h->shared * h->n_k * h->d;
    h->v = run->inputs[2] + h->shared * h->n_k * h->d_v;
    for (int64_t i = 0; i < h->n_q; i++) {
        double high = -INFINITY, sum = 0, *row = h->weights + i * h->n_k;
        for (int64_t j = 0; j < h->n_k; j++) {
            int64_t place[TC_MAX_RANK];
            place_of(&scores, (number * h->n_q + i) * h->n_k + j, place);
            double s = 0, bias = bias_at(run, place, scores.rank);
            for (int64_t c = 0; c < h->d; c++)
                s += h->q[i * h->d + c] * h->k[j * h->d + c];
            row[j] = bias == -INFINITY ? bias : h->scale * s + bias;
            high = fmax(high, row[j]);
        }
        for (int64_t j = 0; j < h->n_k; j++)
            sum += row[j] = high == -INFINITY ? 0 : exp(row[j] - high);
        for (int64_t j = 0; j < h->n_k && sum > 0; j++)
            row[j] /= sum;
        h->lse[i] = high + log(sum);
    }
}

static void reference(const op_run *run)
{
    head h = head_create(run);
    for (int64_t number = 0; number < h.count; number++) {
        weigh(run, number, &h);
        for (int64_t i = 0; i < h.n_q; i++) {
            double *y = run->outputs[0] + (number * h.n_q + i) * h.d_v;
            run->outputs[1][number * h.n_q + i] = h.lse[i];
            for (int64_t c = 0; c < h.d_v; c++) {
                y[c] = 0;
                for (int64_t j = 0; j < h.n_k; j++)
                    y[c] += h.weights[i * h.n_k + j] * h.v[j * h.d_v + c];
            }
        }
    }
    head_free(&h);
}

static void grad_reference(const op_run *run)
{
    head h = head_create(run);
    for (int i = 0; i < 3; i++)
        for (int64_t e = 0; e < elements_of(&run->output_shapes[i]); e++)
            run->outputs[i][e] = 0;
    for (int64_t number = 0; number < h.count; number++) {
        weigh(run, number, &h);
        double *dq = run->outputs[0] + number * h.n_q * h.d;
        double *dk = run->outputs[1] + h.shared * h.n_k * h.d;
        double *dv = run->outputs[2] + h.shared * h.n_k * h.d_v;
        for (int64_t i = 0; i < h.n_q; i++) {
            const double *dy = run->inputs[4] + (number * h.n_q + i) * h.d_v;
            const double *row = h.weights + i * h.n_k;
            double mean = run->inputs[5] ? -run->inputs[5][number * h.n_q + i] : 0;
            for (int pass = 0; pass < 2; pass++)
                for (int64_t j = 0; j < h.n_k; j++) {
                    double dw = 0;
                    for (int64_t c = 0; c < h.d_v; c++) {
                        dw += dy[c] * h.v[j * h.d_v + c];
                        dv[j * h.d_v + c] += pass * row[j] * dy[c];
                    }
                    mean += (1 - pass) * row[j] * dw;
                    double ds = pass * h.scale * row[j] * (dw - mean);
                    for (int64_t c = 0; c < h.d; c++) {
                        dq[i * h.d + c] += ds * h.k[j * h.d + c];
                        dk[j * h.d + c] += ds * h.q[i * h.d + c];
                    }
                }
        }
    }
    head_free(&h);
}

#define WIDE (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))
#define HALF (TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16))
#define NO_MASK        \
    {                  \
        .absent = true \
    }
#define ALLOW          .dtype = TC_BOOL
#define CAUSAL         (&(const attention_case){.causal = true})
#define ALLOWED        (&(const attention_case){.allowing = true})
#define BOTH           (&(const attention_case){.causal = true, .allowing = true})
#define SCALED(number) (&(const attention_case){.scale = {true, number}})
#define MASK(...)   \
    {               \
        __VA_ARGS__ \
    }

/* S(name, q, k, v, mask, y, logsumexp, options, not differentiable) */
#define SHAPES(S)                                                                                 \
    S("plain", OP_SHAPE(2, 3, 5, 4), OP_SHAPE(2, 3, 7, 4), OP_SHAPE(2, 3, 7, 6), NO_MASK,         \
      OP_SHAPE(2, 3, 5, 6), OP_SHAPE(2, 3, 5), NULL, false)                                       \
    S("one of each", OP_SHAPE(1, 1, 1), OP_SHAPE(1, 1, 1), OP_SHAPE(1, 1, 1), NO_MASK,            \
      OP_SHAPE(1, 1, 1), OP_SHAPE(1, 1), NULL, false)                                             \
    S("causal", OP_SHAPE(2, 9, 4), OP_SHAPE(2, 9, 4), OP_SHAPE(2, 9, 3), NO_MASK,                 \
      OP_SHAPE(2, 9, 3), OP_SHAPE(2, 9), CAUSAL, false)                                           \
    S("causal, more keys", OP_SHAPE(1, 2, 3, 4), OP_SHAPE(1, 2, 8, 4), OP_SHAPE(1, 2, 8, 4),      \
      NO_MASK, OP_SHAPE(1, 2, 3, 4), OP_SHAPE(1, 2, 3), CAUSAL, false)                            \
    S("causal, fewer keys", OP_SHAPE(1, 2, 11, 4), OP_SHAPE(1, 2, 5, 4), OP_SHAPE(1, 2, 5, 4),    \
      NO_MASK, OP_SHAPE(1, 2, 11, 4), OP_SHAPE(1, 2, 11), CAUSAL, true)                           \
    S("grouped queries", OP_SHAPE(2, 4, 3, 4), OP_SHAPE(2, 2, 5, 4), OP_SHAPE(2, 2, 5, 3),        \
      NO_MASK, OP_SHAPE(2, 4, 3, 3), OP_SHAPE(2, 4, 3), CAUSAL, false)                            \
    S("bool mask", OP_SHAPE(2, 3, 10, 4), OP_SHAPE(2, 3, 7, 4), OP_SHAPE(2, 3, 7, 4),             \
      MASK(OP_SHAPE(10, 7), ALLOW, OP_ELEMENTS(1, 0, 1, 1, 0)), OP_SHAPE(2, 3, 10, 4),            \
      OP_SHAPE(2, 3, 10), ALLOWED, false)                                                         \
    S("padding mask", OP_SHAPE(2, 3, 4, 5), OP_SHAPE(2, 3, 6, 5), OP_SHAPE(2, 3, 6, 5),           \
      MASK(OP_SHAPE(2, 1, 1, 6), ALLOW, OP_ELEMENTS(1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0)),         \
      OP_SHAPE(2, 3, 4, 5), OP_SHAPE(2, 3, 4), ALLOWED, false)                                    \
    S("mask of queries", OP_SHAPE(2, 3, 9, 5), OP_SHAPE(2, 3, 6, 5), OP_SHAPE(2, 3, 6, 5),        \
      MASK(OP_SHAPE(2, 3, 9, 1), ALLOW), OP_SHAPE(2, 3, 9, 5), OP_SHAPE(2, 3, 9), ALLOWED, true)  \
    S("float mask", OP_SHAPE(2, 2, 9, 4), OP_SHAPE(2, 2, 5, 4), OP_SHAPE(2, 2, 5, 4),             \
      MASK(OP_SHAPE(2, 9, 5)), OP_SHAPE(2, 2, 9, 4), OP_SHAPE(2, 2, 9), NULL, false)              \
    S("float mask of grouped queries", OP_SHAPE(1, 4, 5, 4), OP_SHAPE(1, 2, 6, 4),                \
      OP_SHAPE(1, 2, 6, 4), MASK(OP_SHAPE(4, 1, 6)), OP_SHAPE(1, 4, 5, 4), OP_SHAPE(1, 4, 5),     \
      CAUSAL, false)                                                                              \
    S("infinite mask", OP_SHAPE(2, 9, 4), OP_SHAPE(2, 6, 4), OP_SHAPE(2, 6, 4),                   \
      MASK(OP_SHAPE(1, 6), OP_ELEMENTS(0, -INFINITY, 1, -INFINITY, -1, 0.5)), OP_SHAPE(2, 9, 4),  \
      OP_SHAPE(2, 9), NULL, true)                                                                 \
    S("scale", OP_SHAPE(2, 10, 3), OP_SHAPE(2, 4, 3), OP_SHAPE(2, 4, 3), NO_MASK,                 \
      OP_SHAPE(2, 10, 3), OP_SHAPE(2, 10), SCALED(-0.75), false)                                  \
    S("scale 0", OP_SHAPE(2, 3, 3), OP_SHAPE(2, 4, 3), OP_SHAPE(2, 4, 3), NO_MASK,                \
      OP_SHAPE(2, 3, 3), OP_SHAPE(2, 3), SCALED(0), false)                                        \
    S("long", OP_SHAPE(2, 197, 33), OP_SHAPE(2, 301, 33), OP_SHAPE(2, 301, 47), NO_MASK,          \
      OP_SHAPE(2, 197, 47), OP_SHAPE(2, 197), NULL, true)                                         \
    S("long, causal", OP_SHAPE(1, 2, 200, 16), OP_SHAPE(1, 2, 200, 16), OP_SHAPE(1, 2, 200, 24),  \
      NO_MASK, OP_SHAPE(1, 2, 200, 24), OP_SHAPE(1, 2, 200), CAUSAL, true)                        \
    S("long, causal, more keys", OP_SHAPE(1, 90, 16), OP_SHAPE(1, 333, 16), OP_SHAPE(1, 333, 16), \
      NO_MASK, OP_SHAPE(1, 90, 16), OP_SHAPE(1, 90), CAUSAL, true)                                \
    S("long, causal, fewer keys", OP_SHAPE(1, 333, 16), OP_SHAPE(1, 90, 16), OP_SHAPE(1, 90, 16), \
      NO_MASK, OP_SHAPE(1, 333, 16), OP_SHAPE(1, 333), CAUSAL, true)                              \
    S("long groups", OP_SHAPE(2, 6, 50, 8), OP_SHAPE(2, 2, 70, 8), OP_SHAPE(2, 2, 70, 8),         \
      MASK(OP_SHAPE(2, 1, 50, 70), ALLOW), OP_SHAPE(2, 6, 50, 8), OP_SHAPE(2, 6, 50), BOTH, true) \
    S("long mask of heads", OP_SHAPE(2, 3, 80, 8), OP_SHAPE(2, 1, 70, 8), OP_SHAPE(2, 1, 70, 8),  \
      MASK(OP_SHAPE(3, 80, 70)), OP_SHAPE(2, 3, 80, 8), OP_SHAPE(2, 3, 80), NULL, true)           \
    S("wide", OP_SHAPE(2, 20, 150), OP_SHAPE(1, 70, 150), OP_SHAPE(1, 70, 200), NO_MASK,          \
      OP_SHAPE(2, 20, 200), OP_SHAPE(2, 20), CAUSAL, true)                                        \
    S("one query", OP_SHAPE(3, 1, 40), OP_SHAPE(3, 1301, 40), OP_SHAPE(3, 1301, 24), NO_MASK,     \
      OP_SHAPE(3, 1, 24), OP_SHAPE(3, 1), CAUSAL, true)                                           \
    S("few queries of groups", OP_SHAPE(1, 6, 2, 16), OP_SHAPE(1, 2, 700, 16),                    \
      OP_SHAPE(1, 2, 700, 16), MASK(OP_SHAPE(2, 700), ALLOW), OP_SHAPE(1, 6, 2, 16),              \
      OP_SHAPE(1, 6, 2), BOTH, true)                                                              \
    S("no keys", OP_SHAPE(2, 10, 4), OP_SHAPE(2, 0, 4), OP_SHAPE(2, 0, 3), NO_MASK,               \
      OP_SHAPE(2, 10, 3), OP_SHAPE(2, 10), CAUSAL, true)                                          \
    S("no queries", OP_SHAPE(2, 0, 4), OP_SHAPE(2, 3, 4), OP_SHAPE(2, 3, 4), NO_MASK,             \
      OP_SHAPE(2, 0, 4), OP_SHAPE(2, 0), CAUSAL, true)                                            \
    S("no examples", OP_SHAPE(0, 2, 3, 4), OP_SHAPE(0, 2, 3, 4), OP_SHAPE(0, 2, 3, 4), NO_MASK,   \
      OP_SHAPE(0, 2, 3, 4), OP_SHAPE(0, 2, 3), NULL, true)                                        \
    S("no depth", OP_SHAPE(2, 9, 0), OP_SHAPE(2, 3, 0), OP_SHAPE(2, 3, 2), NO_MASK,               \
      OP_SHAPE(2, 9, 2), OP_SHAPE(2, 9), NULL, true)                                              \
    S("no values", OP_SHAPE(2, 9, 2), OP_SHAPE(2, 3, 2), OP_SHAPE(2, 3, 0), NO_MASK,              \
      OP_SHAPE(2, 9, 0), OP_SHAPE(2, 9), NULL, true)
#define FORWARD(text, q, k, v, mask, y, lse, options_, flat) \
    {.name = text,                                           \
     .inputs = {{q}, {k}, {v}, mask},                        \
     .outputs = {{y}, {lse}},                                \
     .options = options_,                                    \
     .dtypes = WIDE,                                         \
     .no_gradients = flat},                                  \
        {.name = text ", 16 bits",                           \
         .inputs = {{q}, {k}, {v}, mask},                    \
         .outputs = {{y}, {.dtype = TC_F32, lse}},           \
         .options = options_,                                \
         .dtypes = HALF,                                     \
         .no_gradients = flat},
#define BACKWARD(text, q, k, v, mask, y, lse, options_, flat)    \
    {.name = text,                                               \
     .inputs = {{q}, {k}, {v}, mask, {y}, {lse}},                \
     .outputs = {{q}, {k}, {v}},                                 \
     .options = options_,                                        \
     .dtypes = WIDE,                                             \
     .no_gradients = flat},                                      \
        {.name = text ", 16 bits",                               \
         .inputs = {{q}, {k}, {v}, mask, {y}, {.absent = true}}, \
         .outputs = {{q}, {k}, {v}},                             \
         .options = options_,                                    \
         .dtypes = HALF,                                         \
         .no_gradients = flat},

/* The logarithm of the sum of nothing has no differences to compare with. */
#define BLIND(text, mask, options_)                                                      \
    {                                                                                    \
        .name = text,                                                                    \
        .inputs = {{OP_SHAPE(2, 9, 4)}, {OP_SHAPE(2, 6, 4)}, {OP_SHAPE(2, 6, 4)}, mask}, \
        .outputs = {{OP_SHAPE(2, 9, 4)}, {OP_SHAPE(2, 9), .unchecked = true}},           \
        .options = options_, .dtypes = TC_DTYPE_BIT(TC_F64)                              \
    }

static const op_sample samples[] = {
    SHAPES(FORWARD) BLIND("queries that see nothing", NO_MASK, CAUSAL),
    BLIND("queries that may see nothing", MASK(OP_SHAPE(9, 1), ALLOW), ALLOWED),
    BLIND("keys at infinity",
          MASK(OP_SHAPE(1, 6), OP_ELEMENTS(0, -INFINITY, 1, -INFINITY, -1, 0.5), .constant = true),
          NULL),
    {.name = "what is masked need not be a number",
     .inputs = {{OP_SHAPE(2, 9, 1), .low = 0.5, .high = 1},
                {OP_SHAPE(2, 3, 1), OP_ELEMENTS(1, NAN, INFINITY)},
                {OP_SHAPE(2, 3, 1)},
                MASK(OP_SHAPE(3), ALLOW, OP_ELEMENTS(1, 0, 0))},
     .outputs = {{OP_SHAPE(2, 9, 1)}, {OP_SHAPE(2, 9)}},
     .options = ALLOWED,
     .dtypes = WIDE,
     .no_gradients = true},
    {.name = "large scores",
     .inputs = {{OP_SHAPE(2, 20, 4), .low = -100, .high = 100},
                {OP_SHAPE(2, 130, 4), .low = -100, .high = 100},
                {OP_SHAPE(2, 130, 4)},
                NO_MASK},
     .outputs = {{OP_SHAPE(2, 20, 4)}, {OP_SHAPE(2, 20)}},
     .dtypes = TC_DTYPE_BIT(TC_F64),
     .no_gradients = true},
};
static const op_sample grad_samples[] = {SHAPES(BACKWARD)};

#define ENDLESS (&(const attention_case){.scale = {true, INFINITY}})
#define BAD(q, k, v, mask_, options_, text)                                    \
    {                                                                          \
        .inputs = {{q}, {k}, {v}, mask_}, .options = options_, .message = text \
    }
static const op_bad bad[] = {
    BAD(OP_SHAPE(3, 4), OP_SHAPE(3, 4), OP_SHAPE(3, 4), NO_MASK, NULL,
        "q [3, 4], k [3, 4] and v [3, 4] must have one rank, 3 or more"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 1, 3, 4), OP_SHAPE(1, 3, 4), NO_MASK, NULL,
        "must have one rank"),
    BAD(OP_SHAPE(2, 1, 3, 4), OP_SHAPE(3, 1, 3, 4), OP_SHAPE(3, 1, 3, 4), NO_MASK, NULL,
        "leading dimensions"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 3, 4), OP_SHAPE(1, 2, 4), NO_MASK, NULL,
        "the same heads and keys"),
    BAD(OP_SHAPE(2, 3, 4), OP_SHAPE(2, 3, 4), OP_SHAPE(1, 3, 4), NO_MASK, NULL,
        "the same heads and keys"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 3, 5), OP_SHAPE(1, 3, 4), NO_MASK, NULL,
        "the same last dimension"),
    BAD(OP_SHAPE(3, 3, 4), OP_SHAPE(2, 3, 4), OP_SHAPE(2, 3, 4), NO_MASK, NULL,
        "must be a multiple"),
    BAD(OP_SHAPE(3, 3, 4), OP_SHAPE(0, 3, 4), OP_SHAPE(0, 3, 4), NO_MASK, NULL,
        "must be a multiple"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 3, 4), OP_SHAPE(1, 3, 4), NO_MASK, ENDLESS,
        "one finite number"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 5, 4), OP_SHAPE(1, 5, 4), MASK(OP_SHAPE(5, 3)), NULL,
        "mask [5, 3] does not broadcast"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 5, 4), OP_SHAPE(1, 5, 4), MASK(OP_SHAPE(2, 3, 5)), NULL,
        "[1, 3, 5]"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 5, 4), OP_SHAPE(1, 5, 4), MASK(OP_SHAPE(1, 1, 3, 5)), NULL,
        "does not broadcast"),
    BAD(OP_SHAPE(1, 3, 4), OP_SHAPE(1, 5, 4), OP_SHAPE(1, 5, 4),
        MASK(OP_SHAPE(3, 5), .dtype = TC_F16), NULL, "mask is f16, but must be bool or f32"),
};
static const op_bad grad_bad[] = {
    {.inputs = {{OP_SHAPE(1, 3, 4)},
                {OP_SHAPE(1, 5, 4)},
                {OP_SHAPE(1, 5, 4)},
                NO_MASK,
                {OP_SHAPE(1, 3, 5)},
                NO_MASK},
     .message = "dy is [1, 3, 5], but must be [1, 3, 4]"},
    {.inputs = {{OP_SHAPE(1, 3, 4)},
                {OP_SHAPE(1, 5, 4)},
                {OP_SHAPE(1, 5, 4)},
                NO_MASK,
                {OP_SHAPE(1, 3, 4)},
                {OP_SHAPE(3)}},
     .message = "dlogsumexp is [3], but must be [1, 3]"},
};

extern const op_case op_case_attention, op_case_attention_grad, op_case_causal_mask;
const op_case op_case_attention = {.op = "attention",
                                   .build = build,
                                   .reference = reference,
                                   OP_LIST(samples),
                                   OP_BAD(bad),
                                   .n_inputs = 4,
                                   .dtypes = TC_DTYPES_FLOAT,
                                   .gradients =
                                       OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2) | OP_INPUT(3)};
/* The second order of attention is the first one here. */
const op_case op_case_attention_grad = {.op = "attention_grad",
                                        .build = build_grad,
                                        .reference = grad_reference,
                                        OP_LIST(grad_samples),
                                        OP_BAD(grad_bad),
                                        .n_inputs = 6,
                                        .dtypes = TC_DTYPES_FLOAT,
                                        .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2) |
                                                     OP_INPUT(3) | OP_INPUT(4) | OP_INPUT(5),
                                        .no_second_order = true};

static tc_value build_causal(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_causal_mask(in[0]);
}

static void causal_reference(const op_run *run)
{
    int64_t n_q = run->output_shapes[0].dims[0].size, n_k = run->output_shapes[0].dims[1].size;
    for (int64_t i = 0; i < n_q * n_k; i++)
        run->outputs[0][i] = i % n_k <= i / n_k + n_k - n_q;
}

#define CAUSAL_SAMPLE(from, to)                                                  \
    {                                                                            \
        .name = #from, .inputs = {{from}}, .outputs = { {.dtype = TC_BOOL, to} } \
    }
static const op_sample causal_samples[] = {
    CAUSAL_SAMPLE(OP_SHAPE(5, 5), OP_SHAPE(5, 5)),
    CAUSAL_SAMPLE(OP_SHAPE(2, 3, 4, 9), OP_SHAPE(4, 9)),
    CAUSAL_SAMPLE(OP_SHAPE(7, 3), OP_SHAPE(7, 3)),
    CAUSAL_SAMPLE(OP_SHAPE(1, 1), OP_SHAPE(1, 1)),
    CAUSAL_SAMPLE(OP_SHAPE(300, 290), OP_SHAPE(300, 290)),
    CAUSAL_SAMPLE(OP_SHAPE(4, 0), OP_SHAPE(4, 0)),
    CAUSAL_SAMPLE(OP_SHAPE(0, 3), OP_SHAPE(0, 3)),
};
static const op_bad causal_bad[] = {
    {.inputs = {{OP_SHAPE(3)}}, .message = "rank 1"},
};
const op_case op_case_causal_mask = {.op = "causal_mask",
                                     .build = build_causal,
                                     .reference = causal_reference,
                                     OP_LIST(causal_samples),
                                     OP_BAD(causal_bad),
                                     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_I64)};
