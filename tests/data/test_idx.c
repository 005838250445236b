/* IDX files: every dtype, and every way to be damaged. */
#include <sys/stat.h>
#include <unistd.h>

#include <tensorc/data.h>

#include "data/idx_files.h"
#include "support/counting_allocator.h"

static char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];

static int set_up(void **state)
{
    test_folder_create(folder);
    test_path(path, folder, "file.idx");
    return 0;
}

static int tear_down(void **state)
{
    test_folder_remove(folder);
    return 0;
}

typedef struct idx_type {
    unsigned char code;
    tc_dtype dtype;
    size_t size;
} idx_type;

static const idx_type types[] = {{0x08, TC_U8, 1},  {0x09, TC_I8, 1},  {0x0b, TC_I16, 2},
                                 {0x0c, TC_I32, 4}, {0x0d, TC_F32, 4}, {0x0e, TC_F64, 8}};

/* Numbers that look different in the wrong order; those that the dtype cannot hold are left out. */
static double number(tc_dtype dtype, int i)
{
    static const double u8[] = {0, 1, 127, 128, 255, 7}, i8[] = {0, 1, 127, -128, -1, 7},
                        i16[] = {0, 1, 258, -32768, 32767, -2},
                        i32[] = {0, 1, 16909060, -2147483648.0, 2147483647, -2},
                        real[] = {0, 1, -2.5, 0.15625, 1e20f, -1e-20f};
    switch (dtype) {
    case TC_U8: return u8[i];
    case TC_I8: return i8[i];
    case TC_I16: return i16[i];
    case TC_I32: return i32[i];
    default: return real[i];
    }
}

static idx_bytes file_of(const idx_type *type, size_t rank, const uint32_t *dims)
{
    idx_bytes b = idx_header(type->code, rank, dims);
    int count = 1;
    for (size_t i = 0; i < rank; i++)
        count *= (int)dims[i];
    tc_tensor *one;
    assert_ok(tc_tensor_create(type->dtype, TC_SCALAR, &one));
    for (int i = 0; i < count; i++) {
        assert_ok(tc_tensor_set(one, 0, number(type->dtype, i % 6)));
        idx_append_number(&b, tc_tensor_data(one), type->size);
    }
    tc_tensor_release(one);
    return b;
}

static void check_load(const idx_type *type, size_t rank, const uint32_t *dims)
{
    tc_tensor *tensor;
    assert_ok(tc_idx_load(path, &tensor));
    assert_int_equal(tc_tensor_dtype(tensor), type->dtype);
    assert_int_equal(tc_tensor_shape(tensor)->rank, rank);
    for (size_t i = 0; i < rank; i++)
        assert_int_equal(tc_tensor_shape(tensor)->dims[i].size, dims[i]);
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        assert_true(tc_tensor_get(tensor, i) == number(type->dtype, (int)(i % 6)));
    tc_tensor_release(tensor);
}

static void test_idx_every_dtype_and_rank(void **state)
{
    const uint32_t dims[] = {2, 3, 1, 4};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (size_t rank = 0; rank <= 4; rank++) {
            idx_bytes plain = file_of(&types[t], rank, dims), packed = idx_gzip(&plain);
            idx_write(path, &plain);
            check_load(&types[t], rank, dims);
            idx_write(path, &packed);
            check_load(&types[t], rank, dims);
        }
    }
}

static void test_idx_without_elements(void **state)
{
    const uint32_t dims[] = {3, 0, 5};
    idx_bytes b = idx_header(0x0d, 3, dims);
    idx_write(path, &b);
    check_load(&types[4], 3, dims);
}

static void check_fails(const idx_bytes *b, const char *text)
{
    tc_tensor *tensor = (tc_tensor *)(uintptr_t)64;
    idx_write(path, b);
    assert_status(tc_idx_load(path, &tensor), TC_DATA_LOSS);
    assert_null(tensor);
    assert_error_contains(path);
    assert_error_contains(text);
}

static void test_idx_cut_off_anywhere(void **state)
{
    const uint32_t dims[] = {3, 2};
    counting_allocator_install();
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        idx_bytes plain = file_of(&types[t], 2, dims), packed = idx_gzip(&plain);
        size_t whole = plain.size;
        for (plain.size = 0; plain.size < whole; plain.size++) {
            char offset[32];
            snprintf(offset, sizeof offset, "offset %zu", plain.size);
            check_fails(&plain, offset);
            assert_error_contains(plain.size < 4    ? "magic"
                                  : plain.size < 12 ? "dimensions"
                                                    : "elements");
        }
        whole = packed.size;
        for (packed.size = 0; packed.size < whole; packed.size++)
            check_fails(&packed, "");
    }
    counting_allocator_remove();
}

/* One changed bit is found, or does not matter (the time in the header of gzip). */
static void test_idx_damaged_gzip(void **state)
{
    const uint32_t dims[] = {3, 2};
    idx_bytes plain = file_of(&types[3], 2, dims), packed = idx_gzip(&plain);
    int found = 0;
    counting_allocator_install();
    for (size_t bit = 0; bit < packed.size * 8; bit++) {
        idx_bytes damaged = packed;
        damaged.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        idx_write(path, &damaged);
        tc_tensor *tensor;
        tc_status status = tc_idx_load(path, &tensor);
        if (status == TC_OK) {
            tc_tensor_release(tensor);
            check_load(&types[3], 2, dims);
        } else {
            assert_status(status, TC_DATA_LOSS);
            assert_error_contains(path);
            found++;
        }
    }
    counting_allocator_remove();
    assert_true(found >= (int)(packed.size - 10) * 8); /* all bits after the header */
}

static void test_idx_what_is_no_idx_file(void **state)
{
    const uint32_t dims[] = {2, 3};
    const unsigned char codes[] = {0x00, 0x07, 0x0a, 0x0f, 0xff};
    for (size_t i = 0; i < sizeof codes; i++) {
        idx_bytes b = idx_header(codes[i], 2, dims);
        check_fails(&b, "no IDX file: the magic number at offset 0 is 0000");
    }
    idx_bytes b = idx_header(0x08, 2, dims);
    b.data[1] = 1;
    check_fails(&b, "no IDX file: the magic number at offset 0 is 00010802");
    b = idx_header(0x08, 0, NULL);
    b.data[3] = 9;
    check_fails(&b, "rank 9 at offset 3 is more than 8");
}

static void test_idx_trailing_bytes(void **state)
{
    const uint32_t dims[] = {2, 3};
    idx_bytes plain = file_of(&types[2], 2, dims);
    idx_append(&plain, "", 1);
    idx_bytes packed = idx_gzip(&plain);
    check_fails(&plain, "the file goes on at offset 24, after the last element");
    check_fails(&packed, "the file goes on at offset 24, after the last element");
}

/* A header must not cost more memory than the file is worth. */
static void test_idx_dimensions_that_promise_too_much(void **state)
{
    const uint32_t huge[] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                             UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    const size_t ranks[] = {3, 8};
    for (size_t i = 0; i < 2; i++) {
        idx_bytes b = idx_header(0x0e, ranks[i], huge);
        check_fails(&b, "the dimensions at offset 4 are too large");
    }
    counting_allocator_install();
    const uint32_t large[] = {1u << 20, 1u << 18};
    idx_bytes b = idx_header(0x08, 2, large);
    idx_append(&b, "some", 4);
    check_fails(&b, "the file ends at offset 16, in the middle of the elements");
    assert_true(counting_allocator_peak_bytes() < 4 << 20);
    counting_allocator_remove();
}

static void test_idx_more_than_a_mebibyte(void **state)
{
    const uint32_t dims[] = {3, 1000003};
    size_t size = 3 * 1000003;
    idx_bytes header = idx_header(0x08, 2, dims);
    unsigned char *all = malloc(header.size + size);
    assert_non_null(all);
    memcpy(all, header.data, header.size);
    for (size_t i = 0; i < size; i++)
        all[header.size + i] = (unsigned char)(i * 2654435761u >> 13);
    gzFile file = gzopen(path, "wb1");
    assert_int_equal(gzwrite(file, all, (unsigned)(header.size + size)), header.size + size);
    assert_int_equal(gzclose(file), Z_OK);
    tc_tensor *tensor;
    assert_ok(tc_idx_load(path, &tensor));
    assert_int_equal(tc_tensor_bytes(tensor), size);
    assert_memory_equal(tc_tensor_data(tensor), all + header.size, size);
    tc_tensor_release(tensor);
    free(all);
}

static void test_idx_files_that_cannot_be_opened(void **state)
{
    tc_tensor *tensor;
    char missing[TEST_PATH_SIZE];
    assert_status(tc_idx_load(test_path(missing, folder, "missing"), &tensor), TC_NOT_FOUND);
    assert_error_contains(missing);
    assert_status(tc_idx_load(test_path(missing, path, "below-a-file"), &tensor), TC_NOT_FOUND);
    assert_status(tc_idx_load(folder, &tensor), TC_UNAVAILABLE);
    assert_error_contains("s a directory");
    assert_status(tc_idx_load(NULL, &tensor), TC_INVALID_ARGUMENT);
    assert_status(tc_idx_load(path, NULL), TC_INVALID_ARGUMENT);
    if (geteuid() != 0) { /* root may read everything */
        idx_bytes b = idx_header(0x08, 0, NULL);
        idx_write(path, &b);
        assert_int_equal(chmod(path, 0), 0);
        assert_status(tc_idx_load(path, &tensor), TC_PERMISSION_DENIED);
        assert_int_equal(chmod(path, 0600), 0);
    }
}

static tc_status load_and_release(void *context)
{
    tc_tensor *tensor;
    TC_TRY(tc_idx_load(path, &tensor));
    tc_tensor_release(tensor);
    return TC_OK;
}

static void test_idx_exhausted_memory(void **state)
{
    const uint32_t dims[] = {3, 2};
    idx_bytes plain = file_of(&types[3], 2, dims), packed = idx_gzip(&plain);
    idx_write(path, &packed);
    counting_allocator_install();
    assert_true(counting_allocator_sweep(load_and_release, NULL) >= 2);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx_every_dtype_and_rank),
        cmocka_unit_test(test_idx_without_elements),
        cmocka_unit_test(test_idx_cut_off_anywhere),
        cmocka_unit_test(test_idx_damaged_gzip),
        cmocka_unit_test(test_idx_what_is_no_idx_file),
        cmocka_unit_test(test_idx_trailing_bytes),
        cmocka_unit_test(test_idx_dimensions_that_promise_too_much),
        cmocka_unit_test(test_idx_more_than_a_mebibyte),
        cmocka_unit_test(test_idx_files_that_cannot_be_opened),
        cmocka_unit_test(test_idx_exhausted_memory),
    };
    return cmocka_run_group_tests_name("idx", tests, set_up, tear_down);
}
