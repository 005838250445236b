/* Saved models whose weights are used where the file is mapped. */
#include <math.h>
#include <pthread.h>

#include "serialize/files.h"

#include <tensorc/tensorc.h>

#include "support/counting_allocator.h"

#define ROWS  1024
#define UNITS 512 /* 2 MiB of weights: large enough to be checked when used */

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

/* y = x w + b, and a step that halves w. */
static void save_model(void)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), ROWS));
    tc_value y = tc_dense(x, UNITS, .name = "layer");
    const tc_signature_port inputs[] = {{"x", x}}, outputs[] = {{"y", y}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 1};
    tc_session *session;
    assert_ok(tc_session_create(g, NULL, &session));
    assert_ok(tc_session_initialize(session));
    assert_ok(tc_saved_model_save(session, path, &signature, 1));
    tc_session_release(session);
    tc_graph_release(g);
}

static tc_status infer(tc_session *session, tc_saved_model *model, float result[UNITS])
{
    const tc_signature *signature = tc_saved_model_find(model, "serve");
    tc_tensor *x, *y;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(1, ROWS), &x));
    float *elements = tc_tensor_data(x);
    for (int i = 0; i < ROWS; i++)
        elements[i] = (float)(i % 17) - 8;
    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(1, UNITS), result, NULL, NULL, &y));
    tc_status status =
        tc_session_run(session, TC_FEEDS({signature->inputs[0].value, x}),
                       TC_FETCHES(signature->outputs[0].value), TC_NO_TARGETS, &y, NULL);
    tc_tensor_release(x);
    tc_tensor_release(y);
    return status;
}

static uint8_t *payload(const file_bytes *file)
{
    uint8_t *data = file->data + file->size / 2; /* the weights are nearly all of it */
    return data;
}

static void write_file(const file_bytes *file)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(file->data, 1, file->size, out), file->size);
    assert_int_equal(fclose(out), 0);
}

static void test_damage_is_found_at_the_first_run(void **state)
{
    save_model();
    file_bytes file = file_read(path);
    *payload(&file) ^= 4;
    write_file(&file);
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    tc_session *session;
    assert_ok(tc_saved_model_session(model, NULL, &session));
    float result[UNITS];
    for (int i = 0; i < 2; i++) {
        assert_status(infer(session, model, result), TC_DATA_LOSS);
        assert_non_null(strstr(tc_error_message(), "variable 'layer/weights': "));
        assert_non_null(strstr(tc_error_message(), "model.tcm"));
        assert_non_null(strstr(tc_error_message(), "damaged: the checksum"));
    }
    tc_tensor *read;
    assert_status(tc_store_read(tc_session_store(session), "layer/weights", &read), TC_DATA_LOSS);
    /* Nor does the damage get into another file, with a checksum that fits. */
    char copy[TEST_PATH_SIZE];
    test_path(copy, folder, "copy.tcm");
    const tc_signature *signature = tc_saved_model_find(model, "serve");
    assert_status(tc_saved_model_save(session, copy, signature, 1), TC_DATA_LOSS);
    assert_status(tc_file_kind(copy, &(const char *){NULL}), TC_NOT_FOUND);
    tc_session_release(session);
    tc_saved_model_release(model);
    free(file.data);
}

/* Nor is it hidden by a constant's conversion to another precision. */
static void test_damage_is_found_before_constants_are_converted(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), ROWS));
    tc_tensor *w;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(ROWS, UNITS), &w));
    for (int i = 0; i < ROWS * UNITS; i++)
        ((float *)tc_tensor_data(w))[i] = (float)(i % 7) - 3;
    tc_value y = tc_matmul(x, tc_constant(g, w));
    const tc_signature_port inputs[] = {{"x", x}}, outputs[] = {{"y", y}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 1};
    tc_session *session;
    assert_ok(tc_session_create(g, NULL, &session));
    assert_ok(tc_saved_model_save(session, path, &signature, 1));
    tc_session_release(session);
    tc_tensor_release(w);
    tc_graph_release(g);
    file_bytes file = file_read(path);
    *payload(&file) ^= 4;
    write_file(&file);
    tc_saved_model *model;
    const tc_session_options options = {.struct_size = sizeof options, .precision = TC_BF16};
    float result[UNITS];
    assert_ok(tc_saved_model_load(path, NULL, &model));
    assert_ok(tc_saved_model_session(model, &options, &session));
    assert_status(infer(session, model, result), TC_DATA_LOSS);
    assert_error_contains("damaged: the checksum");
    tc_session_release(session);
    tc_saved_model_release(model);
    free(file.data);
}

/* Structure is checked at once, wherever the large record lies. */
static void test_truncation_is_found_at_once(void **state)
{
    save_model();
    file_bytes file = file_read(path);
    for (size_t cut = 1; cut < file.size; cut += file.size / 13) {
        file_bytes part = {file.data, file.size - cut};
        write_file(&part);
        tc_saved_model *model;
        assert_status(tc_saved_model_load(path, NULL, &model), TC_DATA_LOSS);
    }
    free(file.data);
}

/* Weights are neither read nor copied: what loading and the session allocate is far below them. */
static void test_loading_does_not_copy(void **state)
{
    save_model();
    counting_allocator_install();
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    tc_session *session;
    assert_ok(tc_saved_model_session(model, NULL, &session));
    assert_true(counting_allocator_peak_bytes() < ROWS * UNITS * (int64_t)sizeof(float) / 4);
    float result[UNITS];
    assert_ok(infer(session, model, result));
    tc_session_release(session);
    tc_saved_model_release(model);
    counting_allocator_remove();
}

/* A session that writes gets memory of its own; the file and other sessions keep what they had. */
static void test_writing_copies(void **state)
{
    save_model();
    file_bytes before = file_read(path);
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    tc_graph *g = tc_saved_model_graph(model);
    tc_value w = tc_graph_find(g, "layer/weights");
    tc_value halve = tc_assign(w, tc_mul(w, tc_constant_scalar(g, TC_F32, 0.5)));
    tc_session *reader, *writer;
    assert_ok(tc_saved_model_session(model, NULL, &reader));
    assert_ok(tc_saved_model_session(model, NULL, &writer));
    float first[UNITS], halved[UNITS], again[UNITS];
    assert_ok(infer(reader, model, first));
    assert_ok(tc_session_run(writer, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(halve), NULL, NULL));
    assert_ok(infer(writer, model, halved));
    assert_ok(infer(reader, model, again));
    assert_memory_equal(first, again, sizeof first);
    for (int i = 0; i < UNITS; i++) /* biases are zero */
        assert_float_equal(halved[i], first[i] / 2, 1e-4);
    file_bytes after = file_read(path);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, before.size);
    free(before.data);
    free(after.data);
    tc_session_release(reader);
    tc_session_release(writer);
    tc_saved_model_release(model);
}

/* The first write moves a variable out of the file while others read it: each run sees it before or
 * after a whole update. */
enum { HALVINGS = 5 };

typedef struct reading {
    tc_session *session;
    tc_saved_model *model;
    const float *first; /* results with the weights of the file */
} reading;

static void *read_often(void *argument)
{
    const reading *r = argument;
    int seen = 0;
    for (int i = 0; i < 30; i++) {
        float result[UNITS];
        if (infer(r->session, r->model, result) != TC_OK)
            return argument;
        for (; seen <= HALVINGS && result[0] != ldexpf(r->first[0], -seen);)
            seen++; /* updates are not undone */
        for (int k = 0; k < UNITS; k++)
            if (result[k] != ldexpf(r->first[k], -seen))
                return argument;
    }
    return NULL;
}

static void test_writing_beside_readers(void **state)
{
    save_model();
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    tc_session *reader, *writer;
    float first[UNITS];
    assert_ok(tc_saved_model_session(model, NULL, &reader));
    tc_graph *g = tc_saved_model_graph(model);
    tc_value w = tc_graph_find(g, "layer/weights");
    tc_value halve = tc_assign(w, tc_mul(w, tc_constant_scalar(g, TC_F32, 0.5)));
    const tc_session_options options = {.struct_size = sizeof options,
                                        .store = tc_session_store(reader)};
    assert_ok(tc_session_create(g, &options, &writer));
    assert_ok(infer(reader, model, first));
    assert_true(first[0] != 0);
    reading with = {reader, model, first};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_often, &with), 0);
    for (int i = 0; i < HALVINGS; i++)
        assert_ok(
            tc_session_run(writer, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(halve), NULL, NULL));
    for (int i = 0; i < 2; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    tc_session_release(reader);
    tc_session_release(writer);
    tc_saved_model_release(model);
}

/* The model may go before the sessions that use its weights. */
static void test_weights_outlive_the_model(void **state)
{
    save_model();
    tc_saved_model *model;
    assert_ok(tc_saved_model_load(path, NULL, &model));
    tc_session *session;
    assert_ok(tc_saved_model_session(model, NULL, &session));
    tc_store *store = tc_store_retain(tc_session_store(session));
    tc_session_release(session);
    tc_saved_model_release(model);
    assert_int_equal(remove(path), 0);
    tc_tensor *weights;
    assert_ok(tc_store_read(store, "layer/weights", &weights));
    tc_tensor_release(weights);
    tc_store_release(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_damage_is_found_at_the_first_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_found_before_constants_are_converted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_truncation_is_found_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loading_does_not_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writing_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writing_beside_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_weights_outlive_the_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
