#include "core/dlpack.h"

#include <tensorc/tensor.h>

#include "core/tensor.h"
#include "support/counting_allocator.h"
#include "support/test.h"

/* A foreign tensor of up to 24 floats that counts the calls of its deleter in manager_ctx. */
typedef struct foreign {
    DLManagedTensorVersioned managed;
    int deleted;
    int64_t shape[9], strides[9];
    _Alignas(64) float data[24];
} foreign;

static void count_deletion(DLManagedTensorVersioned *self)
{
    ++*(int *)self->manager_ctx;
}

/* Dense [2, 3, 4] of 0, 1, 2, ... */
static void make_foreign(foreign *f)
{
    memset(f, 0, sizeof *f);
    for (int i = 0; i < 24; i++)
        f->data[i] = (float)i;
    for (int i = 0; i < 9; i++)
        f->shape[i] = f->strides[i] = 1;
    memcpy(f->shape, (int64_t[]){2, 3, 4}, 3 * sizeof(int64_t));
    memcpy(f->strides, (int64_t[]){12, 4, 1}, 3 * sizeof(int64_t));
    f->managed = (DLManagedTensorVersioned){
        .version = {1, 0},
        .manager_ctx = &f->deleted,
        .deleter = count_deletion,
        .dl_tensor = {.data = f->data,
                      .device = {kDLCPU, 0},
                      .ndim = 3,
                      .dtype = {kDLFloat, 32, 1},
                      .shape = f->shape,
                      .strides = f->strides},
    };
}

static void test_dlpack_layout_of_the_standard(void **state)
{
    assert_int_equal(sizeof(DLDataType), 4);
    assert_int_equal(sizeof(DLDevice), 8);
    assert_int_equal(sizeof(DLTensor), 48);
    assert_int_equal(offsetof(DLTensor, dtype), 20);
    assert_int_equal(offsetof(DLTensor, byte_offset), 40);
    assert_int_equal(sizeof(DLManagedTensorVersioned), 80);
    assert_int_equal(offsetof(DLManagedTensorVersioned, flags), 24);
    assert_int_equal(offsetof(DLManagedTensorVersioned, dl_tensor), 32);
}

static void test_dlpack_export(void **state)
{
    counting_allocator_install();
    tc_tensor *tensor;
    assert_ok(tc_tensor_create_zero(TC_BF16, TC_SHAPE(2, 3, 4), &tensor));
    DLManagedTensorVersioned *managed;
    assert_ok(tc_tensor_to_dlpack(tensor, &managed));
    const DLTensor *dl = &managed->dl_tensor;
    assert_int_equal(managed->version.major, 1);
    assert_int_equal(managed->version.minor, 0);
    assert_int_equal(managed->flags, 0);
    assert_ptr_equal(dl->data, tc_tensor_data(tensor));
    assert_int_equal(dl->device.device_type, kDLCPU);
    assert_int_equal(dl->device.device_id, 0);
    assert_int_equal(dl->ndim, 3);
    assert_int_equal(dl->dtype.code, kDLBfloat);
    assert_int_equal(dl->dtype.bits, 16);
    assert_int_equal(dl->dtype.lanes, 1);
    assert_memory_equal(dl->shape, ((int64_t[]){2, 3, 4}), 3 * sizeof(int64_t));
    assert_memory_equal(dl->strides, ((int64_t[]){12, 4, 1}), 3 * sizeof(int64_t));
    assert_int_equal(dl->byte_offset, 0);
    assert_false(tc_tensor_is_unique(tensor));
    tc_tensor_release(tensor); /* the export keeps the elements */
    memset(dl->data, 1, 48);
    managed->deleter(managed);
    counting_allocator_remove();
}

static void test_dlpack_round_trip_of_every_dtype(void **state)
{
    counting_allocator_install();
    for (int dtype = TC_F32; dtype <= TC_BOOL; dtype++) {
        tc_tensor *tensor, *back;
        DLManagedTensorVersioned *managed;
        assert_ok(tc_tensor_create_zero((tc_dtype)dtype, TC_SHAPE(5, 1, 2), &tensor));
        assert_ok(tc_tensor_set(tensor, 7, 1));
        assert_ok(tc_tensor_to_dlpack(tensor, &managed));
        assert_ok(tc_tensor_from_dlpack(managed, false, &back));
        assert_int_equal(tc_tensor_dtype(back), dtype);
        assert_true(tc_shape_equal(tc_tensor_shape(back), tc_tensor_shape(tensor)));
        assert_ptr_equal(tc_tensor_data(back), tc_tensor_data(tensor));
        assert_true(tc_tensor_get(back, 7) == 1);
        tc_tensor_release(tensor);
        tc_tensor_release(back);
    }
    counting_allocator_remove();
}

static void test_dlpack_round_trip_of_odd_shapes(void **state)
{
    const tc_shape shapes[] = {TC_SCALAR, TC_SHAPE(0), TC_SHAPE(3, 0, 2),
                               TC_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)};
    counting_allocator_install();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        tc_tensor *tensor, *back;
        DLManagedTensorVersioned *managed;
        assert_ok(tc_tensor_create_zero(TC_F32, shapes[i], &tensor));
        assert_ok(tc_tensor_to_dlpack(tensor, &managed));
        tc_tensor_release(tensor);
        assert_ok(tc_tensor_from_dlpack(managed, false, &back));
        assert_true(tc_shape_equal(tc_tensor_shape(back), &shapes[i]));
        assert_non_null(tc_tensor_data(back));
        tc_tensor_release(back);
    }
    counting_allocator_remove();
}

static void test_dlpack_import_without_copy(void **state)
{
    foreign f;
    tc_tensor *tensor;
    for (int copy = 0; copy < 2; copy++) { /* permission to copy is not a wish */
        make_foreign(&f);
        assert_ok(tc_tensor_from_dlpack(&f.managed, copy, &tensor));
        assert_ptr_equal(tc_tensor_data(tensor), f.data);
        assert_int_equal(tc_tensor_size(tensor), 24);
        assert_int_equal(f.deleted, 0);
        tc_tensor_release(tensor);
        assert_int_equal(f.deleted, 1);
    }
    make_foreign(&f);
    f.managed.dl_tensor.strides = NULL;
    f.managed.dl_tensor.byte_offset = 8;
    f.managed.version.minor = 7; /* newer minor versions keep the layout */
    f.shape[0] = 1;
    assert_ok(tc_tensor_from_dlpack(&f.managed, false, &tensor));
    assert_ptr_equal(tc_tensor_data(tensor), f.data + 2);
    assert_true(tc_tensor_get(tensor, 11) == 13);
    tc_tensor_release(tensor);

    make_foreign(&f);
    f.managed.deleter = NULL;
    assert_ok(tc_tensor_from_dlpack(&f.managed, false, &tensor));
    tc_tensor_release(tensor);

    make_foreign(&f); /* strides of dimensions of size 1 mean nothing */
    f.shape[1] = 1;
    f.strides[0] = 4;
    f.strides[1] = INT64_MIN;
    assert_ok(tc_tensor_from_dlpack(&f.managed, false, &tensor));
    tc_tensor_release(tensor);

    make_foreign(&f); /* and neither do those of empty tensors */
    f.shape[1] = 0;
    f.strides[0] = INT64_MAX;
    f.managed.dl_tensor.data = NULL;
    assert_ok(tc_tensor_from_dlpack(&f.managed, false, &tensor));
    assert_non_null(tc_tensor_data(tensor));
    tc_tensor_release(tensor);
    assert_int_equal(f.deleted, 1);
}

static void test_dlpack_read_only_is_kept(void **state)
{
    foreign f;
    make_foreign(&f);
    f.managed.flags = DLPACK_FLAG_BITMASK_READ_ONLY | DLPACK_FLAG_BITMASK_IS_COPIED;
    tc_tensor *tensor;
    assert_ok(tc_tensor_from_dlpack(&f.managed, false, &tensor));
    assert_true(tc_tensor_is_read_only(tensor));
    assert_status(tc_tensor_set(tensor, 0, 1), TC_INVALID_ARGUMENT);
    DLManagedTensorVersioned *managed;
    assert_ok(tc_tensor_to_dlpack(tensor, &managed));
    assert_int_equal(managed->flags, DLPACK_FLAG_BITMASK_READ_ONLY);
    managed->deleter(managed);
    tc_tensor_release(tensor);

    make_foreign(&f); /* a copy may be written */
    f.managed.flags = DLPACK_FLAG_BITMASK_READ_ONLY;
    f.shape[2] = 3;
    assert_ok(tc_tensor_from_dlpack(&f.managed, true, &tensor));
    assert_false(tc_tensor_is_read_only(tensor));
    tc_tensor_release(tensor);
}

/* Imports with a copy and checks the elements, which tell where they came from. */
static void check_copy(foreign *f, int64_t count, const float *expected)
{
    tc_tensor *tensor;
    assert_status(tc_tensor_from_dlpack(&f->managed, false, &tensor), TC_FAILED_PRECONDITION);
    assert_error_contains("copy_strided");
    assert_null(tensor);
    assert_int_equal(f->deleted, 0); /* still the caller's */
    assert_ok(tc_tensor_from_dlpack(&f->managed, true, &tensor));
    assert_int_equal(f->deleted, 1);
    assert_int_equal(tc_tensor_size(tensor), count);
    memset(f->data, 0, sizeof f->data);
    for (int64_t i = 0; i < count; i++)
        assert_true(tc_tensor_get(tensor, i) == (double)expected[i]);
    tc_tensor_release(tensor);
    assert_int_equal(f->deleted, 1);
}

static void test_dlpack_strided_copies(void **state)
{
    foreign f;
    make_foreign(&f); /* transposed */
    f.managed.dl_tensor.ndim = 2;
    memcpy(f.shape, (int64_t[]){3, 2}, 2 * sizeof(int64_t));
    memcpy(f.strides, (int64_t[]){1, 3}, 2 * sizeof(int64_t));
    check_copy(&f, 6, (float[]){0, 3, 1, 4, 2, 5});

    make_foreign(&f); /* every second column of a window */
    f.managed.dl_tensor.ndim = 2;
    f.managed.dl_tensor.byte_offset = 4;
    memcpy(f.shape, (int64_t[]){2, 2}, 2 * sizeof(int64_t));
    memcpy(f.strides, (int64_t[]){4, 2}, 2 * sizeof(int64_t));
    check_copy(&f, 4, (float[]){1, 3, 5, 7});

    make_foreign(&f); /* backwards */
    f.managed.dl_tensor.ndim = 1;
    f.managed.dl_tensor.byte_offset = 12;
    f.shape[0] = 4;
    f.strides[0] = -1;
    check_copy(&f, 4, (float[]){3, 2, 1, 0});

    make_foreign(&f); /* broadcast */
    f.managed.dl_tensor.ndim = 2;
    memcpy(f.shape, (int64_t[]){2, 3}, 2 * sizeof(int64_t));
    memcpy(f.strides, (int64_t[]){0, 1}, 2 * sizeof(int64_t));
    check_copy(&f, 6, (float[]){0, 1, 2, 0, 1, 2});

    make_foreign(&f); /* rows of a larger matrix */
    f.shape[2] = 2;
    check_copy(&f, 12, (float[]){0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21});

    make_foreign(&f); /* dense but not aligned to its elements */
    memmove((char *)f.data + 2, f.data, 4 * sizeof(float));
    f.managed.dl_tensor.ndim = 1;
    f.managed.dl_tensor.byte_offset = 2;
    f.shape[0] = 4;
    f.strides[0] = 1;
    check_copy(&f, 4, (float[]){0, 1, 2, 3});
}

static void refuse(foreign *f, tc_status status, const char *message)
{
    for (int copy = 0; copy < 2; copy++) {
        tc_tensor *tensor = (tc_tensor *)f;
        assert_status(tc_tensor_from_dlpack(&f->managed, copy, &tensor), status);
        assert_error_contains(message);
        assert_null(tensor);
        assert_int_equal(f->deleted, 0);
    }
    make_foreign(f);
}

static void test_dlpack_refuses(void **state)
{
    foreign f;
    make_foreign(&f);
    DLTensor *dl = &f.managed.dl_tensor;
    f.managed.version.major = 2;
    refuse(&f, TC_UNIMPLEMENTED, "version 2.0");
    f.managed.version.major = 0;
    refuse(&f, TC_UNIMPLEMENTED, "version 0.0");
    dl->device.device_type = kDLCUDA;
    refuse(&f, TC_UNIMPLEMENTED, "device type 2");
    dl->device.device_type = -1;
    refuse(&f, TC_UNIMPLEMENTED, "device type -1");
    dl->dtype.lanes = 4;
    refuse(&f, TC_UNIMPLEMENTED, "4 lanes");
    dl->dtype.lanes = 0;
    refuse(&f, TC_UNIMPLEMENTED, "0 lanes");
    dl->dtype.code = kDLComplex;
    refuse(&f, TC_UNIMPLEMENTED, "type code 5 with 32 bits");
    dl->dtype.bits = 8;
    refuse(&f, TC_UNIMPLEMENTED, "type code 2 with 8 bits");
    dl->dtype = (DLDataType){kDLInt, 4, 1};
    refuse(&f, TC_UNIMPLEMENTED, "type code 0 with 4 bits");
    dl->ndim = 9;
    refuse(&f, TC_INVALID_ARGUMENT, "rank 9");
    dl->ndim = -1;
    refuse(&f, TC_INVALID_ARGUMENT, "rank -1");
    dl->shape = NULL;
    refuse(&f, TC_INVALID_ARGUMENT, "shape of the DLPack tensor is NULL");
    f.shape[1] = -3;
    refuse(&f, TC_INVALID_ARGUMENT, "dimension 1 of the DLPack tensor is -3");
    f.shape[0] = f.shape[1] = (int64_t)1 << 40;
    refuse(&f, TC_INVALID_ARGUMENT, "64 bits");
    f.shape[0] = INT64_MAX / 12;
    refuse(&f, TC_RESOURCE_EXHAUSTED, "too large");
    f.strides[0] = INT64_MAX;
    refuse(&f, TC_INVALID_ARGUMENT, "stride 9223372036854775807 of dimension 0");
    f.strides[2] = INT64_MIN;
    refuse(&f, TC_INVALID_ARGUMENT, "of dimension 2");
    f.strides[0] = f.strides[1] = INT64_MAX / 8;
    refuse(&f, TC_INVALID_ARGUMENT, "of dimension 1"); /* only their sum is out of range */
    dl->byte_offset = UINT64_MAX;
    refuse(&f, TC_INVALID_ARGUMENT, "byte offset");
    dl->data = NULL;
    refuse(&f, TC_INVALID_ARGUMENT, "data of the DLPack tensor is NULL");
}

static void test_dlpack_null(void **state)
{
    foreign f;
    make_foreign(&f);
    tc_tensor *tensor;
    DLManagedTensorVersioned *managed = &f.managed;
    assert_status(tc_tensor_from_dlpack(NULL, false, &tensor), TC_INVALID_ARGUMENT);
    assert_null(tensor);
    assert_status(tc_tensor_from_dlpack(&f.managed, false, NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_tensor_to_dlpack(NULL, &managed), TC_INVALID_ARGUMENT);
    assert_null(managed);
    assert_ok(tc_tensor_create_scalar(TC_F32, 1, &tensor));
    assert_status(tc_tensor_to_dlpack(tensor, NULL), TC_INVALID_ARGUMENT);
    tc_tensor_release(tensor);
}

static tc_status through_dlpack(void *context)
{
    foreign f;
    make_foreign(&f);
    f.shape[2] = *(int64_t *)context; /* 4: wrapped, less: copied */
    tc_tensor *tensor;
    TC_TRY(tc_tensor_from_dlpack(&f.managed, true, &tensor));
    DLManagedTensorVersioned *managed;
    tc_status status = tc_tensor_to_dlpack(tensor, &managed);
    tc_tensor_release(tensor);
    if (status == TC_OK)
        managed->deleter(managed);
    return status == TC_OK && f.deleted != 1 ? TC_INTERNAL : status;
}

static void test_dlpack_exhausted(void **state)
{
    counting_allocator_install();
    for (int64_t columns = 3; columns <= 4; columns++)
        assert_int_equal(counting_allocator_sweep(through_dlpack, &columns), 2);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dlpack_layout_of_the_standard),
        cmocka_unit_test(test_dlpack_export),
        cmocka_unit_test(test_dlpack_round_trip_of_every_dtype),
        cmocka_unit_test(test_dlpack_round_trip_of_odd_shapes),
        cmocka_unit_test(test_dlpack_import_without_copy),
        cmocka_unit_test(test_dlpack_read_only_is_kept),
        cmocka_unit_test(test_dlpack_strided_copies),
        cmocka_unit_test(test_dlpack_refuses),
        cmocka_unit_test(test_dlpack_null),
        cmocka_unit_test(test_dlpack_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
