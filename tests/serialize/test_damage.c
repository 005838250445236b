/* Files that are truncated or have flipped bits. */
#include "serialize/files.h"
#include "serialize/samples.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/map.h"

enum { flips = TEST_SANITIZED ? 4000 : 20000 };

static char folder[TEST_PATH_SIZE];
static char path[TEST_PATH_SIZE];

static int setup(void **state)
{
    test_folder_create(folder);
    test_path(path, folder, "file");
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(folder);
    return 0;
}

/* A kind of file: how to make one, and how to load it. The content is what a loaded file must be
 * equal to. */
typedef struct file_kind {
    void (*save)(void);
    tc_status (*load)(uint64_t *content);
} file_kind;

static void save_graph(void)
{
    tc_graph *graph = sample_graph();
    assert_ok(tc_graph_save(graph, path));
    tc_graph_release(graph);
}

static tc_status load_graph(uint64_t *content)
{
    tc_graph *graph;
    TC_TRY(tc_graph_load(path, NULL, &graph));
    char *text = sample_text(graph);
    *content = tc_hash_combine(tc_graph_hash(graph), tc_hash_string(text));
    free(text);
    tc_graph_release(graph);
    return TC_OK;
}

static sample_model model;

static void save_checkpoint(void)
{
    const tc_blob blob = {"blob", "0123456789", 10};
    const tc_checkpoint_options options = {sizeof options, 0, &blob, 1};
    char name[TEST_PATH_SIZE];
    assert_ok(tc_checkpoint_save(model.session, folder, &options, name, sizeof name));
    assert_int_equal(rename(name, path), 0);
}

static tc_status load_checkpoint(uint64_t *content)
{
    tc_session *session;
    void *data;
    size_t size;
    *content = 0;
    assert_ok(tc_session_create(model.graph, NULL, &session));
    tc_status status = tc_checkpoint_restore(session, path, NULL);
    if (status == TC_OK) {
        float result[8];
        sample_model_result(session, model.x, model.y, result);
        *content = tc_hash_bytes(result, sizeof result, tc_store_step(tc_session_store(session)));
        status = tc_checkpoint_read_blob(path, "blob", &data, &size);
    }
    tc_session_release(session);
    if (status == TC_OK) {
        *content = tc_hash_bytes(data, size, *content);
        tc_blob_free(data);
    }
    return status;
}

static void save_model(void)
{
    const tc_signature_port inputs[] = {{"x", model.x}}, outputs[] = {{"y", model.y}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 1};
    assert_ok(tc_saved_model_save(model.session, path, &signature, 1));
}

static tc_status add_variable(void *context, const tc_variable_info *variable)
{
    uint64_t *content = context;
    *content = tc_hash_combine(*content, tc_hash_string(variable->name));
    *content = tc_hash_bytes(tc_tensor_data(variable->tensor), tc_tensor_bytes(variable->tensor),
                             *content);
    return TC_OK;
}

static tc_status load_model(uint64_t *content)
{
    tc_saved_model *loaded;
    tc_session *session;
    TC_TRY(tc_saved_model_load(path, NULL, &loaded));
    char *text = sample_text(tc_saved_model_graph(loaded));
    *content = tc_hash_string(text);
    free(text);
    for (size_t i = 0; i < tc_saved_model_signature_count(loaded); i++)
        *content = tc_hash_combine(
            *content, tc_hash_string(tc_saved_model_signature(loaded, i)->outputs[0].name));
    tc_status status = tc_saved_model_session(loaded, NULL, &session);
    if (status == TC_OK) {
        assert_ok(tc_store_visit(tc_session_store(session), add_variable, content, NULL));
        tc_session_release(session);
    }
    tc_saved_model_release(loaded);
    return status;
}

static const file_kind kinds[] = {
    {save_graph, load_graph}, {save_checkpoint, load_checkpoint}, {save_model, load_model}};
enum { kind_count = sizeof kinds / sizeof kinds[0] };

/* Changed files are written to memory: a disk would take minutes. */
static int changed;

static file_bytes begin_changes(const file_kind *kind)
{
    test_path(path, folder, "file");
    kind->save();
    file_bytes bytes = file_read(path);
    changed = memfd_create("changed", MFD_CLOEXEC);
    assert_true(changed >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", changed);
    return bytes;
}

static void change(const uint8_t *data, size_t size)
{
    assert_int_equal(ftruncate(changed, (off_t)size), 0);
    assert_int_equal(pwrite(changed, data, size, 0), size);
}

static void end_changes(file_bytes bytes)
{
    free(bytes.data);
    close(changed);
}

static void inspect_quietly(void)
{
    FILE *file = fopen("/dev/null", "w");
    assert_non_null(file);
    tc_status status = tc_file_inspect(path, file);
    assert_true(status == TC_OK || tc_error_message()[0]);
    fclose(file);
}

static void assert_readable(const file_kind *kind)
{
    assert_true(tc_error_message()[0] != 0);
    assert_error_contains(path);
}

static void test_every_truncation_is_found(void **state)
{
    model = sample_model_create();
    for (int k = 0; k < kind_count; k++) {
        file_bytes bytes = begin_changes(&kinds[k]);
        uint64_t content;
        for (size_t size = 0; size < bytes.size; size++) {
            change(bytes.data, size);
            assert_status(kinds[k].load(&content), TC_DATA_LOSS);
            assert_readable(&kinds[k]);
        }
        /* As is anything after the end. */
        bytes.data[bytes.size] = 0;
        change(bytes.data, bytes.size + 1);
        assert_status(kinds[k].load(&content), TC_DATA_LOSS);
        end_changes(bytes);
    }
    sample_model_destroy(&model);
}

/* No flipped bit goes unnoticed: all bytes are under a checksum or fixed. */
static void test_every_flip_is_found(void **state)
{
    model = sample_model_create();
    uint64_t random = 1;
    for (int k = 0; k < kind_count; k++) {
        file_bytes bytes = begin_changes(&kinds[k]);
        uint64_t expected, content;
        change(bytes.data, bytes.size);
        assert_ok(kinds[k].load(&expected));
        for (int i = 0; i < flips; i++) {
            size_t bit = (size_t)(file_random(&random) % (bytes.size * 8));
            bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            change(bytes.data, bytes.size);
            tc_status status = kinds[k].load(&content);
            if (status == TC_OK)
                assert_true(content == expected);
            else
                assert_true(status == TC_DATA_LOSS || status == TC_UNIMPLEMENTED);
            bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        end_changes(bytes);
    }
    sample_model_destroy(&model);
}

/* With right checksums the damage reaches the messages: any result, but no crash and a message. */
static void test_flips_behind_right_checksums(void **state)
{
    model = sample_model_create();
    uint64_t random = 7;
    size_t refused = 0;
    for (int k = 0; k < kind_count; k++) {
        file_bytes bytes = begin_changes(&kinds[k]);
        uint8_t *copy = malloc(bytes.size);
        assert_non_null(copy);
        for (int i = 0; i < flips; i++) {
            memcpy(copy, bytes.data, bytes.size);
            for (uint64_t n = file_random(&random) % 3 + 1; n > 0; n--) {
                size_t bit = (size_t)(file_random(&random) % (bytes.size * 8));
                copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            container_repair(copy, bytes.size);
            change(copy, bytes.size);
            uint64_t content;
            if (kinds[k].load(&content) != TC_OK) {
                assert_true(tc_error_message()[0] != 0);
                refused++;
            }
            inspect_quietly();
        }
        free(copy);
        end_changes(bytes);
    }
    assert_true(refused > flips / 4);
    sample_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_truncation_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_flip_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flips_behind_right_checksums, setup, teardown),
    };
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
