/* Writers killed at any moment: the newest complete checkpoint always loads and is whole. */
#include "serialize/samples.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "serialize/files.h"

enum { kills = 200, longest_us = 40000, elements = 20000 };

static char folder[TEST_PATH_SIZE];

/* Two variables that every run raises together: in a consistent file all elements are the step. */
typedef struct twins {
    tc_graph *graph;
    tc_value train;
    tc_session *session;
} twins;

static tc_status twins_create(twins *t)
{
    t->graph = tc_graph_create();
    tc_value updates[2];
    for (int i = 0; i < 2; i++) {
        tc_value variable =
            tc_variable(t->graph, i ? "b" : "a", tc_zeros(t->graph, TC_F32, TC_SHAPE(elements)));
        updates[i] = tc_assign_add(variable, tc_ones(t->graph, TC_F32, TC_SHAPE(elements)));
    }
    t->train = tc_group(t->graph, updates, 2);
    return tc_session_create(t->graph, NULL, &t->session);
}

/* Trains and saves until killed. Runs in a forked child, so that failing means exiting. */
static void train_for_ever(void)
{
    char latest[TEST_PATH_SIZE];
    twins t;
    tc_status status = twins_create(&t);
    if (status == TC_OK && tc_checkpoint_latest(folder, latest, sizeof latest) == TC_OK)
        status = tc_checkpoint_restore(t.session, latest, NULL);
    const tc_checkpoint_options options = {.struct_size = sizeof options, .keep = 2};
    while (status == TC_OK) {
        status =
            tc_session_run(t.session, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(t.train), NULL, NULL);
        if (status == TC_OK)
            status = tc_checkpoint_save(t.session, folder, &options, NULL, 0);
    }
    fprintf(stderr, "%s: %s\n", tc_status_name(status), tc_error_message());
    _exit(1);
}

/* Step of the newest checkpoint, which must load and be consistent; 0 when there is none yet. */
static uint64_t check_newest(void)
{
    char latest[TEST_PATH_SIZE];
    tc_status status = tc_checkpoint_latest(folder, latest, sizeof latest);
    if (status == TC_NOT_FOUND)
        return 0;
    assert_ok(status);
    twins t;
    assert_ok(twins_create(&t));
    assert_ok(tc_checkpoint_restore(t.session, latest, NULL));
    uint64_t step = tc_store_step(tc_session_store(t.session));
    for (int i = 0; i < 2; i++) {
        tc_tensor *tensor;
        assert_ok(tc_store_read(tc_session_store(t.session), i ? "b" : "a", &tensor));
        const float *data = tc_tensor_data(tensor);
        for (int k = 0; k < elements; k++)
            if (data[k] != (float)step)
                fail_msg("element %d of %s is %g at step %llu", k, i ? "b" : "a", data[k],
                         (unsigned long long)step);
        tc_tensor_release(tensor);
    }
    tc_session_release(t.session);
    tc_graph_release(t.graph);
    return step;
}

static int count_temporaries(void)
{
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(entries));)
        count += strstr(entry->d_name, ".tmp") != NULL;
    closedir(entries);
    return count;
}

static void test_killed_writers(void **state)
{
    test_folder_create(folder);
    uint64_t random = 3, last = 0;
    int interrupted = 0;
    for (int i = 0; i < kills; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            train_for_ever();
        usleep((useconds_t)(file_random(&random) % longest_us));
        kill(child, SIGKILL);
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
        int left = count_temporaries();
        assert_in_range(left, 0, 1 + interrupted);
        interrupted += left > 0;
        uint64_t step = check_newest();
        assert_true(step >= last); /* a complete checkpoint never goes again */
        last = step;
    }
    print_message("%d writers were killed while writing; %llu steps\n", interrupted,
                  (unsigned long long)last);
    assert_true(interrupted > 0 && last > 0);
    /* The next save cleans up. */
    twins t;
    assert_ok(twins_create(&t));
    assert_ok(tc_checkpoint_save(t.session, folder, NULL, NULL, 0));
    assert_int_equal(count_temporaries(), 0);
    tc_session_release(t.session);
    tc_graph_release(t.graph);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_writers),
    };
    return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
