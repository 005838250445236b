/* What a graph starts from, and what orders its work: operators that have no kernel and so no case.
 */
#include "support/test.h"

#include <math.h>

#include <tensorc/gradients.h>
#include <tensorc/ops.h>

#include "graph/graph.h"
#include "support/counting_allocator.h"

/* The graph has failed with `status` and a sentence that contains `text` and this file. */
static void check_error(tc_graph *g, tc_status status, const char *text, int line)
{
    if (tc_graph_status(g) != status || !strstr(tc_graph_error(g), text) ||
        !strstr(tc_graph_error(g), "test_source.c:")) {
        print_error("line %d: %s \"%s\" instead of \"%s\"\n", line,
                    tc_status_name(tc_graph_status(g)), tc_graph_error(g), text);
        fail();
    }
}

/* Builds `expression` into a new graph, assigned to `g`, and checks the error that sticks to it. */
#define BUILD_FAILS(status, text, expression)   \
    do {                                        \
        g = tc_graph_create();                  \
        assert_non_null(g);                     \
        assert_false(tc_value_ok(expression));  \
        check_error(g, status, text, __LINE__); \
        tc_graph_release(g);                    \
    } while (0)
#define INVALID(text, expression) BUILD_FAILS(TC_INVALID_ARGUMENT, text, expression)

static const tc_node *node_of(tc_value value)
{
    return tc_graph_node_at(value.graph, value.node);
}

static void test_source_placeholder(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_shape shape = TC_SHAPE(TC_DIM("batch"), 3, -1);
    tc_value x = tc_placeholder(g, "x", TC_BF16, shape);
    tc_shape got = tc_value_shape(x);
    assert_ok(tc_graph_status(g));
    assert_int_equal(tc_value_dtype(x), TC_BF16);
    assert_string_equal(tc_value_name(x), "x");
    assert_string_equal(got.dims[0].name, "batch");
    assert_true(got.rank == 3 && got.dims[1].size == 3 && got.dims[2].size == -1);
    tc_graph_release(g);
    INVALID("placeholder: the name is NULL", tc_placeholder(g, NULL, TC_F32, TC_SCALAR));
    INVALID("dtype f8e4m3", tc_placeholder(g, "x", TC_F8E4M3, TC_SCALAR));
    INVALID("rank", tc_placeholder(g, "x", TC_F32, tc_shape_of(9, (const int64_t[9]){1})));
    BUILD_FAILS(
        TC_ALREADY_EXISTS, "'x': the name is taken",
        (tc_placeholder(g, "x", TC_F32, TC_SCALAR), tc_placeholder(g, "x", TC_I8, TC_SCALAR)));
}

static void test_source_constant(void **state)
{
    tc_graph *g = tc_graph_create();
    float data[6] = {1, 2, 3, 4, 5, 6};
    tc_tensor *tensor;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2, 3), data, &tensor));
    tc_value shared = tc_constant(g, tensor);
    tc_tensor_release(tensor); /* the graph holds its own reference */
    tc_value copied = tc_constant_data(g, TC_F32, TC_SHAPE(3, 2), data);
    data[0] = 100;
    tc_value scalar = tc_constant_scalar(g, TC_F64, NAN);
    assert_ok(tc_graph_status(g));
    tc_tensor *a = tc_attrs_tensor(&node_of(shared)->attrs, "tensor");
    tc_tensor *b = tc_attrs_tensor(&node_of(copied)->attrs, "tensor");
    assert_ptr_equal(a, tensor);
    assert_true(tc_tensor_get(b, 0) == 1 && tc_tensor_get(b, 5) == 6);
    assert_int_equal(tc_value_shape(copied).dims[0].size, 3);
    assert_int_equal(tc_value_shape(scalar).rank, 0);
    assert_true(isnan(tc_tensor_get(tc_attrs_tensor(&node_of(scalar)->attrs, "tensor"), 0)));
    tc_graph_release(g);
    INVALID("the tensor is NULL", tc_constant(g, NULL));
    INVALID("constant: the elements to copy are NULL",
            tc_constant_data(g, TC_F32, TC_SHAPE(2, 3), NULL));
    INVALID("[n, 3] cannot exist", tc_constant_data(g, TC_F32, TC_SHAPE(TC_DIM("n"), 3), data));
    INVALID("dtype i4", tc_constant_data(g, TC_I4, TC_SHAPE(2), data));
    INVALID("77 is not the number of a dtype", tc_constant_scalar(g, (tc_dtype)77, 1));
}

/* Sizes that inference knows of the output of `value`, -1 where it does not. */
static void check_known(tc_value value, int32_t count, const int64_t *sizes)
{
    assert_true(tc_value_ok(value));
    const tc_value_info *info = &node_of(value)->outputs[0];
    if (count < 0) {
        assert_null(info->known);
        return;
    }
    assert_non_null(info->known);
    assert_int_equal(info->known_count, count);
    for (int32_t i = 0; i < count; i++)
        assert_int_equal(info->known[i].size, sizes[i]);
}
#define CHECK_KNOWN(value, ...)                                                       \
    check_known(value, (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
                (const int64_t[]){__VA_ARGS__})

static void test_source_known_elements(void **state)
{
    tc_graph *g = tc_graph_create();
    const int64_t wide[3] = {7, -1, INT64_MAX};
    const uint8_t narrow[2] = {0, 255};
    tc_value sizes = tc_constant_data(g, TC_I64, TC_SHAPE(3), wide);
    CHECK_KNOWN(sizes, 7, -1, -1);
    CHECK_KNOWN(tc_identity(sizes), 7, -1, -1);
    CHECK_KNOWN(tc_constant_data(g, TC_U8, TC_SHAPE(2), narrow), 0, 255);
    CHECK_KNOWN(tc_constant_scalar(g, TC_I32, 12), 12);
    CHECK_KNOWN(tc_fill(g, TC_I16, TC_SHAPE(2), 9), 9, 9);
    CHECK_KNOWN(tc_range(g, TC_I32, 1, 8, .step = 3), 1, 4, 7);
    CHECK_KNOWN(tc_range(g, TC_I32, 1, -2, .step = -1), 1, 0, -1);
    check_known(tc_constant_scalar(g, TC_F32, 12), -1, NULL);
    check_known(tc_range(g, TC_I64, 0, 65), -1, NULL);
    check_known(tc_range(g, TC_I64, 0, 0), 0, NULL);
    tc_graph_release(g);
}

static void test_source_variable(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value w = tc_variable(g, "w", tc_zeros(g, TC_F16, TC_SHAPE(2, 3)));
    tc_value fixed = tc_variable(g, "fixed", tc_ones(g, TC_I64, TC_SCALAR), .not_trainable = true);
    assert_ok(tc_graph_status(g));
    assert_int_equal(tc_value_dtype(w), TC_F16);
    assert_int_equal(tc_value_shape(w).dims[1].size, 3);
    assert_true(tc_attrs_bool(&node_of(w)->attrs, "trainable"));
    assert_false(tc_attrs_bool(&node_of(fixed)->attrs, "trainable"));
    /* As loaded beside a checkpoint, without what made its first elements. */
    tc_shape shape = TC_SHAPE(4);
    tc_value bare =
        tc_node_build(g, &(const tc_node_spec){.op = "variable",
                                               .name = "bare",
                                               .at = TC_HERE,
                                               TC_SPEC_ATTRS({"dtype", tc_attr_dtype(TC_F32)},
                                                             {"shape", tc_attr_shape(&shape)})});
    assert_int_equal(tc_value_shape(bare).dims[0].size, 4);
    tc_graph_release(g);

    INVALID("variable: the name is NULL", tc_variable(g, NULL, tc_zeros(g, TC_F32, TC_SCALAR)));
    INVALID("'w': the initial value is missing", tc_variable(g, "w", TC_NO_VALUE));
    INVALID("every dimension of the shape must be known, but it is [batch, 2]",
            tc_variable(g, "w", tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 2))));
    tc_graph *other = tc_graph_create();
    INVALID("another graph", tc_variable(g, "w", tc_zeros(other, TC_F32, TC_SCALAR)));
    tc_graph_release(other);
    shape = TC_SHAPE(2);
    tc_value initial;
    INVALID(
        "initial is f64 [2], but the variable is f32 [2]",
        (initial = tc_zeros(g, TC_F64, shape),
         tc_node_build(g, &(const tc_node_spec){.op = "variable",
                                                .at = TC_HERE,
                                                TC_SPEC_INPUTS(initial),
                                                TC_SPEC_ATTRS({"dtype", tc_attr_dtype(TC_F32)},
                                                              {"shape", tc_attr_shape(&shape)})})));
}

/* A group depends on all its values, on groups too, and is no value itself. */
static void test_source_group(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value w = tc_variable(g, "w", tc_zeros(g, TC_F32, TC_SCALAR));
    tc_value update = tc_assign(w, tc_ones(g, TC_F32, TC_SCALAR));
    tc_value inner = tc_group(g, TC_VALUES(update, tc_no_op(g)));
    tc_value outer = tc_group(g, TC_VALUES(inner, w));
    tc_value empty = tc_group(g, NULL, 0);
    assert_ok(tc_graph_status(g));
    assert_int_equal(tc_output_count(outer), 0);
    assert_int_equal(tc_node_control_count(inner), 2);
    assert_int_equal(tc_node_control(inner, 0).node, update.node);
    assert_int_equal(tc_node_control_count(outer), 2);
    assert_int_equal(tc_node_control(outer, 0).node, inner.node);
    assert_int_equal(tc_node_control_count(empty), 0);
    /* The dependencies do not leak to what is built next. */
    assert_int_equal(tc_node_control_count(tc_zeros(g, TC_F32, TC_SCALAR)), 0);
    assert_string_equal(tc_value_name(outer), "group_1");
    tc_graph_release(g);
    INVALID("'x' is output 0 of no_op 'group', which has 0 outputs",
            tc_identity(tc_group(g, NULL, 0)));
    INVALID("group: value 1 of 2 is not a value", tc_group(g, TC_VALUES(tc_no_op(g), TC_NO_VALUE)));
}

static int64_t stream_of(tc_value value)
{
    return tc_attrs_int(&node_of(value)->attrs, "stream");
}

/* Streams follow paths, explicit ones stay, and the gradient of dropout has the one of its forward.
 */
static void test_source_streams(void **state)
{
    int64_t streams[2][3];
    for (int i = 0; i < 2; i++) {
        tc_graph *g = tc_graph_create();
        tc_shape shape = TC_SHAPE(3);
        streams[i][0] = stream_of(tc_random_normal(g, TC_F32, shape));
        tc_scope_push(g, "layer");
        streams[i][1] = stream_of(tc_random_normal(g, TC_F32, shape));
        tc_scope_pop(g);
        tc_value x = tc_placeholder(g, "x", TC_F32, shape);
        tc_value y = tc_dropout(x, 0.5);
        streams[i][2] = stream_of(y);
        assert_int_equal(stream_of(tc_dropout(x, 0.5, .stream = -3)), -3);
        tc_value gradient;
        assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x), &gradient));
        assert_string_equal(tc_value_op(gradient), "dropout");
        assert_int_equal(stream_of(gradient), stream_of(y));
        tc_graph_release(g);
    }
    assert_memory_equal(streams[0], streams[1], sizeof streams[0]);
    assert_true(streams[0][0] && streams[0][0] != streams[0][1] && streams[0][0] != streams[0][2]);
}

static tc_status build_all(void *context)
{
    const float data[2] = {1, 2};
    tc_graph *g = tc_graph_create();
    if (!g)
        return TC_RESOURCE_EXHAUSTED;
    tc_value w = tc_variable(g, "w", tc_random_normal(g, TC_F32, TC_SHAPE(2)));
    tc_value x = tc_constant_data(g, TC_F32, TC_SHAPE(2), data);
    tc_value update = tc_apply_sgd(w, tc_dropout(x, 0.5), tc_constant_scalar(g, TC_F32, 0.1));
    tc_value y = tc_group(g, TC_VALUES(update, tc_range(g, TC_I64, 0, 5)));
    tc_status status = tc_graph_status(g);
    if (status == TC_OK && !tc_value_ok(y))
        status = TC_INTERNAL;
    tc_graph_release(g);
    return status;
}

static void test_source_allocation_failure(void **state)
{
    assert_ok(build_all(NULL));
    counting_allocator_install();
    assert_true(counting_allocator_sweep(build_all, NULL) > 5);
    counting_allocator_remove();
}

/* Every builder accepts a NULL graph. */
static void test_source_null_graph(void **state)
{
    const tc_value none = TC_NO_VALUE;
    const tc_apply_adam_inputs adam = {none, none, none, none, none, none};
    const tc_value values[] = {
        tc_placeholder(NULL, "x", TC_F32, TC_SCALAR),
        tc_constant(NULL, NULL),
        tc_constant_scalar(NULL, TC_F32, 1),
        tc_variable(NULL, "w", none),
        tc_fill(NULL, TC_F32, TC_SCALAR, 1),
        tc_range(NULL, TC_F32, 0, 3),
        tc_identity(none),
        tc_stop_gradient(none),
        tc_no_op(NULL),
        tc_group(NULL, &none, 1),
        tc_group(NULL, NULL, 0),
        tc_assign(none, none),
        tc_assign_add(none, none),
        tc_assign_sub(none, none),
        tc_apply_sgd(none, none, none),
        tc_apply_momentum(none, none, none, none),
        tc_apply_adam(&adam),
        tc_random_uniform(NULL, TC_F32, TC_SCALAR),
        tc_random_uniform_like(none),
        tc_random_int(NULL, TC_I32, TC_SCALAR, 0, 2),
        tc_random_normal(NULL, TC_F32, TC_SCALAR),
        tc_random_normal_like(none),
        tc_random_truncated_normal(NULL, TC_F32, TC_SCALAR),
        tc_dropout(none, 0.5),
        tc_dropout(none, 0.5, .mode = (tc_mode)9),
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_false(tc_value_ok(values[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_placeholder),
        cmocka_unit_test(test_source_constant),
        cmocka_unit_test(test_source_known_elements),
        cmocka_unit_test(test_source_variable),
        cmocka_unit_test(test_source_group),
        cmocka_unit_test(test_source_streams),
        cmocka_unit_test(test_source_allocation_failure),
        cmocka_unit_test(test_source_null_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
