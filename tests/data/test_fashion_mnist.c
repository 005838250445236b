/* The Fashion-MNIST loader, on small files of its form and on the real ones where they are. */
#include <tensorc/data.h>

#include "data/idx_files.h"

static char folder[TEST_PATH_SIZE];

static const char *const files[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

static void write_file(int file, const idx_bytes *b, bool packed)
{
    char path[TEST_PATH_SIZE], name[64];
    idx_bytes gz = idx_gzip(b);
    snprintf(name, sizeof name, "%s%s", files[file], packed ? ".gz" : "");
    idx_write(test_path(path, folder, name), packed ? &gz : b);
}

static idx_bytes images(uint32_t count, uint32_t side)
{
    const uint32_t dims[] = {count, side, side};
    idx_bytes b = idx_header(0x08, 3, dims);
    for (uint32_t i = 0; i < count * side * side; i++)
        idx_append(&b, &(unsigned char){(unsigned char)(i % 251)}, 1);
    return b;
}

static idx_bytes labels(uint32_t count, int first)
{
    idx_bytes b = idx_header(0x08, 1, &count);
    for (uint32_t i = 0; i < count; i++)
        idx_append(&b, &(unsigned char){(unsigned char)(first + (int)i)}, 1);
    return b;
}

/* A whole small data set, packed or not. */
static void write_all(bool packed)
{
    idx_bytes train = images(3, 28), train_labels = labels(3, 7);
    idx_bytes test = images(2, 28), test_labels = labels(2, 0);
    const idx_bytes *all[] = {&train, &train_labels, &test, &test_labels};
    for (int i = 0; i < 4; i++)
        write_file(i, all[i], packed);
}

static int set_up(void **state)
{
    unsetenv("TENSORC_FASHION_MNIST");
    test_folder_create(folder);
    return 0;
}

static int tear_down(void **state)
{
    test_folder_remove(folder);
    return 0;
}

static void check_small(const tc_image_data *data)
{
    assert_int_equal(tc_tensor_shape(data->train_images)->dims[0].size, 3);
    assert_int_equal(tc_tensor_shape(data->test_images)->dims[0].size, 2);
    assert_int_equal(tc_tensor_get(data->train_labels, 2), 9);
    assert_int_equal(tc_tensor_get(data->test_labels, 1), 1);
    assert_int_equal(tc_tensor_get(data->train_images, 3 * 784 - 1), (3 * 784 - 1) % 251);
}

static void test_fashion_mnist_plain_and_packed(void **state)
{
    tc_image_data data;
    write_all(false);
    assert_ok(tc_fashion_mnist_load(folder, &data));
    check_small(&data);
    tc_image_data_release(&data);
    assert_null(data.train_images);
    write_all(true);
    assert_int_equal(setenv("TENSORC_FASHION_MNIST", folder, 1), 0);
    assert_ok(tc_fashion_mnist_load(NULL, &data));
    check_small(&data);
    tc_image_data_release(&data);
    /* A folder that is given comes before the environment. */
    assert_status(tc_fashion_mnist_load("/nowhere", &data), TC_NOT_FOUND);
}

static void test_fashion_mnist_missing(void **state)
{
    tc_image_data data;
    assert_status(tc_fashion_mnist_load("/no/such/folder", &data), TC_NOT_FOUND);
    assert_error_contains("'/no/such/folder' has no file train-images-idx3-ubyte.gz");
    assert_error_contains("install Debian's package dataset-fashion-mnist");
    assert_null(data.train_images);
    for (int i = 0; i < 4; i++) {
        char path[TEST_PATH_SIZE];
        write_all(false);
        assert_int_equal(remove(test_path(path, folder, files[i])), 0);
        assert_status(tc_fashion_mnist_load(folder, &data), TC_NOT_FOUND);
        assert_error_contains(folder);
        assert_error_contains(files[i]);
        assert_null(data.train_images);
        assert_null(data.test_labels);
    }
    assert_int_equal(setenv("TENSORC_FASHION_MNIST", "/elsewhere", 1), 0);
    assert_status(tc_fashion_mnist_load(NULL, &data), TC_NOT_FOUND);
    assert_error_contains("'/elsewhere'");
    assert_status(tc_fashion_mnist_load(folder, NULL), TC_INVALID_ARGUMENT);
}

static void check_damaged(int file, idx_bytes b, const char *text)
{
    tc_image_data data;
    write_all(false);
    write_file(file, &b, false);
    assert_status(tc_fashion_mnist_load(folder, &data), TC_DATA_LOSS);
    assert_error_contains(text);
    assert_null(data.train_images);
}

static void test_fashion_mnist_other_contents(void **state)
{
    check_damaged(0, images(3, 27), "the training images are not u8 [n, 28, 28]");
    check_damaged(2, labels(2, 0), "the test images are not u8 [n, 28, 28]");
    check_damaged(1, labels(4, 0), "the training labels are not one u8 for each image");
    check_damaged(3, images(2, 1), "the test labels are not one u8 for each image");
    check_damaged(3, labels(2, 9), "test label 1 is 10, not 0..9");
    idx_bytes cut = images(3, 28);
    cut.size--;
    check_damaged(0, cut, files[0]);
}

static void test_fashion_mnist_long_folder(void **state)
{
    static char longest[5000];
    memset(longest, 'a', sizeof longest - 1);
    tc_image_data data;
    assert_status(tc_fashion_mnist_load(longest, &data), TC_INVALID_ARGUMENT);
}

static void test_fashion_mnist_classes(void **state)
{
    assert_string_equal(tc_fashion_mnist_class(0), "T-shirt/top");
    assert_string_equal(tc_fashion_mnist_class(9), "Ankle boot");
    assert_string_equal(tc_fashion_mnist_class(10), "?");
    assert_string_equal(tc_fashion_mnist_class(-1), "?");
    tc_image_data_release(NULL);
}

static void test_fashion_mnist_itself(void **state)
{
    tc_image_data data;
    tc_status status = tc_fashion_mnist_load(NULL, &data);
    if (status == TC_NOT_FOUND) {
        print_message("%s\n", tc_error_message());
        skip();
    }
    assert_ok(status);
    const tc_tensor *labelled[] = {data.train_labels, data.test_labels};
    static const int64_t rows[] = {60000, 10000};
    for (int part = 0; part < 2; part++) {
        int64_t count[10] = {0};
        assert_int_equal(tc_tensor_size(labelled[part]), rows[part]);
        for (int64_t i = 0; i < rows[part]; i++)
            count[(int)tc_tensor_get(labelled[part], i)]++;
        for (int i = 0; i < 10; i++) /* the classes are of one size */
            assert_int_equal(count[i], rows[part] / 10);
    }
    tc_image_data_release(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fashion_mnist_plain_and_packed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fashion_mnist_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fashion_mnist_other_contents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fashion_mnist_long_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fashion_mnist_classes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fashion_mnist_itself, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("fashion_mnist", tests, NULL, NULL);
}
