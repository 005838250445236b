/* A disk that really fills: a tmpfs of 256 KiB in a mount namespace of this process. */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <tensorc/tensorc.h>

#include "support/test.h"

#define DISK_SIZE "256k"
#define ELEMENTS  16384 /* 64 KiB of f32 */

static char folder[TEST_PATH_SIZE];

/* False where this process may not mount. */
static bool mount_small_disk(void)
{
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", folder, "tmpfs", 0, "size=" DISK_SIZE) == 0;
}

static int count_files(void)
{
    DIR *list = opendir(folder);
    assert_non_null(list);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(list));)
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

static double last_element(tc_session *session)
{
    tc_tensor *weights;
    assert_ok(tc_store_read(tc_session_store(session), "w", &weights));
    double value = tc_tensor_get(weights, ELEMENTS - 1);
    tc_tensor_release(weights);
    return value;
}

static void test_full_disk(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value w = tc_variable(g, "w", tc_zeros(g, TC_F32, TC_SHAPE(ELEMENTS)));
    tc_value more = tc_assign_add(w, tc_ones(g, TC_F32, TC_SHAPE(ELEMENTS)));
    tc_session *session;
    assert_ok(tc_session_create(g, NULL, &session));

    tc_checkpoint_options all = {.struct_size = sizeof all, .keep = -1};
    char newest[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    int saved = 0;
    tc_status status = TC_OK;
    while (status == TC_OK && saved < 10) {
        assert_ok(
            tc_session_run(session, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(more), NULL, NULL));
        status = tc_checkpoint_save(session, folder, &all, path, sizeof path);
        if (status == TC_OK) {
            saved++;
            memcpy(newest, path, sizeof newest);
        }
    }
    assert_int_equal(status, TC_RESOURCE_EXHAUSTED);
    assert_error_contains(strerror(ENOSPC));
    assert_error_contains(folder);
    assert_in_range(saved, 1, 4);
    assert_int_equal(count_files(), saved); /* nothing half written is left */

    /* The old ones are intact, and with room the next save works. */
    assert_ok(tc_checkpoint_latest(folder, path, sizeof path));
    assert_string_equal(path, newest);
    assert_ok(tc_checkpoint_restore(session, path, NULL));
    assert_true(last_element(session) == saved);
    snprintf(path, sizeof path, "%s/checkpoint-1.tcc", folder);
    assert_int_equal(unlink(path), 0);
    assert_ok(tc_session_run(session, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(more), NULL, NULL));
    assert_ok(tc_checkpoint_save(session, folder, &all, NULL, 0));
    tc_session_release(session);
    tc_graph_release(g);
}

int main(void)
{
    test_folder_create(folder);
    if (!mount_small_disk()) {
        print_message("skipped: this process may not mount a file system: %s\n", strerror(errno));
        rmdir(folder);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full_disk)};
    int failed = cmocka_run_group_tests_name("full disk", tests, NULL, NULL);
    umount(folder);
    rmdir(folder);
    return failed;
}
