/* Batches: order, epochs, positions, memory, threads. */
#include <unistd.h>

#include <tensorc/data.h>

#include "data/shuffle.h"
#include "support/counting_allocator.h"
#include "support/test.h"

#define ROWS 103

/* Columns whose row r holds r: u8 images [n, 2, 3] of r + pixel, i64 ids. */
typedef struct data_set {
    tc_tensor *images, *ids;
} data_set;

static tc_status data_create(int64_t rows, data_set *d)
{
    *d = (data_set){NULL, NULL};
    TC_TRY(tc_tensor_create(TC_U8, TC_SHAPE(rows, 2, 3), &d->images));
    tc_status status = tc_tensor_create(TC_I64, TC_SHAPE(rows), &d->ids);
    if (status != TC_OK) {
        tc_tensor_release(d->images);
        return status;
    }
    for (int64_t r = 0; r < rows; r++) {
        ((int64_t *)tc_tensor_data(d->ids))[r] = r;
        for (int64_t i = 0; i < 6; i++)
            ((uint8_t *)tc_tensor_data(d->images))[r * 6 + i] = (uint8_t)(r + i);
    }
    return TC_OK;
}

static void data_destroy(data_set *d)
{
    tc_tensor_release(d->images);
    tc_tensor_release(d->ids);
}

/* Batches of a data set, which they keep alive. */
static tc_status try_create(int64_t rows, const tc_batches_options *options, tc_batches **out)
{
    data_set d;
    TC_TRY(data_create(rows, &d));
    const tc_column columns[] = {{.data = d.images, .dtype = TC_F32, .scale = 0.5, .offset = -1},
                                 {.data = d.ids}};
    tc_status status = tc_batches_create(columns, 2, options, out);
    data_destroy(&d);
    return status;
}

static tc_batches *create(int64_t rows, tc_batches_options options)
{
    tc_batches *batches;
    options.struct_size = sizeof options;
    assert_ok(try_create(rows, &options, &batches));
    return batches;
}

/* Checks the images of a batch by their ids and appends the ids. */
static int64_t check_batch(tc_tensor *columns[2], int64_t *ids)
{
    int64_t rows = tc_tensor_shape(columns[1])->dims[0].size;
    const tc_shape *shape = tc_tensor_shape(columns[0]);
    assert_int_equal(tc_tensor_dtype(columns[0]), TC_F32);
    assert_int_equal(tc_tensor_dtype(columns[1]), TC_I64);
    assert_true(shape->rank == 3 && shape->dims[0].size == rows && shape->dims[1].size == 2 &&
                shape->dims[2].size == 3);
    const float *pixels = tc_tensor_data(columns[0]);
    for (int64_t r = 0; r < rows; r++) {
        ids[r] = ((const int64_t *)tc_tensor_data(columns[1]))[r];
        for (int64_t i = 0; i < 6; i++)
            assert_true(pixels[r * 6 + i] == 0.5f * (float)(uint8_t)(ids[r] + i) - 1);
    }
    return rows;
}

/* The ids until the end of the epoch; returns their number. */
static int64_t read_epoch(tc_batches *batches, int64_t ids[ROWS])
{
    int64_t count = 0;
    for (;;) {
        tc_tensor *columns[2];
        tc_status status = tc_batches_next(batches, columns);
        if (status == TC_OUT_OF_RANGE)
            return count;
        assert_ok(status);
        count += check_batch(columns, ids + count);
    }
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void check_each_once(const int64_t *ids, int64_t count)
{
    int64_t sorted[ROWS];
    memcpy(sorted, ids, (size_t)count * sizeof *ids);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    for (int64_t i = 1; i < count; i++)
        assert_true(sorted[i] > sorted[i - 1]);
    assert_true(sorted[0] >= 0 && sorted[count - 1] < ROWS);
}

static void test_batches_each_row_once_per_epoch(void **state)
{
    int64_t ids[2][ROWS];
    tc_batches *whole = create(ROWS, (tc_batches_options){.batch_size = 10, .keep_partial = true});
    assert_int_equal(tc_batches_per_epoch(whole), 11);
    for (int epoch = 0; epoch < 5; epoch++) {
        assert_int_equal(read_epoch(whole, ids[epoch % 2]), ROWS);
        check_each_once(ids[epoch % 2], ROWS);
        if (epoch > 0)
            assert_memory_not_equal(ids[0], ids[1], sizeof ids[0]);
    }
    tc_batches_destroy(whole);
    /* Without a partial batch, the same order with its end left out. */
    tc_batches *cut = create(ROWS, (tc_batches_options){.batch_size = 10});
    assert_int_equal(tc_batches_per_epoch(cut), 10);
    for (int epoch = 0; epoch < 5; epoch++)
        assert_int_equal(read_epoch(cut, ids[1]), 100);
    assert_memory_equal(ids[0], ids[1], 100 * sizeof ids[0][0]);
    tc_batches_destroy(cut);
}

static void test_batches_order_follows_seed_and_epoch(void **state)
{
    int64_t a[ROWS], b[ROWS], order[ROWS];
    const tc_batches_options options = {.batch_size = 7, .seed = 42, .keep_partial = true};
    tc_batches *first = create(ROWS, options);
    /* Neither the batch size nor how much is prepared ahead matters. */
    tc_batches *second = create(
        ROWS,
        (tc_batches_options){.batch_size = 50, .seed = 42, .keep_partial = true, .prefetch = 9});
    tc_batches *other =
        create(ROWS, (tc_batches_options){.batch_size = 7, .seed = 43, .keep_partial = true});
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        read_epoch(first, a);
        read_epoch(second, b);
        assert_memory_equal(a, b, sizeof a);
        tc_shuffle(order, ROWS, 42, epoch);
        assert_memory_equal(a, order, sizeof a);
        read_epoch(other, b);
        assert_memory_not_equal(a, b, sizeof a);
    }
    tc_batches_destroy(first);
    tc_batches_destroy(second);
    tc_batches_destroy(other);
}

/* Checkpoints rely on it that the order never changes. */
static void test_batches_order_is_for_ever(void **state)
{
    static const int64_t expected[2][10] = {{9, 4, 3, 0, 6, 8, 1, 7, 2, 5},
                                            {4, 1, 7, 9, 2, 8, 0, 5, 3, 6}};
    int64_t order[10];
    tc_shuffle(order, 10, 1, 0);
    assert_memory_equal(order, expected[0], sizeof order);
    tc_shuffle(order, 10, UINT64_MAX, 1000000);
    assert_memory_equal(order, expected[1], sizeof order);
}

/* All orders of three rows are equally likely. */
static void test_batches_order_is_fair(void **state)
{
    int count[3][3][3] = {{{0}}};
    enum { EPOCHS = 60000 };
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        int64_t order[3];
        tc_shuffle(order, 3, 9, epoch);
        count[order[0]][order[1]][order[2]]++;
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            if (i != j)
                assert_in_range(count[i][j][3 - i - j], EPOCHS / 6 - 460, EPOCHS / 6 + 460);
}

static void test_batches_in_order(void **state)
{
    int64_t ids[ROWS];
    tc_batches *batches = create(
        ROWS, (tc_batches_options){.batch_size = 25, .no_shuffle = true, .keep_partial = true});
    for (int epoch = 0; epoch < 3; epoch++) {
        assert_int_equal(read_epoch(batches, ids), ROWS);
        for (int64_t i = 0; i < ROWS; i++)
            assert_int_equal(ids[i], i);
    }
    tc_batches_destroy(batches);
}

static void test_batches_larger_than_the_data(void **state)
{
    int64_t ids[ROWS];
    tc_batches *batches =
        create(5, (tc_batches_options){.batch_size = INT64_MAX, .keep_partial = true});
    assert_int_equal(tc_batches_per_epoch(batches), 1);
    assert_int_equal(read_epoch(batches, ids), 5);
    check_each_once(ids, 5);
    tc_batches_destroy(batches);
}

static void test_batches_tell(void **state)
{
    tc_tensor *columns[2];
    tc_batches *batches = create(20, (tc_batches_options){.batch_size = 10});
    static const tc_batches_position expected[] = {{0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {2, 0}};
    assert_int_equal(tc_batches_tell(batches).epoch, 0);
    assert_int_equal(tc_batches_tell(batches).batch, 0);
    for (int i = 0; i < 6; i++) {
        tc_status status = tc_batches_next(batches, columns);
        assert_int_equal(status, expected[i].batch == 0 ? TC_OUT_OF_RANGE : TC_OK);
        assert_int_equal(tc_batches_tell(batches).epoch, expected[i].epoch);
        assert_int_equal(tc_batches_tell(batches).batch, expected[i].batch);
    }
    tc_batches_destroy(batches);
}

/* From every position of two epochs the stream goes on as it did, whatever was prepared. */
static void check_seek(bool shuffle, int32_t prefetch)
{
    const tc_batches_options options = {.batch_size = 10,
                                        .seed = 5,
                                        .keep_partial = true,
                                        .no_shuffle = !shuffle,
                                        .prefetch = prefetch};
    int64_t epochs[3][ROWS];
    tc_batches *batches = create(ROWS, options);
    for (int e = 0; e < 3; e++)
        read_epoch(batches, epochs[e]);
    for (int64_t n = 0; n < 2 * 12; n++) {
        int64_t ids[ROWS], wanted = n * 7 % 24; /* in an order that jumps about */
        tc_batches_position position = {wanted / 12, wanted % 12};
        assert_ok(tc_batches_seek(batches, position));
        assert_int_equal(tc_batches_tell(batches).epoch, position.epoch);
        assert_int_equal(tc_batches_tell(batches).batch, position.batch);
        int64_t skipped = position.batch == 11 ? ROWS : position.batch * 10;
        int64_t count = read_epoch(batches, ids);
        assert_int_equal(count, ROWS - skipped);
        assert_memory_equal(ids, epochs[position.epoch] + skipped, (size_t)count * sizeof *ids);
        if (n % 3 == 0) { /* and into the next epoch */
            assert_int_equal(read_epoch(batches, ids), ROWS);
            assert_memory_equal(ids, epochs[position.epoch + 1], sizeof ids);
        }
    }
    tc_batches_destroy(batches);
}

static void test_batches_seek(void **state)
{
    check_seek(true, 1);
    check_seek(true, 0);
    check_seek(true, 40);
    check_seek(false, 3);
}

/* Seeking while the thread is at work must neither lose nor double a batch. */
static void test_batches_seek_often(void **state)
{
    int64_t order[ROWS];
    tc_batches *batches = create(ROWS, (tc_batches_options){.batch_size = 2, .seed = 1});
    for (int64_t n = 0; n < 2000; n++) {
        tc_batches_position position = {n % 7, n * 13 % 50};
        assert_ok(tc_batches_seek(batches, position));
        if (n % 4 == 0)
            continue;
        int64_t ids[2];
        tc_tensor *columns[2];
        assert_ok(tc_batches_next(batches, columns));
        assert_int_equal(check_batch(columns, ids), 2);
        tc_shuffle(order, ROWS, 1, position.epoch);
        assert_int_equal(ids[0], order[position.batch * 2]);
        assert_int_equal(ids[1], order[position.batch * 2 + 1]);
    }
    tc_batches_destroy(batches);
}

/* What was given stays until the next call, however long that takes. */
static void test_batches_stay_while_they_are_held(void **state)
{
    tc_batches *batches = create(ROWS, (tc_batches_options){.batch_size = 10, .prefetch = 1});
    for (int i = 0; i < 5; i++) {
        int64_t before[10], after[10];
        tc_tensor *columns[2];
        assert_ok(tc_batches_next(batches, columns));
        check_batch(columns, before);
        usleep(3000);
        check_batch(columns, after);
        assert_memory_equal(before, after, sizeof before);
    }
    tc_batches_destroy(batches);
}

static void test_batches_destroy_at_any_time(void **state)
{
    counting_allocator_install();
    for (int taken = 0; taken < 30; taken++) {
        for (int32_t prefetch = 1; prefetch < 20; prefetch += 6) {
            tc_tensor *columns[2];
            tc_batches *batches =
                create(ROWS, (tc_batches_options){.batch_size = 8, .prefetch = prefetch});
            for (int i = 0; i < taken; i++)
                assert_int_not_equal(tc_batches_next(batches, columns), TC_INTERNAL);
            tc_batches_destroy(batches);
        }
    }
    counting_allocator_remove();
    tc_batches_destroy(NULL);
}

static void test_batches_without_allocations(void **state)
{
    int64_t ids[ROWS];
    counting_allocator_install();
    tc_batches *batches =
        create(ROWS, (tc_batches_options){.batch_size = 10, .keep_partial = true});
    int64_t before = counting_allocator_total();
    for (int epoch = 0; epoch < 4; epoch++)
        read_epoch(batches, ids);
    assert_ok(tc_batches_seek(batches, (tc_batches_position){9, 3}));
    read_epoch(batches, ids);
    assert_int_equal(counting_allocator_total(), before);
    tc_batches_destroy(batches);
    counting_allocator_remove();
}

static tc_status whole_life(void *context)
{
    const tc_batches_options options = {
        .struct_size = sizeof options, .batch_size = 10, .keep_partial = true};
    tc_batches *batches;
    tc_tensor *columns[2];
    TC_TRY(try_create(ROWS, &options, &batches));
    tc_status status = tc_batches_next(batches, columns);
    tc_batches_destroy(batches);
    return status;
}

static void test_batches_exhausted_memory(void **state)
{
    counting_allocator_install();
    assert_true(counting_allocator_sweep(whole_life, NULL) > 20);
    counting_allocator_remove();
}

static void check_refused(const tc_column *columns, size_t count, tc_batches_options options,
                          const char *text)
{
    tc_batches *batches = (tc_batches *)(uintptr_t)64;
    options.struct_size = sizeof options;
    assert_status(tc_batches_create(columns, count, &options, &batches), TC_INVALID_ARGUMENT);
    assert_error_contains(text);
    assert_null(batches);
}

static void test_batches_mistakes(void **state)
{
    data_set d, shorter, none;
    tc_tensor *scalar, *half;
    assert_ok(data_create(20, &d));
    assert_ok(data_create(19, &shorter));
    assert_ok(data_create(0, &none));
    assert_ok(tc_tensor_create_scalar(TC_F32, 1, &scalar));
    assert_ok(tc_tensor_create(TC_F16, TC_SHAPE(20), &half));
    const tc_batches_options usual = {.batch_size = 10};
    const tc_column good[] = {{.data = d.images}, {.data = d.ids}};
    check_refused((const tc_column[]){{.data = d.images}, {.data = NULL}}, 2, usual,
                  "batches: column 1 has no tensor");
    check_refused(&(const tc_column){.data = scalar}, 1, usual,
                  "batches: column 0 is a scalar; rows are axis 0");
    check_refused((const tc_column[]){{.data = d.images}, {.data = shorter.ids}}, 2, usual,
                  "batches: column 1 has 19 rows, but column 0 has 20");
    check_refused(&(const tc_column){.data = d.ids, .dtype = TC_U8}, 1, usual,
                  "batches: column 0 cannot be delivered from i64 as u8");
    check_refused(&(const tc_column){.data = half, .dtype = TC_F32}, 1, usual,
                  "batches: column 0 cannot be delivered from f16 as f32");
    check_refused(&(const tc_column){.data = d.images, .scale = 2}, 1, usual,
                  "batches: column 0 cannot be delivered from u8 as u8");
    check_refused(good, 2, (tc_batches_options){.batch_size = 21},
                  "batches: 20 rows are less than one batch of 21; keep_partial would");
    check_refused(good, 2, (tc_batches_options){.batch_size = -1},
                  "batches: batch_size must be positive");
    check_refused(good, 2, (tc_batches_options){.prefetch = -1}, "prefetch from 0 to 4096");
    check_refused(good, 2, (tc_batches_options){.prefetch = INT32_MAX}, "prefetch from 0 to 4096");
    check_refused(&(const tc_column){.data = none.ids}, 1,
                  (tc_batches_options){.keep_partial = true}, "batches: 0 rows are less");
    check_refused(NULL, 2, usual, "batches: no columns");
    check_refused(good, 0, usual, "batches: no columns");

    tc_batches *batches;
    assert_ok(tc_batches_create(
        good, 2, &(tc_batches_options){.struct_size = sizeof usual, .batch_size = 10}, &batches));
    static const tc_batches_position nowhere[] = {{-1, 0}, {0, -1}, {0, 3}};
    for (int i = 0; i < 3; i++)
        assert_status(tc_batches_seek(batches, nowhere[i]), TC_OUT_OF_RANGE);
    assert_error_contains("batches: there is no position epoch 0, batch 3; an epoch has 2");
    assert_status(tc_batches_next(batches, NULL), TC_INVALID_ARGUMENT);
    tc_batches_destroy(batches);
    tc_tensor *columns[2];
    assert_status(tc_batches_next(NULL, columns), TC_INVALID_ARGUMENT);
    assert_status(tc_batches_create(good, 2, NULL, NULL), TC_INVALID_ARGUMENT);
    assert_int_equal(tc_batches_per_epoch(NULL), 0);
    assert_int_equal(tc_batches_tell(NULL).epoch, 0);
    data_destroy(&d);
    data_destroy(&shorter);
    data_destroy(&none);
    tc_tensor_release(scalar);
    tc_tensor_release(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_each_row_once_per_epoch),
        cmocka_unit_test(test_batches_order_follows_seed_and_epoch),
        cmocka_unit_test(test_batches_order_is_for_ever),
        cmocka_unit_test(test_batches_order_is_fair),
        cmocka_unit_test(test_batches_in_order),
        cmocka_unit_test(test_batches_larger_than_the_data),
        cmocka_unit_test(test_batches_tell),
        cmocka_unit_test(test_batches_seek),
        cmocka_unit_test(test_batches_seek_often),
        cmocka_unit_test(test_batches_stay_while_they_are_held),
        cmocka_unit_test(test_batches_destroy_at_any_time),
        cmocka_unit_test(test_batches_without_allocations),
        cmocka_unit_test(test_batches_exhausted_memory),
        cmocka_unit_test(test_batches_mistakes),
    };
    return cmocka_run_group_tests_name("batches", tests, NULL, NULL);
}
