/* The trainer on the real images; skipped where the data set is not installed. */
#include <tensorc/data.h>

#include "programs.h"

static char folder[TEST_PATH_SIZE], text[OUTPUT_SIZE];

static void train(const char *network, const char *limit, const char *model, double at_least)
{
    char path[TEST_PATH_SIZE];
    int status = run_program("fashion_mnist_train",
                             ARGS("--network", network, "--epochs", "1", "--limit", limit,
                                  "--model", test_path(path, folder, model)),
                             folder, text);
    if (status != 0)
        fail_msg("the trainer ends with %d: %s", status, text);
    const char *line = last_line(text);
    print_message("%s, %s images: %s\n", network, limit, line);
    assert_true(strtod(strchr(line, ':') + 1, NULL) >= at_least);
}

static void test_fashion_mnist_trained_and_served(void **state)
{
    char accuracy[64], path[TEST_PATH_SIZE];
    train("mlp", "20000", "mlp", 80);
    snprintf(accuracy, sizeof accuracy, "%s", last_line(text));
    assert_int_equal(
        run_program("fashion_mnist_serve",
                    ARGS(test_path(path, folder, "mlp"), "--clients", "2", "--requests", "500"),
                    folder, text),
        0);
    assert_string_equal(last_line(text), accuracy);
    train("cnn", "3200", "cnn", 65);
}

int main(void)
{
    tc_image_data data;
    tc_status status = tc_fashion_mnist_load(NULL, &data);
    if (status == TC_NOT_FOUND) {
        printf("skipped: %s\n", tc_error_message());
        return 77;
    }
    tc_image_data_release(&data);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fashion_mnist_trained_and_served),
    };
    test_folder_create(folder);
    int failures = cmocka_run_group_tests_name("fashion_mnist", tests, NULL, NULL);
    test_folder_remove(folder);
    return failures;
}
