/* Matrix products: shapes that reach every way of computing them, batches, integers that wrap. */
#include "op_case.h"

static const tc_matmul_options ta = {.struct_size = sizeof ta, .transpose_a = true};
static const tc_matmul_options tb = {.struct_size = sizeof tb, .transpose_b = true};
static const tc_matmul_options both = {
    .struct_size = sizeof both, .transpose_a = true, .transpose_b = true};

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return options ? tc_matmul_at(TC_HERE, in[0], in[1], options) : tc_matmul(in[0], in[1]);
}

static tc_value build_by_macro(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_matmul(in[0], in[1], .transpose_b = true, .name = "logits");
}

/* Element of the matrix that item `index` of the result's batch reads of an operand. */
static int64_t item_of(const tc_shape *shape, const tc_shape *out, int64_t item)
{
    int64_t at = 0, step = 1;
    for (int d = out->rank - 3; d >= 0; d--) {
        int64_t index = item % out->dims[d].size;
        item /= out->dims[d].size;
        int mine = d - out->rank + shape->rank;
        if (mine < 0)
            continue;
        at += shape->dims[mine].size == 1 ? 0 : index * step;
        step *= shape->dims[mine].size;
    }
    return at;
}

static void reference(const op_run *run)
{
    const tc_matmul_options *o = run->options;
    const tc_shape *a = &run->input_shapes[0], *b = &run->input_shapes[1];
    const tc_shape *y = &run->output_shapes[0];
    bool left = o && o->transpose_a, right = o && o->transpose_b;
    int64_t m = y->dims[y->rank - 2].size, n = y->dims[y->rank - 1].size;
    int64_t k = a->dims[a->rank - (left ? 2 : 1)].size, items = 1;
    for (int d = 0; d < y->rank - 2; d++)
        items *= y->dims[d].size;
    for (int64_t item = 0; item < items; item++) {
        const double *p = run->inputs[0] + item_of(a, y, item) * m * k;
        const double *q = run->inputs[1] + item_of(b, y, item) * k * n;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t t = 0; t < k; t++)
                    sum += p[left ? t * m + i : i * k + t] * q[right ? j * k + t : t * n + j];
                run->outputs[0][(item * m + i) * n + j] = sum;
            }
    }
}

static void reference_transposed_b(const op_run *run)
{
    op_run copy = *run;
    copy.options = &tb;
    reference(&copy);
}

#define PRODUCT(text, a_shape, b_shape, y_shape, ...)                                       \
    {                                                                                       \
        .name = text, .inputs = {{a_shape}, {b_shape}}, .outputs = {{y_shape}}, __VA_ARGS__ \
    }
#define IS(...) OP_SHAPE(__VA_ARGS__)

static const op_sample samples[] = {
    PRODUCT("small", IS(4, 8), IS(8, 8), IS(4, 8), ),
    PRODUCT("one element", IS(1, 1), IS(1, 1), IS(1, 1), ),
    PRODUCT("odd", IS(3, 5), IS(5, 7), IS(3, 7), ),
    PRODUCT("transposed a", IS(5, 3), IS(5, 7), IS(3, 7), .options = &ta),
    PRODUCT("transposed b", IS(3, 5), IS(7, 5), IS(3, 7), .options = &tb),
    PRODUCT("both transposed", IS(5, 3), IS(7, 5), IS(3, 7), .options = &both),
    PRODUCT("by macro", IS(2, 3), IS(4, 3), IS(2, 4), .build = build_by_macro,
            .reference = reference_transposed_b),
    PRODUCT("batch", IS(3, 2, 4), IS(3, 4, 5), IS(3, 2, 5), ),
    PRODUCT("batch broadcast", IS(2, 1, 3, 4), IS(3, 4, 2), IS(2, 3, 3, 2), ),
    PRODUCT("batch times matrix", IS(2, 3, 2, 4), IS(4, 3), IS(2, 3, 2, 3), ),
    PRODUCT("batch times transposed matrix", IS(2, 3, 4), IS(3, 4), IS(2, 3, 3), .options = &tb),
    PRODUCT("transposed batch times matrix", IS(2, 4, 3), IS(4, 3), IS(2, 3, 3), .options = &ta),
    PRODUCT("matrix times batch", IS(3, 4), IS(2, 4, 3), IS(2, 3, 3), ),
    PRODUCT("batch, both transposed", IS(2, 4, 3), IS(2, 5, 4), IS(2, 3, 5), .options = &both),
    PRODUCT("one row", IS(1, 300), IS(300, 200), IS(1, 200), .no_gradients = true),
    PRODUCT("few rows, transposed b", IS(9, 130), IS(70, 130), IS(9, 70), .options = &tb,
            .no_gradients = true),
    PRODUCT("packed", IS(250, 70), IS(70, 90), IS(250, 90), .no_gradients = true),
    {.name = "constant weights",
     .inputs = {{IS(130, 40)}, {IS(50, 40), .constant = true}},
     .outputs = {{IS(130, 50)}},
     .options = &tb,
     .no_gradients = true},
    PRODUCT("deep", IS(20, 800), IS(800, 40), IS(20, 40), .no_gradients = true),
    PRODUCT("deep and tall", IS(120, 500), IS(500, 33), IS(120, 33), .no_gradients = true),
    PRODUCT("large batch", IS(3, 40, 50), IS(3, 50, 30), IS(3, 40, 30), .no_gradients = true),
    PRODUCT("large batch, turned and shared", IS(3, 50, 40), IS(30, 50), IS(3, 40, 30),
            .options = &both, .no_gradients = true),
    PRODUCT("large matrix times batch", IS(40, 50), IS(3, 50, 30), IS(3, 40, 30),
            .no_gradients = true),
    PRODUCT("large batch broadcast both ways", IS(2, 1, 33, 51), IS(3, 51, 31), IS(2, 3, 33, 31),
            .no_gradients = true),
    PRODUCT("large batches in two dimensions", IS(2, 1, 3, 33, 51), IS(5, 1, 51, 31),
            IS(2, 5, 3, 33, 31), .no_gradients = true),
    PRODUCT("batch longer than a grid", IS(70000, 1, 2), IS(70000, 2, 1), IS(70000, 1, 1),
            .dtypes = TC_DTYPE_BIT(TC_F32), .no_gradients = true),
    PRODUCT("no rows", IS(0, 5), IS(5, 7), IS(0, 7), .no_gradients = true),
    PRODUCT("no columns", IS(3, 5), IS(5, 0), IS(3, 0), .no_gradients = true),
    PRODUCT("sum of nothing", IS(3, 0), IS(0, 4), IS(3, 4), .no_gradients = true),
    PRODUCT("empty batch", IS(0, 3, 5), IS(5, 4), IS(0, 3, 4), .no_gradients = true),
    PRODUCT("batch of nothing", IS(2, 3, 0), IS(2, 0, 4), IS(2, 3, 4), .no_gradients = true),
    {.name = "overflow wraps",
     .inputs = {{OP_SHAPE(1, 2), OP_ELEMENTS(65536, 1)}, {OP_SHAPE(2, 1), OP_ELEMENTS(65536, 5)}},
     .outputs = {{OP_SHAPE(1, 1)}},
     .dtypes = TC_DTYPE_BIT(TC_I64)},
    {.name = "NaN and infinity spread along rows",
     .inputs = {{OP_SHAPE(2, 2), OP_ELEMENTS(NAN, 1, INFINITY, 1)},
                {OP_SHAPE(2, 2), OP_ELEMENTS(1, 2, 1, 2)}},
     .outputs = {{OP_SHAPE(2, 2)}},
     .dtypes = TC_DTYPES_FLOAT,
     .no_gradients = true},
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(3)}, {OP_SHAPE(3, 2)}}, .message = "reshape it to [1, n] or [n, 1]"},
    {.inputs = {{OP_SHAPE(3, 2)}, {OP_SHAPE(2)}}, .message = "b of shape [2] has rank 1"},
    {.inputs = {{OP_SHAPE(3, 2)}, {OP_SHAPE(3, 2)}}, .message = "[3, 2] has 2 columns"},
    {.inputs = {{OP_SHAPE(3, 2)}, {OP_SHAPE(2, 3)}}, .options = &tb, .message = "has 3 rows"},
    {.inputs = {{OP_SHAPE(2, 3, 2)}, {OP_SHAPE(4, 2, 3)}}, .message = "do not broadcast"},
    {.inputs = {{OP_SHAPE(3, 2)}, {OP_SHAPE(2, 3), .dtype = TC_F64}}, .message = "f64"},
    {.inputs = {{OP_SHAPE(3, 2)}, {OP_SHAPE(2, 3)}}, .dtype = TC_U8, .message = "u8"},
};

const op_case op_case_matmul = {
    .op = "matmul",
    .build = build,
    .reference = reference,
    OP_LIST(samples),
    OP_BAD(bad),
    .dtypes = TC_DTYPES_FLOAT | TC_DTYPES_INDEX,
    .gradients = OP_INPUT(0) | OP_INPUT(1),
    .tolerance = {[TC_F32] = {1e-5, 1e-4},
                  [TC_F64] = {1e-12, 1e-12},
                  [TC_F16] = {2e-3, 2e-3},
                  [TC_BF16] = {1.6e-2, 1.6e-2}},
};
