#include "serialize/files.h"
#include "serialize/samples.h"

#include <sys/stat.h>
#include <unistd.h>

#include "serialize/records.h"

static char folder[TEST_PATH_SIZE];
static char path[TEST_PATH_SIZE];

static int setup(void **state)
{
    test_folder_create(folder);
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(folder);
    return 0;
}

static void assert_results(sample_model *m, const float expected[8])
{
    float actual[8];
    sample_model_result(m->session, m->x, m->y, actual);
    assert_memory_equal(expected, actual, sizeof actual);
}

static void test_checkpoint_round_trip(void **state)
{
    sample_model m = sample_model_create();
    for (int i = 0; i < 7; i++)
        sample_model_train(&m);
    float expected[8];
    sample_model_result(m.session, m.x, m.y, expected);
    uint64_t step = tc_store_step(tc_session_store(m.session));
    assert_int_equal(step, 7);
    const tc_blob blobs[] = {{"position", "epoch 3", 8}, {"empty", NULL, 0}};
    const tc_checkpoint_options options = {sizeof options, 0, blobs, 2};
    char deep[TEST_PATH_SIZE], name[TEST_PATH_SIZE];
    test_path(deep, folder, "runs/first//checkpoints/");
    assert_ok(tc_checkpoint_save(m.session, deep, &options, path, sizeof path));
    assert_string_equal(strrchr(path, '/'), "/checkpoint-7.tcc");
    sample_model_destroy(&m);

    m = sample_model_create();
    assert_ok(tc_checkpoint_latest(deep, name, sizeof name));
    assert_string_equal(name, path);
    char report[256];
    const tc_restore_options restore = {
        .struct_size = sizeof restore, .report = report, .report_size = sizeof report};
    assert_ok(tc_checkpoint_restore(m.session, path, &restore));
    assert_string_equal(report, "matched 3");
    assert_results(&m, expected);
    assert_int_equal(tc_store_step(tc_session_store(m.session)), step);

    void *data;
    size_t size;
    assert_ok(tc_checkpoint_read_blob(path, "position", &data, &size));
    assert_int_equal(size, 8);
    assert_string_equal(data, "epoch 3");
    tc_blob_free(data);
    assert_ok(tc_checkpoint_read_blob(path, "empty", &data, &size));
    assert_int_equal(size, 0);
    assert_non_null(data);
    tc_blob_free(data);
    assert_status(tc_checkpoint_read_blob(path, "other", &data, &size), TC_NOT_FOUND);
    assert_null(data);
    sample_model_destroy(&m);
}

/* Variables of every dtype, empty and of rank 0 and 8. */
static void test_checkpoint_every_dtype(void **state)
{
    tc_graph *graph = tc_graph_create();
    const tc_shape shapes[] = {TC_SCALAR, TC_SHAPE(3, 0), TC_SHAPE(7, 3),
                               TC_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)};
    enum { count = sample_dtype_count * 4 };
    char name[32];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "v%d", i);
        tc_variable(graph, name, sample_constant(graph, sample_dtypes[i / 4], shapes[i % 4]));
    }
    tc_session *session, *other;
    assert_ok(tc_session_create(graph, NULL, &session));
    assert_ok(tc_checkpoint_save(session, folder, NULL, path, sizeof path));
    assert_ok(tc_session_create(graph, NULL, &other));
    assert_ok(tc_checkpoint_restore(other, path, NULL));
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "v%d", i);
        tc_tensor *a, *b;
        assert_ok(tc_store_read(tc_session_store(session), name, &a));
        assert_ok(tc_store_read(tc_session_store(other), name, &b));
        assert_int_equal(tc_tensor_dtype(a), tc_tensor_dtype(b));
        assert_true(tc_shape_equal(tc_tensor_shape(a), tc_tensor_shape(b)));
        assert_memory_equal(tc_tensor_data(a), tc_tensor_data(b), tc_tensor_bytes(a));
        tc_tensor_release(a);
        tc_tensor_release(b);
    }
    tc_session_release(other);
    tc_session_release(session);
    tc_graph_release(graph);
}

static bool exists(uint64_t step)
{
    char name[64], file[TEST_PATH_SIZE];
    snprintf(name, sizeof name, "checkpoint-%llu.tcc", (unsigned long long)step);
    return access(test_path(file, folder, name), F_OK) == 0;
}

static void test_checkpoint_keeps_the_newest(void **state)
{
    sample_model m = sample_model_create();
    tc_checkpoint_options options = {.struct_size = sizeof options, .keep = -1};
    for (int i = 0; i < 12; i++) {
        sample_model_train(&m);
        assert_ok(tc_checkpoint_save(m.session, folder, &options, NULL, 0));
    }
    for (uint64_t step = 1; step <= 12; step++)
        assert_true(exists(step));
    /* Files that are only called alike are not ours. */
    char other[TEST_PATH_SIZE];
    test_file_write(test_path(other, folder, "checkpoint-007.tcc"), "x", 1);
    options.keep = 2;
    sample_model_train(&m);
    assert_ok(tc_checkpoint_save(m.session, folder, &options, NULL, 0));
    for (uint64_t step = 1; step <= 13; step++)
        assert_int_equal(exists(step), step >= 12);
    assert_int_equal(access(other, F_OK), 0);

    /* Going back to an earlier step: what is saved then is newer, whatever its number. */
    const uint64_t earlier = 5;
    assert_ok(tc_store_restore(tc_session_store(m.session), NULL, NULL, 0, &earlier));
    options.keep = 1;
    assert_ok(tc_checkpoint_save(m.session, folder, &options, path, sizeof path));
    assert_true(exists(5));
    assert_false(exists(12) || exists(13));
    char latest[TEST_PATH_SIZE];
    assert_ok(tc_checkpoint_latest(folder, latest, sizeof latest));
    assert_string_equal(latest, path);
    /* The default keeps three; the same step is written again. */
    for (int i = 0; i < 5; i++) {
        sample_model_train(&m);
        assert_ok(tc_checkpoint_save(m.session, folder, NULL, NULL, 0));
        assert_ok(tc_checkpoint_save(m.session, folder, NULL, NULL, 0));
    }
    for (uint64_t step = 5; step <= 10; step++)
        assert_int_equal(exists(step), step >= 8);
    sample_model_destroy(&m);
}

static void test_checkpoint_latest_skips_damage(void **state)
{
    sample_model m = sample_model_create();
    char files[3][TEST_PATH_SIZE], latest[TEST_PATH_SIZE];
    assert_status(tc_checkpoint_latest(folder, latest, sizeof latest), TC_NOT_FOUND);
    assert_status(tc_checkpoint_latest("/no/such/folder", latest, sizeof latest), TC_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        sample_model_train(&m);
        assert_ok(tc_checkpoint_save(m.session, folder, NULL, files[i], TEST_PATH_SIZE));
    }
    file_bytes bytes = file_read(files[2]);
    test_file_write(files[2], bytes.data, bytes.size - 1);
    assert_ok(tc_checkpoint_latest(folder, latest, sizeof latest));
    assert_string_equal(latest, files[1]);
    free(bytes.data);
    bytes = file_read(files[1]);
    bytes.data[bytes.size / 2] ^= 0x10;
    test_file_write(files[1], bytes.data, bytes.size);
    assert_ok(tc_checkpoint_latest(folder, latest, sizeof latest));
    assert_string_equal(latest, files[0]);
    free(bytes.data);
    test_file_write(files[0], "", 0);
    assert_status(tc_checkpoint_latest(folder, latest, sizeof latest), TC_NOT_FOUND);
    assert_error_contains("all are damaged");
    assert_string_equal(latest, "");
    /* Damaged ones do not count as kept, and do not keep a new one from being the newest. */
    sample_model_train(&m);
    assert_ok(tc_checkpoint_save(m.session, folder, NULL, path, sizeof path));
    assert_ok(tc_checkpoint_latest(folder, latest, sizeof latest));
    assert_string_equal(latest, path);
    char small[8];
    assert_status(tc_checkpoint_latest(folder, small, sizeof small), TC_INVALID_ARGUMENT);
    sample_model_destroy(&m);
}

/* A session whose variables are not quite those of sample_model. */
static tc_session *other_session(tc_graph *graph)
{
    tc_variable(graph, "layer/w", tc_zeros(graph, TC_F32, TC_SHAPE(4)));
    tc_variable(graph, "layer/b", tc_zeros(graph, TC_F64, TC_SHAPE(5)));
    tc_variable(graph, "layer/c", tc_fill(graph, TC_F32, TC_SHAPE(2), 9.0));
    tc_session *session;
    assert_ok(tc_session_create(graph, NULL, &session));
    return session;
}

static double element(tc_session *session, const char *name, int64_t index)
{
    tc_tensor *tensor;
    assert_ok(tc_store_read(tc_session_store(session), name, &tensor));
    double value = tc_tensor_get(tensor, index);
    tc_tensor_release(tensor);
    return value;
}

static void test_checkpoint_restore_reports(void **state)
{
    sample_model m = sample_model_create();
    sample_model_train(&m);
    assert_ok(tc_checkpoint_save(m.session, folder, NULL, path, sizeof path));
    sample_model_destroy(&m);
    tc_graph *graph = tc_graph_create();
    tc_session *session = other_session(graph);
    assert_ok(tc_session_initialize(session));
    char report[512];
    tc_restore_options options = {
        .struct_size = sizeof options, .report = report, .report_size = sizeof report};
    static const char all[] =
        "matched 1; missing 1: layer/c; unexpected 1: slot; differs 1: layer/b "
        "(file f32 [4], session f64 [5])";
    assert_status(tc_checkpoint_restore(session, path, &options), TC_FAILED_PRECONDITION);
    assert_error_contains(all);
    assert_string_equal(report, all);
    assert_true(element(session, "layer/w", 1) == 0); /* all or none */
    assert_int_equal(tc_store_step(tc_session_store(session)), 0);

    options.partial = true;
    assert_ok(tc_checkpoint_restore(session, path, &options));
    assert_string_equal(report, all);
    assert_true(element(session, "layer/w", 1) == 2);
    assert_true(element(session, "layer/c", 1) == 9);
    assert_int_equal(tc_store_step(tc_session_store(session)), 1);

    options.prefix = "layer/w";
    options.partial = false;
    const uint64_t step = 44;
    assert_ok(tc_store_restore(tc_session_store(session), NULL, NULL, 0, &step));
    assert_ok(tc_checkpoint_restore(session, path, &options));
    assert_string_equal(report, "matched 1");
    assert_int_equal(tc_store_step(tc_session_store(session)), step);

    options.prefix = "nothing/";
    options.partial = true;
    assert_status(tc_checkpoint_restore(session, path, &options), TC_FAILED_PRECONDITION);
    assert_error_contains("has nothing for the session");
    options.report_size = 4;
    options.prefix = NULL;
    assert_ok(tc_checkpoint_restore(session, path, &options));
    assert_string_equal(report, "mat");
    tc_session_release(session);
    tc_graph_release(graph);
}

static void test_checkpoint_refuses(void **state)
{
    sample_model m = sample_model_create();
    const tc_blob doubled[] = {{"a", "x", 1}, {"a", "y", 1}}, unnamed = {"", "x", 1},
                  empty = {"a", NULL, 1};
    const struct {
        const tc_blob *blobs;
        size_t count;
        const char *error;
    } cases[] = {
        {doubled, 2, "two blobs are called 'a'"},
        {&unnamed, 1, "blob 0 has no name"},
        {&empty, 1, "blob 0 has no data"},
        {NULL, 1, "blobs is NULL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const tc_checkpoint_options options = {sizeof options, 0, cases[i].blobs, cases[i].count};
        assert_status(tc_checkpoint_save(m.session, folder, &options, NULL, 0),
                      TC_INVALID_ARGUMENT);
        assert_error_contains(cases[i].error);
    }
    assert_status(tc_checkpoint_save(NULL, folder, NULL, NULL, 0), TC_INVALID_ARGUMENT);
    assert_status(tc_checkpoint_save(m.session, NULL, NULL, NULL, 0), TC_INVALID_ARGUMENT);
    assert_status(tc_checkpoint_save(m.session, folder, NULL, path, 3), TC_INVALID_ARGUMENT);
    assert_status(tc_checkpoint_latest(folder, path, sizeof path), TC_NOT_FOUND);
    char file[TEST_PATH_SIZE];
    test_file_write(test_path(file, folder, "file"), "x", 1);
    assert_status(tc_checkpoint_save(m.session, file, NULL, NULL, 0), TC_NOT_FOUND);
    assert_status(tc_checkpoint_restore(m.session, file, NULL), TC_DATA_LOSS);
    assert_status(tc_checkpoint_restore(m.session, "/no/such/file", NULL), TC_NOT_FOUND);
    assert_status(tc_checkpoint_restore(NULL, file, NULL), TC_INVALID_ARGUMENT);
    tc_blob_free(NULL);
    sample_model_destroy(&m);
}

/* Tensors of many pieces, with a limit a test can reach: assembled, and the same again. */
static void test_checkpoint_tensor_in_pieces(void **state)
{
    test_path(path, folder, "pieces.tcc");
    tc_records_writer writer;
    assert_ok(tc_records_begin(&writer, folder, TENSORC__KIND__KIND_CHECKPOINT, 1));
    writer.payload_max = 100;
    tc_tensor *large = sample_tensor(TC_F32, TC_SHAPE(16, 16)),
              *exact = sample_tensor(TC_U8, TC_SHAPE(200));
    assert_ok(tc_records_put_tensor(&writer, "large", large));
    assert_ok(tc_records_put_tensor(&writer, "exact", exact));
    Tensorc__State message = TENSORC__STATE__INIT;
    message.step = 3;
    assert_ok(tc_records_put(&writer, TENSORC__RECORD__CONTENT_STATE, &message.base));
    assert_ok(tc_records_finish(&writer, path));

    tc_graph *graph = tc_graph_create();
    tc_variable(graph, "large", tc_zeros(graph, TC_F32, TC_SHAPE(16, 16)));
    tc_variable(graph, "exact", tc_zeros(graph, TC_U8, TC_SHAPE(200)));
    tc_session *session;
    assert_ok(tc_session_create(graph, NULL, &session));
    assert_ok(tc_checkpoint_restore(session, path, NULL));
    tc_tensor *read;
    assert_ok(tc_store_read(tc_session_store(session), "large", &read));
    assert_memory_equal(tc_tensor_data(read), tc_tensor_data(large), tc_tensor_bytes(large));
    tc_tensor_release(read);
    assert_ok(tc_store_read(tc_session_store(session), "exact", &read));
    assert_memory_equal(tc_tensor_data(read), tc_tensor_data(exact), tc_tensor_bytes(exact));
    tc_tensor_release(read);
    tc_tensor_release(large);
    tc_tensor_release(exact);
    tc_session_release(session);
    tc_graph_release(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checkpoint_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_every_dtype, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_keeps_the_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_latest_skips_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_restore_reports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_tensor_in_pieces, setup, teardown),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
