/* Every class of mistake: what the sentence says, and that the first one stays. */
#include "support/test.h"

#include <tensorc/ops.h>

#include "graph/graph.h"

/* Operators of every kind of port and attribute. */
static tc_status infer_scalar(tc_infer *infer)
{
    for (int32_t i = 0; i < infer->n_outputs; i++)
        infer->outputs[i].shape = tc_shape_make(0, NULL);
    return TC_OK;
}

static const tc_port ports[] = {
    {.name = "a", .dtypes = TC_DTYPES_FLOAT, .type = 'T'},
    {.name = "b", .dtypes = TC_DTYPES_FLOAT, .type = 'T', .flags = TC_PORT_OPTIONAL},
    {.name = "rest", .dtypes = TC_DTYPES_ANY, .flags = TC_PORT_VARIADIC},
};
static const tc_port two_ports[] = {
    {.name = "a", .dtypes = TC_DTYPES_FLOAT, .type = 'T'},
    {.name = "b", .dtypes = TC_DTYPES_FLOAT, .type = 'T'},
};
static const tc_port result[] = {{.name = "result", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
static const tc_port resource[] = {
    {.name = "target", .dtypes = TC_DTYPES_ANY, .type = 'T', .flags = TC_PORT_RESOURCE}};
static const tc_attr_def attr_defs[] = {
    {.name = "axis", .type = TC_ATTR_INT},
    {.name = "mode",
     .type = TC_ATTR_STRING,
     .fallback = {.type = TC_ATTR_STRING, .s = "same"},
     .choices = "same|valid"},
    {.name = "scale", .type = TC_ATTR_FLOAT, .fallback = {.type = TC_ATTR_FLOAT, .f = 1}},
    {.name = "kind", .type = TC_ATTR_DTYPE, .fallback = {.type = TC_ATTR_DTYPE}},
    {.name = "form", .type = TC_ATTR_SHAPE, .fallback = {.type = TC_ATTR_SHAPE}},
    {.name = "words", .type = TC_ATTR_STRINGS, .fallback = {.type = TC_ATTR_STRINGS}},
};
static const tc_op op_general = {.name = "test_general",
                                 .version = 1,
                                 .doc = "All kinds of inputs.",
                                 TC_LIST(inputs, ports),
                                 TC_LIST(outputs, result),
                                 .infer = infer_scalar,
                                 .grad = TC_GRAD_NONE};
static const tc_op op_attrs = {.name = "test_attrs",
                               .version = 1,
                               .doc = "All kinds of attributes.",
                               TC_LIST(inputs, two_ports),
                               TC_LIST(outputs, result),
                               TC_LIST(attrs, attr_defs),
                               .infer = infer_scalar,
                               .grad = TC_GRAD_NONE};
static const tc_op op_write = {.name = "test_write",
                               .version = 1,
                               .doc = "Writes.",
                               TC_LIST(inputs, resource),
                               TC_LIST(outputs, result),
                               .effects = TC_EFFECT_WRITE,
                               .infer = infer_scalar,
                               .grad = TC_GRAD_NONE};

typedef struct fixture {
    tc_registry *registry;
    tc_graph *g;
    tc_value x;  /* f32 [batch, 4] */
    tc_value xd; /* f64 [batch, 4] */
    tc_value i;  /* i32 [4] */
} fixture;

static int setup(void **state)
{
    static fixture f;
    f.registry = tc_registry_create();
    assert_ok(tc_registry_add_op(f.registry, &op_general));
    assert_ok(tc_registry_add_op(f.registry, &op_attrs));
    assert_ok(tc_registry_add_op(f.registry, &op_write));
    f.g = tc_graph_create_with(&(tc_graph_options){sizeof(tc_graph_options), f.registry, 0});
    f.x = tc_placeholder(f.g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    f.xd = tc_placeholder(f.g, "xd", TC_F64, TC_SHAPE(TC_DIM("batch"), 4));
    f.i = tc_placeholder(f.g, "i", TC_I32, TC_SHAPE(4));
    assert_ok(tc_graph_status(f.g));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    tc_graph_release(f->g);
    tc_registry_release(f->registry);
    return 0;
}

/* The graph has failed with this status and all of these parts in its sentence; then starts afresh.
 */
static void check(fixture *f, tc_status status, const char *part, const char *more)
{
    assert_status(tc_graph_status(f->g), status);
    assert_string_equal(tc_graph_error(f->g), tc_error_message());
    assert_error_contains(part);
    assert_error_contains(more);
    assert_int_equal(tc_error_message()[strlen(tc_error_message()) - 1] == '\n', 0);
    void *fresh = f;
    teardown(&fresh);
    setup(&fresh);
}

#define BUILD(fixture, ...)   \
    assert_false(tc_value_ok( \
        tc_node_build((fixture)->g, &(const tc_node_spec){.at = TC_HERE, __VA_ARGS__})))

#define HERE "test_errors.c:"

static void test_errors_operator(void **state)
{
    fixture *f = *state;
    BUILD(f, .op = "sigmiod", TC_SPEC_INPUTS(f->x));
    check(f, TC_NOT_FOUND, "sigmiod: there is no such operator; did you mean 'sigmoid'?", HERE);
    BUILD(f, .op = "qqqqqqqqqqqq", TC_SPEC_INPUTS(f->x));
    check(f, TC_NOT_FOUND, "qqqqqqqqqqqq: there is no such operator; built at", HERE);
    BUILD(f, .op = NULL);
    check(f, TC_INVALID_ARGUMENT, "needs an operator", HERE);
}

static void test_errors_names(void **state)
{
    fixture *f = *state;
    BUILD(f, .op = "neg", .name = "", TC_SPEC_INPUTS(f->x));
    check(f, TC_INVALID_ARGUMENT, "neg: the name '' is empty", HERE);
    BUILD(f, .op = "neg", .name = "a:b", TC_SPEC_INPUTS(f->x));
    check(f, TC_INVALID_ARGUMENT, "the name 'a:b' has a character other than", HERE);
    BUILD(f, .op = "neg", .name = "a b", TC_SPEC_INPUTS(f->x));
    check(f, TC_INVALID_ARGUMENT, "the name 'a b' has a character other than", HERE);
    BUILD(f, .op = "neg", .name = "a//b", TC_SPEC_INPUTS(f->x));
    check(f, TC_INVALID_ARGUMENT, "empty part", HERE);
    tc_placeholder(f->g, "x", TC_F32, TC_SCALAR);
    check(f, TC_ALREADY_EXISTS, "placeholder 'x': the name is taken by a placeholder built at",
          "choose another");
    tc_scope_push(f->g, "/a");
    check(f, TC_INVALID_ARGUMENT, "tc_scope_push: the name '/a' has an empty part", "");
    tc_scope_push(f->g, NULL);
    check(f, TC_INVALID_ARGUMENT, "NULL", "");
    tc_scope_pop(f->g);
    check(f, TC_FAILED_PRECONDITION, "tc_scope_pop without a matching tc_scope_push", "");
    tc_control_pop(f->g);
    check(f, TC_FAILED_PRECONDITION, "tc_control_pop without a matching tc_control_push", "");
    tc_device_pop(f->g);
    check(f, TC_FAILED_PRECONDITION, "tc_device_pop without a matching tc_device_push", "");
    tc_device_push(f->g, "");
    check(f, TC_INVALID_ARGUMENT, "the device is empty", "");
    tc_annotate(f->x, "", "text");
    check(f, TC_INVALID_ARGUMENT, "tc_annotate", "");
}

static void test_errors_inputs(void **state)
{
    fixture *f = *state;
    BUILD(f, .op = "test_general", .name = "n", TC_SPEC_INPUTS(f->i));
    check(f, TC_INVALID_ARGUMENT,
          "test_general 'n': input 'a' is i32, but must be f32, f64, f16 or bf16; built at", HERE);
    BUILD(f, .op = "test_general", TC_SPEC_INPUTS(f->x, f->xd));
    check(f, TC_INVALID_ARGUMENT,
          "inputs 'a' and 'b' must have the same dtype, but are f32 and f64; convert one of them "
          "with tc_cast",
          HERE);
    BUILD(f, .op = "test_general", TC_SPEC_INPUTS(TC_NO_VALUE, f->x));
    check(f, TC_INVALID_ARGUMENT, "input 'a' is missing", HERE);
    BUILD(f, .op = "test_general", TC_SPEC_INPUTS(f->x, f->x, f->i, TC_NO_VALUE));
    check(f, TC_INVALID_ARGUMENT, "input 'rest' 1 is missing", HERE);
    BUILD(f, .op = "test_attrs", TC_SPEC_INPUTS(f->x, f->x, f->x),
          TC_SPEC_ATTRS({"axis", tc_attr_int(0)}));
    check(f, TC_INVALID_ARGUMENT, "takes 2 inputs, but 3 are given", HERE);
    BUILD(f, .op = "test_attrs", TC_SPEC_INPUTS(f->x), TC_SPEC_ATTRS({"axis", tc_attr_int(0)}));
    check(f, TC_INVALID_ARGUMENT, "input 'b' is missing", HERE);
    BUILD(f, .op = "neg", TC_SPEC_INPUTS((tc_value){f->g, -1, 0}));
    check(f, TC_INVALID_ARGUMENT, "is an invalid value", HERE);
    BUILD(f, .op = "neg", TC_SPEC_INPUTS((tc_value){f->g, 1000, 0}));
    check(f, TC_INVALID_ARGUMENT, "is no value of any graph", HERE);
    BUILD(f, .op = "neg", TC_SPEC_INPUTS((tc_value){f->g, f->x.node, 3}));
    check(f, TC_INVALID_ARGUMENT, "is output 3 of placeholder 'x', which has 1 output", HERE);
    tc_graph *other = tc_graph_create();
    tc_value foreign = tc_placeholder(other, "foreign", TC_F32, TC_SCALAR);
    tc_add(f->x, foreign);
    check(f, TC_INVALID_ARGUMENT, "'foreign', belongs to another graph", HERE);
    assert_ok(tc_graph_status(other));
    tc_control_push(f->g, &foreign, 1);
    check(f, TC_INVALID_ARGUMENT, "tc_control_push: value 0 is not a value of this graph", "");
    tc_graph_release(other);
    tc_output(f->x, 1);
    check(f, TC_INVALID_ARGUMENT, "placeholder 'x': has no output 1, but 1 output", HERE);
    tc_add(f->x, tc_placeholder(f->g, "y", TC_F32, TC_SHAPE(3)));
    check(f, TC_INVALID_ARGUMENT, "[batch, 4]", "[3]");
    BUILD(f, .op = "test_write", TC_SPEC_INPUTS(f->x));
    check(f, TC_INVALID_ARGUMENT,
          "input 'target' is written to and must be a variable itself, but 'x' is the result of "
          "placeholder",
          HERE);
}

static void test_errors_attributes(void **state)
{
    fixture *f = *state;
    const char *words[] = {"a", NULL};
    const struct {
        tc_attr_arg arg;
        const char *part;
    } rows[] = {
        {{"axes", tc_attr_int(0)}, "has no attribute 'axes'; did you mean 'axis'?"},
        {{"zzzzzzzz", tc_attr_int(0)}, "has no attribute 'zzzzzzzz'; built at"},
        {{NULL, tc_attr_int(0)}, "has no attribute '(NULL)'"},
        {{"axis", tc_attr_float(0)}, "attribute 'axis' must be an int, but is a float"},
        {{"mode", tc_attr_string("sane")},
         "attribute 'mode' is \"sane\"; it must be one of same|valid"},
        {{"mode", tc_attr_string("sam")}, "it must be one of"},
        {{"mode", tc_attr_string(NULL)}, "attribute 'mode' is NULL"},
        {{"kind", tc_attr_dtype((tc_dtype)77)}, "attribute 'kind'"},
        {{"form", tc_attr_shape(&(tc_shape){.rank = 99})}, "attribute 'form': the rank"},
        {{"words", (tc_attr){.type = TC_ATTR_STRINGS, .count = 2, .strings = words}},
         "attribute 'words' is NULL"},
        {{"words", (tc_attr){.type = TC_ATTR_STRINGS, .count = -2, .strings = words}},
         "attribute 'words' has -2 elements"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        BUILD(f, .op = "test_attrs", TC_SPEC_INPUTS(f->x, f->x),
              .attrs = (const tc_attr_arg[]){rows[i].arg, {"axis", tc_attr_int(1)}}, .n_attrs = 2);
        check(f, TC_INVALID_ARGUMENT, rows[i].part, HERE);
    }
    BUILD(f, .op = "test_attrs", TC_SPEC_INPUTS(f->x, f->x));
    check(f, TC_INVALID_ARGUMENT, "attribute 'axis' (an int) is required", HERE);
    /* What is the default may also be given. */
    tc_value good = tc_node_build(
        f->g, &(const tc_node_spec){.op = "test_attrs",
                                    .at = TC_HERE,
                                    TC_SPEC_INPUTS(f->x, f->x),
                                    TC_SPEC_ATTRS({"axis", tc_attr_int(1)},
                                                  {"kind", tc_attr_dtype(TC_DTYPE_INVALID)},
                                                  {"form", tc_attr_shape(NULL)})});
    assert_true(tc_value_ok(good));
}

static void test_errors_first_one_stays(void **state)
{
    fixture *f = *state;
    int line = __LINE__ + 1;
    tc_value bad = tc_add(f->x, f->xd);
    tc_value worse = tc_mul(bad, f->i);
    tc_placeholder(f->g, "x", TC_F32, TC_SCALAR);
    tc_scope_push(f->g, "");
    tc_scope_pop(f->g);
    assert_false(tc_value_ok(worse));
    int count = tc_graph_node_count(f->g);
    assert_false(tc_value_ok(tc_neg(f->x)));
    assert_int_equal(tc_graph_node_count(f->g), count);
    assert_status(tc_graph_verify(f->g), TC_INVALID_ARGUMENT);
    char place[64];
    snprintf(place, sizeof place, "test_errors.c:%d", line);
    check(f, TC_INVALID_ARGUMENT, "add 'add': inputs 'a' and 'b'", place);
}

static tc_value layer(tc_location at, tc_value a, tc_value b)
{
    return tc_add_at(TC_WITHIN(at), a, b);
}

static void test_errors_name_both_lines(void **state)
{
    fixture *f = *state;
    int line = __LINE__ + 1;
    layer(TC_HERE, f->x, f->i);
    char outer[64];
    snprintf(outer, sizeof outer, "test_errors.c:%d)", line);
    check(f, TC_INVALID_ARGUMENT, "(called from ", outer);
}

static void test_errors_own_builders(void **state)
{
    fixture *f = *state;
    tc_value v = tc_graph_fail(f->g, TC_HERE, TC_OUT_OF_RANGE, "layer %d is too %s", 7, "deep");
    assert_false(tc_value_ok(v));
    assert_ptr_equal(v.graph, f->g);
    check(f, TC_OUT_OF_RANGE, "layer 7 is too deep; built at", HERE);
    /* However long the reason is, the place is not cut off. */
    char *longest = malloc(5000);
    memset(longest, 'a', 4999);
    longest[4999] = 0;
    tc_graph_fail(f->g, TC_HERE, TC_UNKNOWN, "%s", longest);
    check(f, TC_UNKNOWN, "aaaa", HERE);
    BUILD(f, .op = "neg", .name = longest, TC_SPEC_INPUTS(f->i, f->i));
    check(f, TC_INVALID_ARGUMENT, "takes 1 input, but 2 are given", HERE);
    free(longest);
}

static tc_status infer_nothing(tc_infer *infer)
{
    return TC_OK;
}

static tc_status infer_wrong(tc_infer *infer)
{
    infer->outputs[0].dtype = TC_F64;
    return TC_OK;
}

static void test_errors_broken_operators(void **state)
{
    fixture *f = *state;
    static const tc_port any[] = {{.name = "y", .dtypes = TC_DTYPES_ANY}};
    static const tc_op no_dtype = {.name = "test_no_dtype",
                                   .version = 1,
                                   .doc = "Broken.",
                                   TC_LIST(outputs, any),
                                   .infer = infer_nothing};
    static const tc_op wrong = {.name = "test_wrong",
                                .version = 1,
                                .doc = "Broken.",
                                TC_LIST(inputs, two_ports),
                                TC_LIST(outputs, result),
                                .infer = infer_wrong};
    assert_ok(tc_registry_add_op(f->registry, &no_dtype));
    BUILD(f, .op = "test_no_dtype");
    check(f, TC_INVALID_ARGUMENT, "output 'y' would be invalid", HERE);
    assert_ok(tc_registry_add_op(f->registry, &wrong));
    BUILD(f, .op = "test_wrong", TC_SPEC_INPUTS(f->x, f->x));
    check(f, TC_INTERNAL, "shape inference gives output 'result' the dtype f64 instead of f32",
          HERE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_errors_operator, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_inputs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_attributes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_first_one_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_name_both_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_own_builders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_broken_operators, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
