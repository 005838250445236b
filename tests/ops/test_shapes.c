/* What the shape family knows before a run: names of dimensions, elements of shape vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <tensorc/ops.h>

#include "graph/graph.h"

static void assert_shape(tc_value value, const char *expected)
{
    char text[256];
    tc_shape shape = tc_value_shape(value);
    assert_string_equal(tc_graph_error(value.graph), "");
    tc_shape_format(&shape, text, sizeof text);
    assert_string_equal(text, expected);
}

/* Elements that are known, as the text of a shape. */
static void assert_known(tc_value value, const char *expected)
{
    char text[256];
    assert_true(tc_value_ok(value));
    const tc_value_info *info = tc_edge_info(value.graph, (tc_edge){value.node, value.output});
    assert_non_null(info->known);
    tc_shape shape = tc_shape_make((size_t)info->known_count, info->known);
    tc_shape_format(&shape, text, sizeof text);
    assert_string_equal(text, expected);
}

static void assert_error(tc_graph *graph, const char *part)
{
    if (!strstr(tc_graph_error(graph), part))
        fail_msg("\"%s\" is not in \"%s\"", part, tc_graph_error(graph));
    tc_graph_release(graph);
}

static tc_value text_batch(tc_graph *graph)
{
    return tc_placeholder(graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), TC_DIM("time"), 64));
}

static void test_reshape_names(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = text_batch(g);
    assert_shape(tc_reshape(x, TC_SHAPE(TC_DIM("batch"), TC_DIM("time"), 8, 8)),
                 "[batch, time, 8, 8]");
    assert_shape(tc_reshape(x, TC_SHAPE(TC_DIM("batch"), -1, 32)), "[batch, ?, 32]");
    assert_shape(tc_reshape(x, TC_SHAPE(TC_DIM("time"), -1, 64)), "[time, batch, 64]");
    assert_shape(tc_reshape(x, TC_SHAPE(-1, 64)), "[?, 64]");
    tc_value y = tc_placeholder(g, "y", TC_F32, TC_SHAPE(TC_DIM("batch"), 28, 28));
    assert_shape(tc_reshape(y, TC_SHAPE(-1, 784)), "[batch, 784]");
    assert_shape(tc_reshape(y, TC_SHAPE(-1, 392)), "[?, 392]");
    assert_shape(tc_flatten(y, 1), "[batch, 784]");
    assert_shape(tc_flatten(x, 1), "[batch, ?]");
    assert_shape(tc_flatten(x, 2), "[batch, time, 64]");
    assert_shape(tc_reshape_like(tc_flatten(x, 0), x), "[batch, time, 64]");
    tc_graph_release(g);
}

static void test_reshape_unknown_name(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_reshape(text_batch(g), TC_SHAPE(TC_DIM("rows"), 64));
    assert_error(g, "reshape: [batch, time, 64] has no dimension 'rows' that could be kept");
}

static void test_reshape_name_twice(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_reshape(text_batch(g), TC_SHAPE(TC_DIM("time"), TC_DIM("time"), 64));
    assert_error(g, "no dimension 'time' that could be kept");
}

static void test_names_pass(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = text_batch(g);
    assert_shape(tc_transpose(x, .permutation = TC_INTS(1, 2, 0)), "[time, 64, batch]");
    assert_shape(tc_unsqueeze(x, TC_INTS(1)), "[batch, 1, time, 64]");
    assert_shape(tc_squeeze(tc_unsqueeze(x, TC_INTS(1))), "[batch, time, 64]");
    assert_shape(tc_slice(x, TC_INTS(0, 0, 8), TC_INTS(TC_TO_END, 5, 16)), "[batch, ?, 8]");
    assert_shape(tc_slice(x, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-1)),
                 "[batch, time, 64]");
    assert_shape(tc_concat(TC_VALUES(x, x), 2), "[batch, time, 128]");
    assert_shape(tc_concat(TC_VALUES(x, x), 1), "[batch, ?, 64]");
    assert_shape(tc_stack(TC_VALUES(x, x, x), 0), "[3, batch, time, 64]");
    assert_shape(tc_stack(TC_VALUES(x, x), -1), "[batch, time, 64, 2]");
    assert_shape(tc_split(x, -1, 4), "[batch, time, 16]");
    assert_shape(tc_output(tc_split(x, 2, 0, .sizes = TC_INTS(60, 4)), 1), "[batch, time, 4]");
    assert_shape(tc_split(x, 1, 4), "[batch, ?, 64]");
    assert_shape(tc_pad(x, TC_INTS(0, 1, 0), TC_INTS(0, 1, 2)), "[batch, ?, 66]");
    tc_value ids = tc_placeholder(g, "ids", TC_I64, TC_SHAPE(TC_DIM("batch"), TC_DIM("time")));
    tc_value table = tc_placeholder(g, "table", TC_F32, TC_SHAPE(1000, 64));
    assert_shape(tc_embedding(table, ids), "[batch, time, 64]");
    assert_shape(tc_one_hot(ids, 10), "[batch, time, 10]");
    assert_shape(tc_expand(tc_placeholder(g, "row", TC_F32, TC_SHAPE(TC_DIM("time"), 1)),
                           TC_SHAPE(5, TC_DIM("time"), 64)),
                 "[5, time, 64]");
    assert_shape(tc_expand_like(tc_placeholder(g, "one", TC_F32, TC_SHAPE(1, 64)), x),
                 "[batch, time, 64]");
    tc_graph_release(g);
}

static void test_known_sizes(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value sizes = tc_shape_of_at(TC_HERE, text_batch(g));
    assert_shape(sizes, "[3]");
    assert_known(sizes, "[batch, time, 64]");
    assert_known(tc_slice(sizes, TC_INTS(1), TC_INTS(TC_TO_END)), "[time, 64]");
    assert_known(tc_slice(sizes, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-2)),
                 "[64, batch]");
    int64_t places[] = {2, 0};
    tc_value indices = tc_constant_data(g, TC_I64, TC_SHAPE(2), places);
    assert_known(tc_gather(sizes, indices), "[64, batch]");
    assert_known(tc_concat(TC_VALUES(indices, sizes), 0), "[2, 0, batch, time, 64]");
    assert_known(tc_output(tc_split(sizes, 0, 0, .sizes = TC_INTS(1, 2)), 1), "[time, 64]");
    assert_known(tc_squeeze(tc_unsqueeze(sizes, TC_INTS(0))), "[batch, time, 64]");
    assert_known(tc_reshape(sizes, TC_SHAPE(3, 1)), "[batch, time, 64]");
    tc_value fed = tc_placeholder(g, "fed", TC_I64, TC_SHAPE(1));
    assert_known(tc_concat(TC_VALUES(fed, indices), 0), "[?, 2, 0]");
    tc_graph_release(g);
}

static void test_known_is_small(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value sizes = tc_shape_of_at(TC_HERE, text_batch(g)), many[22];
    for (size_t i = 0; i < 22; i++)
        many[i] = sizes;
    tc_value y = tc_concat(many, 22, 0);
    assert_shape(y, "[66]");
    assert_null(tc_edge_info(g, (tc_edge){y.node, 0})->known);
    tc_graph_release(g);
}

static void test_embedding_rank(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_embedding(text_batch(g), tc_placeholder(g, "ids", TC_I64, TC_SHAPE(4)));
    assert_error(g, "embedding: the table has shape [batch, time, 64], but must have rank 2");
}

static void test_expand_name(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_expand(tc_placeholder(g, "x", TC_F32, TC_SHAPE(1, 3)), TC_SHAPE(TC_DIM("batch"), 3));
    assert_error(g, "expand: [1, 3] has no dimension 'batch' in that place");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reshape_names),      cmocka_unit_test(test_reshape_unknown_name),
        cmocka_unit_test(test_reshape_name_twice), cmocka_unit_test(test_names_pass),
        cmocka_unit_test(test_known_sizes),        cmocka_unit_test(test_known_is_small),
        cmocka_unit_test(test_embedding_rank),     cmocka_unit_test(test_expand_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
