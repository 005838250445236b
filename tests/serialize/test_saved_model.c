#include "serialize/files.h"
#include "serialize/samples.h"

#include "core/tensor.h"
#include "serialize/saved_model.h"

static char folder[TEST_PATH_SIZE];
static char path[TEST_PATH_SIZE];

static int setup(void **state)
{
    test_folder_create(folder);
    test_path(path, folder, "model.tcm");
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(folder);
    return 0;
}

static tc_status save_model(sample_model *m)
{
    const tc_signature_port inputs[] = {{"features", m->x}}, outputs[] = {{"scores", m->y}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 1};
    return tc_saved_model_save(m->session, path, &signature, 1);
}

static void test_saved_model_round_trip(void **state)
{
    sample_model m = sample_model_create();
    sample_model_train(&m);
    float expected[8], actual[8];
    sample_model_result(m.session, m.x, m.y, expected);
    assert_ok(save_model(&m));
    sample_model_destroy(&m);

    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    assert_int_equal(tc_saved_model_signature_count(model), 1);
    const tc_signature *signature = tc_saved_model_find(model, "serve");
    assert_non_null(signature);
    assert_ptr_equal(signature, tc_saved_model_signature(model, 0));
    assert_null(tc_saved_model_signature(model, 1));
    assert_null(tc_saved_model_find(model, "other"));
    assert_string_equal(signature->inputs[0].name, "features");
    assert_string_equal(signature->outputs[0].name, "scores");
    tc_shape shape = tc_value_shape(signature->inputs[0].value);
    assert_string_equal(shape.dims[0].name, "batch");

    tc_session *session;
    assert_ok(tc_saved_model_session(model, NULL, &session));
    sample_model_result(session, signature->inputs[0].value, signature->outputs[0].value, actual);
    assert_memory_equal(expected, actual, sizeof actual);

    /* Sessions that share a store share the variables. */
    tc_session *second;
    const tc_session_options options = {.struct_size = sizeof options,
                                        .store = tc_session_store(session)};
    assert_ok(tc_saved_model_session(model, &options, &second));
    assert_ptr_equal(tc_session_store(second), tc_session_store(session));
    sample_model_result(second, signature->inputs[0].value, signature->outputs[0].value, actual);
    assert_memory_equal(expected, actual, sizeof actual);
    tc_session_release(second);
    tc_session_release(session);
    tc_saved_model_release(model);
}

/* Initial values, updates and variables that nothing needs stay behind. */
static void test_saved_model_is_pruned(void **state)
{
    sample_model m = sample_model_create();
    assert_ok(save_model(&m));
    sample_model_destroy(&m);
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    tc_graph *graph = tc_saved_model_graph(model);
    assert_int_equal(tc_graph_node_count(graph), 5); /* x, w, b, mul, add */
    assert_false(tc_value_ok(tc_graph_find(graph, "slot")));
    assert_true(tc_value_ok(tc_graph_find(graph, "layer/w")));
    assert_int_equal(model->n_variables, 2);
    for (size_t i = 0; i < model->n_variables; i++) {
        assert_true(tc_tensor_is_read_only(model->tensors[i]));
        assert_int_equal((uintptr_t)tc_tensor_data(model->tensors[i]) % 64, 0);
    }
    /* Without what it was restored with, a variable has nothing to begin with. */
    tc_session *session;
    assert_ok(tc_session_create(graph, NULL, &session));
    assert_status(tc_session_initialize(session), TC_FAILED_PRECONDITION);
    tc_session_release(session);
    tc_saved_model_release(model);
}

/* Functions that are called stay, with what they capture; the others go. */
static void test_saved_model_keeps_functions(void **state)
{
    tc_graph *graph = tc_graph_create();
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(-1, 4));
    tc_value w = tc_variable(graph, "w", tc_fill(graph, TC_F32, TC_SHAPE(4), 3.0));
    sample_functions(graph, x, tc_variable(graph, "v", tc_zeros(graph, TC_F32, TC_SCALAR)));
    tc_graph *scale = tc_function_begin(graph, "scale");
    tc_value p = tc_parameter(scale, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(scale, TC_VALUES(tc_mul(p, w)));
    tc_value y =
        tc_output(tc_call(graph, "helper", TC_VALUES(tc_call(graph, "scale", TC_VALUES(x)))), 1);
    tc_session *session;
    assert_ok(tc_session_create(graph, NULL, &session));
    float expected[8], actual[8];
    sample_model_result(session, x, y, expected);
    const tc_signature_port inputs[] = {{"x", x}}, outputs[] = {{"y", y}};
    const tc_signature signature = {"call", inputs, 1, outputs, 1};
    assert_ok(tc_saved_model_save(session, path, &signature, 1));
    tc_session_release(session);
    tc_graph_release(graph);

    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    assert_int_equal(tc_graph_function_count(tc_saved_model_graph(model)), 2);
    assert_ok(tc_saved_model_session(model, NULL, &session));
    const tc_signature *found = tc_saved_model_find(model, "call");
    assert_int_equal(found->outputs[0].value.output, 1);
    sample_model_result(session, found->inputs[0].value, found->outputs[0].value, actual);
    assert_memory_equal(expected, actual, sizeof actual);
    tc_session_release(session);
    tc_saved_model_release(model);
}

static void test_saved_model_without_variables(void **state)
{
    tc_graph *graph = tc_graph_create();
    tc_value y = tc_add(sample_constant(graph, TC_F32, TC_SHAPE(2)),
                        sample_constant(graph, TC_F32, TC_SCALAR));
    tc_session *session;
    assert_ok(tc_session_create(graph, NULL, &session));
    const tc_signature_port outputs[] = {{"y", y}};
    const tc_signature signature = {"only", NULL, 0, outputs, 1};
    assert_ok(tc_saved_model_save(session, path, &signature, 1));
    tc_session_release(session);
    tc_graph_release(graph);
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    assert_int_equal(tc_saved_model_find(model, "only")->n_inputs, 0);
    assert_ok(tc_saved_model_session(model, NULL, &session));
    tc_session_release(session);
    tc_saved_model_release(model);
}

/* Shapes that depend on elements are as unknown after loading as before, and runs find them. */
static void test_saved_model_of_unknown_shapes(void **state)
{
    static const float elements[5] = {0, 3, 0, -2, 5};
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    tc_value scale = tc_variable(g, "scale", tc_constant_scalar(g, TC_F32, 10));
    tc_value places = tc_nonzero(x);
    tc_value chosen = tc_mul(tc_boolean_mask(x, tc_greater(x, tc_zeros_like(x))), scale);
    const tc_signature_port inputs[] = {{"x", x}};
    const tc_signature_port outputs[] = {{"places", places}, {"chosen", chosen}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 2};
    tc_session *session;
    assert_ok(tc_session_create(g, NULL, &session));
    assert_ok(tc_session_initialize(session));
    assert_ok(tc_saved_model_save(session, path, &signature, 1));
    tc_session_release(session);
    tc_graph_release(g);

    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    const tc_signature *serve = tc_saved_model_find(model, "serve");
    const tc_value fetches[] = {serve->outputs[0].value, serve->outputs[1].value};
    tc_shape found = tc_value_shape(fetches[0]), some = tc_value_shape(fetches[1]);
    assert_string_equal(tc_value_shape(serve->inputs[0].value).dims[0].name, "n");
    assert_int_equal(found.dims[0].size, -1);
    assert_int_equal(found.dims[1].size, 1);
    assert_int_equal(some.dims[0].size, -1);
    assert_ok(tc_saved_model_session(model, NULL, &session));
    for (int n = 5; n >= 0; n--) {
        tc_tensor *fed, *out[2] = {0};
        int64_t n_places = 0, n_chosen = 0;
        assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(n), elements, &fed));
        assert_ok(tc_session_run(session, TC_FEEDS({serve->inputs[0].value, fed}), fetches, 2,
                                 TC_NO_TARGETS, out, NULL));
        for (int i = 0; i < n; i++) {
            if (elements[i] != 0)
                assert_float_equal(tc_tensor_get(out[0], n_places++), i, 0);
            if (elements[i] > 0)
                assert_float_equal(tc_tensor_get(out[1], n_chosen++), 10 * elements[i], 0);
        }
        assert_int_equal(tc_tensor_shape(out[0])->dims[0].size, n_places);
        assert_int_equal(tc_tensor_size(out[1]), n_chosen);
        tc_tensor_release(fed);
        tc_tensor_release(out[0]);
        tc_tensor_release(out[1]);
    }
    tc_session_release(session);
    tc_saved_model_release(model);
}

static void test_saved_model_save_refuses(void **state)
{
    sample_model m = sample_model_create();
    const tc_signature_port x[] = {{"x", m.x}}, y[] = {{"y", m.y}},
                            two[] = {{"x", m.x}, {"x", m.y}}, train[] = {{"t", m.train}},
                            w[] = {{"w", m.w}}, same[] = {{"a", m.x}, {"b", m.x}},
                            none[] = {{"n", TC_NO_VALUE}}, unnamed[] = {{NULL, m.y}};
    const struct {
        tc_signature signatures[2];
        size_t count;
        const char *error;
    } cases[] = {
        {{{"a", x, 1, y, 1}}, 0, "at least one signature"},
        {{{"a", x, 1, y, 1}, {"a", x, 1, y, 1}}, 2, "two signatures are called 'a'"},
        {{{"", x, 1, y, 1}}, 1, "signature 0 has no name"},
        {{{"a", x, 1, y, 0}}, 1, "has no outputs"},
        {{{"a", x, 1, two, 2}}, 1, "two outputs called 'x'"},
        {{{"a", x, 1, unnamed, 1}}, 1, "output 0 has no name"},
        {{{"a", x, 1, none, 1}}, 1, "no value of the session's graph"},
        {{{"a", w, 1, y, 1}}, 1, "'w' is the result of variable 'layer/w', not a placeholder"},
        {{{"a", same, 2, y, 1}}, 1, "'a' and 'b' are the same placeholder"},
        {{{"a", NULL, 1, y, 1}}, 1, "its inputs are NULL"},
        {{{"a", NULL, 0, y, 1}}, 1, "needs placeholder 'x'"},
        {{{"a", x, 1, train, 1}}, 1, "updates a variable by assign_add"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_status(tc_saved_model_save(m.session, path, cases[i].signatures, cases[i].count),
                      TC_INVALID_ARGUMENT);
        assert_error_contains(cases[i].error);
    }
    assert_status(tc_saved_model_save(NULL, path, cases[1].signatures, 1), TC_INVALID_ARGUMENT);
    assert_status(tc_saved_model_save(m.session, "", cases[1].signatures, 1), TC_INVALID_ARGUMENT);
    assert_int_equal(remove(path), -1);

    /* What came after the session is not part of it. */
    tc_value late = tc_variable(m.graph, "late", tc_zeros(m.graph, TC_F32, TC_SCALAR));
    const tc_signature_port outputs[] = {{"late", late}};
    const tc_signature signature = {"a", NULL, 0, outputs, 1};
    assert_status(tc_saved_model_save(m.session, path, &signature, 1), TC_FAILED_PRECONDITION);
    assert_error_contains("built after the session");
    assert_int_equal(remove(path), -1);
    sample_model_destroy(&m);
}

static void test_saved_model_load_refuses(void **state)
{
    tc_graph *graph = sample_graph();
    assert_ok(tc_graph_save(graph, path));
    tc_saved_model *model;
    assert_status(tc_saved_model_load(path, NULL, &model), TC_INVALID_ARGUMENT);
    assert_error_contains("is a graph, not a saved model");
    assert_null(model);
    assert_status(tc_saved_model_load("/no/such/file", NULL, &model), TC_NOT_FOUND);
    assert_status(tc_saved_model_load(NULL, NULL, &model), TC_INVALID_ARGUMENT);
    assert_status(tc_saved_model_load(path, NULL, NULL), TC_INVALID_ARGUMENT);
    tc_graph_release(graph);
    tc_saved_model_release(NULL);
    assert_null(tc_saved_model_graph(NULL));
    assert_int_equal(tc_saved_model_signature_count(NULL), 0);
    tc_session *session;
    assert_status(tc_saved_model_session(NULL, NULL, &session), TC_INVALID_ARGUMENT);
}

static char *inspect(const char *file_path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    assert_ok(tc_file_inspect(file_path, file));
    fclose(file);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void test_file_inspect_shows_everything(void **state)
{
    sample_model m = sample_model_create();
    assert_ok(save_model(&m));
    const char *kind;
    assert_ok(tc_file_kind(path, &kind));
    assert_string_equal(kind, "saved model");
    char *text = inspect(path);
    static const char *const parts[] = {"saved model, format 1, libtensorc",
                                        "signatures: 1",
                                        "features",
                                        "f32 [batch, 4]",
                                        "scores",
                                        "variables: 2",
                                        "layer/w",
                                        "f32   [4]",
                                        "16 bytes",
                                        "parameters: 8 in 32 bytes",
                                        "graph: 5 nodes, 0 functions",
                                        "2 variable",
                                        "add(mul, layer/b)"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_contains(text, parts[i]);
    free(text);

    const tc_blob blob = {"position", "12345", 5};
    const tc_checkpoint_options options = {sizeof options, 0, &blob, 1};
    sample_model_train(&m);
    assert_ok(tc_checkpoint_save(m.session, folder, &options, path, sizeof path));
    assert_ok(tc_file_kind(path, &kind));
    assert_string_equal(kind, "checkpoint");
    text = inspect(path);
    assert_contains(text, "step: 1");
    assert_contains(text, "variables: 3");
    assert_contains(text, "blobs: 1\n  position");
    free(text);
    sample_model_destroy(&m);

    tc_graph *graph = sample_graph();
    assert_ok(tc_graph_save(graph, path));
    tc_graph_release(graph);
    text = inspect(path);
    assert_contains(text, "4 functions");
    assert_contains(text, "function inner: 2 parameters, 1 of them captured, 1 results");
    assert_contains(text, "function=@outer");
    assert_contains(text, "{collection: updates \xe2\x9c\x93}");
    free(text);
    assert_status(tc_file_kind("/no/such/file", &kind), TC_NOT_FOUND);
    assert_null(kind);
    assert_status(tc_file_inspect(path, NULL), TC_INVALID_ARGUMENT);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        assert_status(tc_file_inspect(path, full), TC_UNAVAILABLE);
        fclose(full);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_saved_model_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_model_is_pruned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_model_keeps_functions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_model_without_variables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_model_of_unknown_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_model_save_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_saved_model_load_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_inspect_shows_everything, setup, teardown),
    };
    return cmocka_run_group_tests_name("saved model", tests, NULL, NULL);
}
