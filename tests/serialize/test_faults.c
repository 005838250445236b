/* Disks that are full, folders that refuse, memory that runs out, writers that were killed. */
#include "serialize/files.h"
#include "serialize/samples.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serialize/file.h"
#include "support/counting_allocator.h"

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

/* Files in the folder, hidden ones included. */
static int count_files(void)
{
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(entries));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(entries);
    return count;
}

static rlim_t file_size(const char *file)
{
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    return (rlim_t)info.st_size;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The kernel refuses to write beyond a limit, wherever in the file it lies. */
static void test_full_disk_leaves_the_old_file(void **state)
{
    signal(SIGXFSZ, SIG_IGN);
    sample_model m = sample_model_create();
    tc_graph *graph = sample_graph();
    const tc_signature_port inputs[] = {{"x", m.x}}, outputs[] = {{"y", m.y}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 1};
    assert_ok(tc_saved_model_save(m.session, path, &signature, 1));
    rlim_t smallest = file_size(path);
    assert_ok(tc_graph_save(graph, path));
    smallest = file_size(path) < smallest ? file_size(path) : smallest;
    file_bytes before = file_read(path);
    char checkpoint[TEST_PATH_SIZE];
    assert_ok(tc_checkpoint_save(m.session, folder, NULL, checkpoint, sizeof checkpoint));
    smallest = file_size(checkpoint) < smallest ? file_size(checkpoint) : smallest;
    for (rlim_t limit = 0; limit < smallest; limit += 17) {
        limit_files(limit);
        tc_status graph_status = tc_graph_save(graph, path);
        tc_status checkpoint_status = tc_checkpoint_save(m.session, folder, NULL, NULL, 0);
        char *message = strdup(tc_error_message());
        tc_status model_status = tc_saved_model_save(m.session, path, &signature, 1);
        limit_files(RLIM_INFINITY);
        assert_int_equal(graph_status, TC_RESOURCE_EXHAUSTED);
        assert_int_equal(checkpoint_status, TC_RESOURCE_EXHAUSTED);
        assert_int_equal(model_status, TC_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(message, strerror(EFBIG)));
        assert_non_null(strstr(message, folder));
        free(message);
        assert_int_equal(count_files(), 2);
    }
    file_bytes after = file_read(path);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, after.size);
    free(before.data);
    free(after.data);
    char latest[TEST_PATH_SIZE];
    assert_ok(tc_checkpoint_latest(folder, latest, sizeof latest));
    tc_graph_release(graph);
    sample_model_destroy(&m);
}

static void test_errors_of_the_system(void **state)
{
    const struct {
        int error;
        tc_status status;
    } cases[] = {{ENOENT, TC_NOT_FOUND},          {EACCES, TC_PERMISSION_DENIED},
                 {EROFS, TC_PERMISSION_DENIED},   {ENOSPC, TC_RESOURCE_EXHAUSTED},
                 {EDQUOT, TC_RESOURCE_EXHAUSTED}, {EFBIG, TC_RESOURCE_EXHAUSTED},
                 {EIO, TC_UNAVAILABLE},           {EISDIR, TC_FAILED_PRECONDITION}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_status(tc_fail_errno(cases[i].error, "cannot write", "/a/file"), cases[i].status);
        assert_error_contains("cannot write '/a/file': ");
        assert_error_contains(strerror(cases[i].error));
    }
    if (geteuid() != 0) { /* root may do everything */
        tc_graph *graph = tc_graph_create();
        assert_int_equal(chmod(folder, 0500), 0);
        assert_status(tc_graph_save(graph, path), TC_PERMISSION_DENIED);
        assert_int_equal(chmod(folder, 0700), 0);
        tc_graph_release(graph);
    }
}

static void test_files_follow_the_umask(void **state)
{
    tc_graph *graph = tc_graph_create();
    struct stat info;
    mode_t old = umask(027);
    assert_ok(tc_graph_save(graph, path));
    umask(old);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    tc_graph_release(graph);
}

/* A file that nobody writes any more goes; those of living writers and of others stay. */
static void test_leftovers_are_cleaned(void **state)
{
    static const char *const names[] = {".tensorc-1-2.tmp", ".tensorc-1.tmp", ".tensorc-x-1.tmp",
                                        ".tensorc-1-2.tmp~", "tensorc-1-2.tmp"};
    enum { count = sizeof names / sizeof names[0] };
    char file[TEST_PATH_SIZE];
    for (int i = 0; i < count; i++)
        test_file_write(test_path(file, folder, names[i]), "x", 1);
    tc_outfile living;
    assert_ok(tc_outfile_open(&living, folder));
    assert_int_equal(count_files(), count + 1);
    sample_model m = sample_model_create();
    assert_ok(tc_checkpoint_save(m.session, folder, NULL, NULL, 0));
    assert_int_equal(count_files(), count + 1); /* one leftover less, one checkpoint more */
    assert_int_equal(access(test_path(file, folder, names[0]), F_OK), -1);
    assert_int_equal(access(living.temporary, F_OK), 0);
    assert_ok(tc_outfile_write(&living, "abc", 3));
    assert_ok(tc_outfile_finish(&living, path));
    file_bytes bytes = file_read(path);
    assert_int_equal(bytes.size, 3);
    free(bytes.data);
    sample_model_destroy(&m);
}

/*
 * Memory
 */
static tc_status save_and_load_graph(void *context)
{
    tc_graph *loaded;
    TC_TRY(tc_graph_save(context, path));
    TC_TRY(tc_graph_load(path, NULL, &loaded));
    tc_graph_release(loaded);
    FILE *null = fopen("/dev/null", "w");
    tc_status status = null ? tc_file_inspect(path, null) : TC_UNAVAILABLE;
    fclose(null);
    return status;
}

static tc_status save_and_load_model(void *context)
{
    sample_model *m = context;
    const tc_signature_port inputs[] = {{"x", m->x}}, outputs[] = {{"y", m->y}};
    const tc_signature signature = {"serve", inputs, 1, outputs, 1};
    tc_saved_model *model;
    tc_session *session;
    TC_TRY(tc_saved_model_save(m->session, path, &signature, 1));
    TC_TRY(tc_saved_model_load(path, NULL, &model));
    tc_status status = tc_saved_model_session(model, NULL, &session);
    if (status == TC_OK)
        tc_session_release(session);
    tc_saved_model_release(model);
    return status;
}

static tc_status save_and_restore(void *context)
{
    sample_model *m = context;
    const tc_blob blob = {"blob", "0123", 4};
    const tc_checkpoint_options options = {sizeof options, 1, &blob, 1};
    char name[TEST_PATH_SIZE];
    void *data;
    size_t size;
    TC_TRY(tc_checkpoint_save(m->session, folder, &options, name, sizeof name));
    TC_TRY(tc_checkpoint_latest(folder, name, sizeof name));
    TC_TRY(tc_checkpoint_restore(m->session, name, NULL));
    TC_TRY(tc_checkpoint_read_blob(name, "blob", &data, &size));
    tc_blob_free(data);
    return TC_OK;
}

static void test_every_allocation_may_fail(void **state)
{
    counting_allocator_install();
    tc_graph *graph = sample_graph();
    assert_ok(save_and_load_graph(graph));
    assert_true(counting_allocator_sweep(save_and_load_graph, graph) > 20);
    tc_graph_release(graph);
    sample_model m = sample_model_create();
    sample_model_train(&m);
    assert_ok(save_and_load_model(&m));
    assert_true(counting_allocator_sweep(save_and_load_model, &m) > 20);
    assert_ok(save_and_restore(&m));
    assert_true(counting_allocator_sweep(save_and_restore, &m) > 20);
    sample_model_destroy(&m);
    counting_allocator_remove();
    /* Nothing half-written is left. */
    assert_int_equal(count_files(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_full_disk_leaves_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_of_the_system, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_follow_the_umask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers_are_cleaned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_allocation_may_fail, setup, teardown),
    };
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
