/*
 * The trainer and the server, as programs: equal seeds give equal models, whatever the number of
 * threads and however often the trainer was killed, and the server finds what the trainer saw.
 */
#include <dirent.h>

#include "programs.h"

#define TRAIN "fashion_mnist_train"
#define SERVE "fashion_mnist_serve"

static char folder[TEST_PATH_SIZE], text[OUTPUT_SIZE];

static int set_up(void **state)
{
    test_folder_create(folder);
    write_data_set(folder);
    return 0;
}

static int tear_down(void **state)
{
    test_folder_remove(folder);
    return 0;
}

typedef struct training {
    const char *network, *epochs, *every; /* steps between checkpoints */
} training;

static const training mlp = {"mlp", "12", "10"}, cnn = {"cnn", "2", "3"};

/* Trains and writes `model`; the last line goes to `accuracy`. */
static void train(const training *t, const char *threads, const char *seed, const char *model,
                  char accuracy[64])
{
    char path[TEST_PATH_SIZE];
    test_path(path, folder, model);
    int status = run_program(TRAIN,
                             ARGS("--network", t->network, "--epochs", t->epochs, "--threads",
                                  threads, "--seed", seed, "--model", path, "--data", folder),
                             folder, text);
    if (status != 0)
        fail_msg("the trainer ends with %d: %s", status, text);
    assert_null(strchr(text, '\r')); /* in a pipe, plain lines */
    check_contains(text, "confusion matrix");
    check_contains(text, SERVE);
    check_contains(text, path);
    snprintf(accuracy, 64, "%s", last_line(text));
    check_contains(accuracy, "test accuracy: ");
}

static const char *in_folder(const char *name)
{
    static char paths[4][TEST_PATH_SIZE];
    static int next;
    next = (next + 1) % 4;
    return test_path(paths[next], folder, name);
}

static void check_deterministic(const training *t)
{
    char one[64], two[64];
    train(t, "1", "1", "one", one);
    train(t, "2", "1", "two", two);
    check_same_file(in_folder("one"), in_folder("two"));
    assert_string_equal(one, two);
}

static void test_training_threads_do_not_matter(void **state)
{
    char first[64], again[64], other[64];
    check_deterministic(&mlp);
    train(&mlp, "2", "1", "again", again);
    check_same_file(in_folder("one"), in_folder("again"));
    train(&mlp, "2", "2", "other", other);
    assert_true(first_difference(in_folder("one"), in_folder("other")) >= 0);
    check_deterministic(&cnn);
    /* The stripes are easy to learn. */
    train(&mlp, "2", "1", "again", first);
    assert_true(strtod(strchr(first, ':') + 1, NULL) > 90);
}

/* The number of checkpoints, and the step of the last one. */
static int count_checkpoints(const char *path, long *last)
{
    int count = 0;
    *last = -1;
    DIR *entries = opendir(path);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        long step;
        char end[8];
        if (sscanf(entry->d_name, "checkpoint-%ld.%7s", &step, end) != 2 || strcmp(end, "tcc") != 0)
            continue;
        count++;
        *last = step > *last ? step : *last;
    }
    if (entries)
        closedir(entries);
    return count;
}

/* Starts the trainer and kills it when a checkpoint of `step` or later is there. */
static long train_and_kill(const char *const *arguments, const char *checkpoints, long step)
{
    int status;
    long last;
    pid_t child = start_program(TRAIN, arguments, in_folder("output"));
    while (count_checkpoints(checkpoints, &last) == 0 || last < step) {
        assert_int_equal(waitpid(child, &status, WNOHANG), 0); /* it is still at work */
        usleep(500);
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* in the middle, not after its end */
    return last;
}

static void check_resume(const training *t)
{
    char accuracy[64], checkpoints[TEST_PATH_SIZE], model[TEST_PATH_SIZE];
    train(t, "2", "3", "whole", accuracy);
    test_path(checkpoints, folder, t->network);
    test_path(model, folder, "resumed");
    const char *const first[] = {"--network",     t->network,  "--epochs",
                                 t->epochs,       "--threads", "2",
                                 "--seed",        "3",         "--model",
                                 model,           "--data",    folder,
                                 "--checkpoints", checkpoints, "--checkpoint-every",
                                 t->every,        NULL,        NULL};
    const char *resumed[18];
    memcpy(resumed, first, sizeof first);
    resumed[16] = "--resume";
    long last = train_and_kill(first, checkpoints, 1);
    last = train_and_kill(resumed, checkpoints, last + 1);
    assert_int_not_equal(access(model, F_OK), 0);
    int status = run_program(TRAIN, resumed, folder, text);
    if (status != 0)
        fail_msg("the resumed trainer ends with %d: %s", status, text);
    check_contains(text, "resumed from ");
    assert_string_equal(last_line(text), accuracy);
    check_same_file(in_folder("whole"), model);
    /* Once more, when all is done: the same model again. */
    assert_int_equal(remove(model), 0);
    assert_int_equal(run_program(TRAIN, resumed, folder, text), 0);
    check_same_file(in_folder("whole"), model);
    assert_int_equal(remove(model), 0);
}

static void test_training_survives_kills(void **state)
{
    check_resume(&mlp);
    check_resume(&cnn);
}

static void test_training_served_as_trained(void **state)
{
    char accuracy[64];
    train(&mlp, "2", "1", "served", accuracy);
    const char *model = in_folder("served");
    assert_int_equal(run_program(SERVE,
                                 ARGS(model, "--data", folder, "--clients", "3", "--requests",
                                      "100", "--show", "1"),
                                 folder, text),
                     0);
    check_contains(text, "signature \"classify\"");
    check_contains(text, "u8 [batch, 28, 28]");
    check_contains(text, "predicted ");
    check_contains(text, "3 clients, 100 requests: ");
    check_contains(text, "p99 ");
    assert_string_equal(last_line(text), accuracy);
    assert_int_equal(
        run_program(SERVE,
                    ARGS(model, "--data", folder, "--batch", "7", "--threads", "1", "--show", "0"),
                    folder, text),
        0);
    assert_string_equal(last_line(text), accuracy);
}

/* One line that says why, and exit status 1. */
static void check_refused(const char *program, const char *const *arguments, const char *why)
{
    int status = run_program(program, arguments, folder, text);
    if (status != 1)
        fail_msg("the exit status is %d: %s", status, text);
    check_contains(last_line(text), why);
}

static void test_training_mistakes_with_files(void **state)
{
    char accuracy[64], checkpoints[TEST_PATH_SIZE];
    test_path(checkpoints, folder, "kept");
    const char *model = in_folder("model");
    train(&(training){"mlp", "1", ""}, "1", "1", "model", accuracy);
    assert_int_equal(run_program(TRAIN,
                                 ARGS("--network", "mlp", "--epochs", "1", "--model", model,
                                      "--data", folder, "--checkpoints", checkpoints),
                                 folder, text),
                     0);
    /* The variables of a checkpoint are those of its network. */
    check_refused(TRAIN,
                  ARGS("--network", "lenet", "--epochs", "1", "--model", model, "--data", folder,
                       "--checkpoints", checkpoints, "--resume"),
                  "FAILED_PRECONDITION");
    check_contains(text, "conv1/weights");
    check_refused(SERVE, ARGS(in_folder("train-labels-idx1-ubyte")), "DATA_LOSS");
    assert_int_equal(truncate(model, 100000), 0);
    check_refused(SERVE, ARGS(model, "--data", folder), "DATA_LOSS");
    check_refused(TRAIN,
                  ARGS("--network", "mlp", "--epochs", "1", "--data", folder, "--limit", "64",
                       "--model", in_folder("no/such/folder")),
                  "NOT_FOUND");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_threads_do_not_matter),
        cmocka_unit_test(test_training_survives_kills),
        cmocka_unit_test(test_training_served_as_trained),
        cmocka_unit_test(test_training_mistakes_with_files),
    };
    return cmocka_run_group_tests_name("training", tests, set_up, tear_down);
}
