/* What the programs say to wrong command lines: one line, and exit status 2. */
#include "programs.h"

#define TRAIN "fashion_mnist_train"
#define SERVE "fashion_mnist_serve"

static char folder[TEST_PATH_SIZE], text[OUTPUT_SIZE];

static int set_up(void **state)
{
    test_folder_create(folder);
    return 0;
}

static int tear_down(void **state)
{
    test_folder_remove(folder);
    return 0;
}

static void check(const char *program, const char *const *arguments, int expected, const char *part)
{
    int status = run_program(program, arguments, folder, text);
    if (status != expected || count_lines(text) != 1)
        fail_msg("exit status %d: %s", status, text);
    check_contains(text, part);
}

static void test_options_of_the_trainer(void **state)
{
    check(TRAIN, ARGS("--network", "vgg"), 2,
          "unknown network 'vgg'; there are cnn, lenet and mlp");
    check(TRAIN, ARGS("--epochs", "0"), 2, "--epochs wants N: passes over the training images");
    check(TRAIN, ARGS("--epochs"), 2, "--epochs wants N");
    check(TRAIN, ARGS("--batch", "64x"), 2, "--batch wants N");
    check(TRAIN, ARGS("--batch", ""), 2, "--batch wants N");
    check(TRAIN, ARGS("--threads", "99999999999"), 2, "--threads wants N");
    check(TRAIN, ARGS("--seed", "99999999999999999999"), 2, "--seed wants N");
    check(TRAIN, ARGS("--seed", "-1"), 2, "--seed wants N");
    check(TRAIN, ARGS("--learning-rate", "nan"), 2, "--learning-rate wants X");
    check(TRAIN, ARGS("--learning-rate", "inf"), 2, "--learning-rate wants X");
    check(TRAIN, ARGS("--learning-rate", "0"), 2, "--learning-rate wants X");
    check(TRAIN, ARGS("--model", ""), 2, "--model wants FILE");
    check(TRAIN, ARGS("--resume"), 2, "need --checkpoints FOLDER");
    check(TRAIN, ARGS("--checkpoint-every", "5"), 2, "need --checkpoints FOLDER");
    check(TRAIN, ARGS("--verbose"), 2, "unknown option '--verbose'; --help lists them");
    check(TRAIN, ARGS("cnn"), 2, "unknown option 'cnn'");
}

static void test_options_of_the_server(void **state)
{
    check(SERVE, ARGS("--show", "0"), 2, "give the file of a saved model");
    check(SERVE, ARGS("model", "--clients"), 2, "unknown or incomplete option '--clients'");
    check(SERVE, ARGS("model", "--clients", "-1"), 2, "--clients wants a number of 0 or more");
    check(SERVE, ARGS("model", "--requests", "0"), 2, "--requests wants a number of 1 or more");
    check(SERVE, ARGS("model", "--batch", "many"), 2, "not 'many'");
    check(SERVE, ARGS("model", "--wat"), 2, "unknown or incomplete option '--wat'");
    check(SERVE, ARGS("model", "another"), 2, "unknown or incomplete option 'another'");
}

static void test_options_help(void **state)
{
    static const char *const programs[] = {TRAIN, SERVE};
    static const char *const options[][12] = {
        {"--network", "--epochs", "--batch", "--learning-rate", "--seed", "--threads", "--limit",
         "--data", "--model", "--checkpoints", "--checkpoint-every", "--resume"},
        {"--clients", "--requests", "--show", "--batch", "--threads", "--data"}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run_program(programs[i], ARGS("--help"), folder, text), 0);
        check_contains(text, "usage: ");
        for (int j = 0; j < 12 && options[i][j]; j++)
            check_contains(text, options[i][j]);
    }
}

static void test_options_missing_files(void **state)
{
    static const char missing[] =
        "has no file train-images-idx3-ubyte.gz; install Debian's package "
        "dataset-fashion-mnist or name the folder";
    char model[TEST_PATH_SIZE];
    check(TRAIN, ARGS("--data", folder), 1, missing);
    check_contains(text, folder);
    assert_int_equal(setenv("TENSORC_FASHION_MNIST", "/no/such/folder", 1), 0);
    check(TRAIN, ARGS("--epochs", "1"), 1, missing);
    check_contains(text, "'/no/such/folder'");
    unsetenv("TENSORC_FASHION_MNIST");
    check(SERVE, ARGS(test_path(model, folder, "model")), 1, "NOT_FOUND");
    check_contains(text, model);
    /* No checkpoint to go on from, in a folder and without one. */
    write_data_set(folder);
    assert_int_equal(
        run_program(TRAIN,
                    ARGS("--data", folder, "--network", "mlp", "--checkpoints", folder, "--resume"),
                    folder, text),
        1);
    check_contains(last_line(text), "has no checkpoint");
    assert_int_equal(run_program(TRAIN, ARGS("--data", folder, "--checkpoints", model, "--resume"),
                                 folder, text),
                     1);
    check_contains(last_line(text), "NOT_FOUND");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_the_trainer),
        cmocka_unit_test(test_options_of_the_server),
        cmocka_unit_test(test_options_help),
        cmocka_unit_test(test_options_missing_files),
    };
    return cmocka_run_group_tests_name("options", tests, set_up, tear_down);
}
