/*
 * Files written by version 0.1.0 of the library, which every later one must read. With
 * TENSORC_WRITE_GOLDEN set, writes files that are missing.
 */
#include "serialize/files.h"
#include "serialize/samples.h"

#include <unistd.h>

static const char *golden(char path[TEST_PATH_SIZE], const char *name)
{
    const char *folder = getenv("TENSORC_TEST_DATA");
    char file[128];
    snprintf(file, sizeof file, "golden/%s", name);
    return test_path(path, folder ? folder : "tests/data", file);
}

static bool must_write(const char *path)
{
    return getenv("TENSORC_WRITE_GOLDEN") && access(path, F_OK) != 0;
}

static void test_golden_graph(void **state)
{
    char path[TEST_PATH_SIZE];
    golden(path, "graph-1.tcg");
    tc_graph *graph = sample_graph(), *loaded;
    if (must_write(path))
        assert_ok(tc_graph_save(graph, path));
    assert_ok(tc_graph_load(path, NULL, &loaded));
    /* Their texts differ in the lines where they were built. */
    assert_int_equal(tc_graph_node_count(loaded), tc_graph_node_count(graph));
    for (int32_t i = 0; i < tc_graph_node_count(graph); i++)
        assert_string_equal(tc_value_name(tc_graph_node(loaded, i)),
                            tc_value_name(tc_graph_node(graph, i)));
    assert_true(tc_graph_hash(loaded) == tc_graph_hash(graph));
    assert_true(tc_graph_seed(loaded) == 0x123456789abcdef0ull);
    assert_string_equal(tc_annotation(tc_graph_find(loaded, "scope/total"), "collection"),
                        "updates \xe2\x9c\x93");
    tc_graph_release(graph);
    tc_graph_release(loaded);
}

static void assert_trained(tc_session *session, tc_value x, tc_value y)
{
    float result[8];
    sample_model_result(session, x, y, result);
    for (int i = 0; i < 8; i++)
        assert_true(result[i] == (float)(i % 4 + 1 + 2)); /* w = 1, 2, 3, 4; b = 2 after two runs */
}

static void test_golden_checkpoint(void **state)
{
    char path[TEST_PATH_SIZE];
    golden(path, "checkpoint-1.tcc");
    sample_model m = sample_model_create();
    if (must_write(path)) {
        char folder[TEST_PATH_SIZE], name[TEST_PATH_SIZE];
        const tc_blob blob = {"blob", "position 17", 11};
        const tc_checkpoint_options options = {sizeof options, 0, &blob, 1};
        sample_model trained = sample_model_create();
        sample_model_train(&trained);
        sample_model_train(&trained);
        test_folder_create(folder);
        assert_ok(tc_checkpoint_save(trained.session, folder, &options, name, sizeof name));
        file_bytes bytes = file_read(name);
        test_file_write(path, bytes.data, bytes.size);
        free(bytes.data);
        test_folder_remove(folder);
        sample_model_destroy(&trained);
    }
    assert_ok(tc_checkpoint_restore(m.session, path, NULL));
    assert_int_equal(tc_store_step(tc_session_store(m.session)), 2);
    assert_trained(m.session, m.x, m.y);
    void *data;
    size_t size;
    assert_ok(tc_checkpoint_read_blob(path, "blob", &data, &size));
    assert_int_equal(size, 11);
    assert_memory_equal(data, "position 17", 11);
    tc_blob_free(data);
    sample_model_destroy(&m);
}

static void test_golden_saved_model(void **state)
{
    char path[TEST_PATH_SIZE];
    golden(path, "saved_model-1.tcm");
    if (must_write(path)) {
        sample_model m = sample_model_create();
        sample_model_train(&m);
        sample_model_train(&m);
        const tc_signature_port inputs[] = {{"x", m.x}}, outputs[] = {{"y", m.y}};
        const tc_signature signature = {"serve", inputs, 1, outputs, 1};
        assert_ok(tc_saved_model_save(m.session, path, &signature, 1));
        sample_model_destroy(&m);
    }
    tc_saved_model *model;
    tc_session *session;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    assert_ok(tc_saved_model_session(model, NULL, &session));
    const tc_signature *signature = tc_saved_model_find(model, "serve");
    assert_non_null(signature);
    assert_trained(session, signature->inputs[0].value, signature->outputs[0].value);
    tc_session_release(session);
    tc_saved_model_release(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_graph),
        cmocka_unit_test(test_golden_checkpoint),
        cmocka_unit_test(test_golden_saved_model),
    };
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
