#include "core/dlpack.h"

#include <string.h>

#include <tensorc/tensor.h>

#include "base/alloc.h"
#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

typedef struct tc_dlpack_dtype {
    tc_dtype dtype;
    uint8_t code, bits;
} tc_dlpack_dtype;

static const tc_dlpack_dtype dlpack_dtypes[] = {
    {TC_F32, kDLFloat, 32},   {TC_F64, kDLFloat, 64}, {TC_F16, kDLFloat, 16},
    {TC_BF16, kDLBfloat, 16}, {TC_I8, kDLInt, 8},     {TC_I16, kDLInt, 16},
    {TC_I32, kDLInt, 32},     {TC_I64, kDLInt, 64},   {TC_U8, kDLUInt, 8},
    {TC_U16, kDLUInt, 16},    {TC_U32, kDLUInt, 32},  {TC_U64, kDLUInt, 64},
    {TC_BOOL, kDLBool, 8},
};
#define TC_DLPACK_DTYPES (sizeof dlpack_dtypes / sizeof dlpack_dtypes[0])

/* What an exported tensor keeps alive, with the arrays its DLTensor points at. */
typedef struct tc_dlpack_export {
    DLManagedTensorVersioned managed; /* first: its address is the export's */
    tc_tensor *tensor;
    int64_t shape[TC_MAX_RANK];
    int64_t strides[TC_MAX_RANK];
} tc_dlpack_export;

static void delete_export(DLManagedTensorVersioned *self)
{
    if (!self)
        return;
    tc_dlpack_export *exported = self->manager_ctx;
    tc_tensor_release(exported->tensor);
    tc_free(exported);
}

tc_status tc_tensor_to_dlpack(tc_tensor *tensor, struct DLManagedTensorVersioned **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "the place for the DLPack tensor is NULL");
    *out = NULL;
    if (!tensor)
        return tc_fail(TC_INVALID_ARGUMENT, "the tensor to export is NULL");
    DLDataType dtype = {.lanes = 1};
    for (size_t i = 0; i < TC_DLPACK_DTYPES; i++)
        if (dlpack_dtypes[i].dtype == tensor->dtype) {
            dtype.code = dlpack_dtypes[i].code;
            dtype.bits = dlpack_dtypes[i].bits;
        }
    if (dtype.bits == 0)
        return tc_fail(TC_UNIMPLEMENTED, "dtype %s has no counterpart in DLPack",
                       tc_dtype_name(tensor->dtype));
    tc_dlpack_export *exported = tc_alloc_zero(1, sizeof *exported);
    if (!exported)
        return tc_fail_memory(sizeof *exported, "a DLPack tensor");
    exported->tensor = tc_tensor_retain(tensor);
    for (int32_t i = 0; i < tensor->shape.rank; i++)
        exported->shape[i] = tensor->shape.dims[i].size;
    tc_shape_strides(&tensor->shape, exported->strides);
    DLManagedTensorVersioned *managed = &exported->managed;
    managed->version = (DLPackVersion){DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
    managed->manager_ctx = exported;
    managed->deleter = delete_export;
    managed->flags = tensor->read_only ? DLPACK_FLAG_BITMASK_READ_ONLY : 0;
    managed->dl_tensor = (DLTensor){
        .data = tensor->data,
        .device = {kDLCPU, 0},
        .ndim = tensor->shape.rank,
        .dtype = dtype,
        .shape = exported->shape,
        .strides = exported->strides,
    };
    *out = managed;
    return TC_OK;
}

/* A foreign tensor in our terms. */
typedef struct tc_dlpack_import {
    tc_dtype dtype;
    tc_shape shape;
    int64_t size;
    size_t bytes;
    char *data;                   /* the first element, byte_offset applied */
    int64_t strides[TC_MAX_RANK]; /* in bytes */
    bool dense;
} tc_dlpack_import;

static tc_status read_kind(const DLManagedTensorVersioned *managed, tc_dlpack_import *in)
{
    const DLTensor *foreign = &managed->dl_tensor;
    if (managed->version.major != DLPACK_MAJOR_VERSION)
        return tc_fail(TC_UNIMPLEMENTED, "DLPack version %u.%u; only major version %d is supported",
                       (unsigned)managed->version.major, (unsigned)managed->version.minor,
                       DLPACK_MAJOR_VERSION);
    if (foreign->device.device_type != kDLCPU)
        return tc_fail(TC_UNIMPLEMENTED,
                       "the DLPack tensor is on device type %d; copy it to the CPU (type %d) first",
                       (int)foreign->device.device_type, kDLCPU);
    if (foreign->dtype.lanes != 1)
        return tc_fail(TC_UNIMPLEMENTED,
                       "the DLPack tensor has vector elements of %u lanes; only 1 is supported",
                       (unsigned)foreign->dtype.lanes);
    in->dtype = TC_DTYPE_INVALID;
    for (size_t i = 0; i < TC_DLPACK_DTYPES; i++)
        if (dlpack_dtypes[i].code == foreign->dtype.code &&
            dlpack_dtypes[i].bits == foreign->dtype.bits)
            in->dtype = dlpack_dtypes[i].dtype;
    if (in->dtype == TC_DTYPE_INVALID)
        return tc_fail(
            TC_UNIMPLEMENTED,
            "the DLPack tensor has elements of type code %u with %u bits, which no dtype "
            "corresponds to",
            (unsigned)foreign->dtype.code, (unsigned)foreign->dtype.bits);
    return TC_OK;
}

static tc_status read_shape(const DLTensor *foreign, tc_dlpack_import *in)
{
    if (foreign->ndim < 0 || foreign->ndim > TC_MAX_RANK)
        return tc_fail(TC_INVALID_ARGUMENT, "the DLPack tensor has rank %d; ranks are 0 to %d",
                       (int)foreign->ndim, TC_MAX_RANK);
    if (foreign->ndim > 0 && !foreign->shape)
        return tc_fail(TC_INVALID_ARGUMENT, "the shape of the DLPack tensor is NULL");
    for (int32_t i = 0; i < foreign->ndim; i++)
        if (foreign->shape[i] < 0)
            return tc_fail(TC_INVALID_ARGUMENT, "dimension %d of the DLPack tensor is %lld", (int)i,
                           (long long)foreign->shape[i]);
    in->shape = tc_shape_of((size_t)foreign->ndim, foreign->shape);
    return tc_tensor_measure(in->dtype, &in->shape, &in->size, &in->bytes);
}

/*
 * Strides to bytes, with every reachable offset checked to be representable, and whether they are
 * those of a dense tensor.
 */
static tc_status read_strides(const DLTensor *foreign, tc_dlpack_import *in)
{
    int64_t element = (int64_t)tc_dtype_size(in->dtype);
    int64_t dense[TC_MAX_RANK];
    tc_shape_strides(&in->shape, dense);
    const int64_t *strides = foreign->strides ? foreign->strides : dense;
    int64_t lowest = 0, highest = 0;
    in->dense = true;
    for (int32_t i = 0; i < in->shape.rank; i++) {
        int64_t size = in->shape.dims[i].size, reach;
        in->strides[i] = 0;
        if (in->size == 0 || size == 1) /* such a stride is never used and may hold anything */
            continue;
        int64_t *end = strides[i] < 0 ? &lowest : &highest;
        if (!tc_mul_i64(strides[i], element, &in->strides[i]) ||
            !tc_mul_i64(in->strides[i], size - 1, &reach) ||
            __builtin_add_overflow(*end, reach, end))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "stride %lld of dimension %d of the DLPack tensor is out of range",
                           (long long)strides[i], (int)i);
        if (strides[i] != dense[i])
            in->dense = false;
    }
    return TC_OK;
}

static tc_status read_data(const DLTensor *foreign, tc_dlpack_import *in)
{
    uintptr_t address = (uintptr_t)foreign->data;
    if (!foreign->data && in->size > 0)
        return tc_fail(TC_INVALID_ARGUMENT, "the data of the DLPack tensor is NULL");
    if (foreign->byte_offset > UINTPTR_MAX - address)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "the byte offset %llu of the DLPack tensor is out of range",
                       (unsigned long long)foreign->byte_offset);
    in->data = in->size > 0 ? (char *)foreign->data + foreign->byte_offset : NULL;
    return TC_OK;
}

static void copy_dimension(const tc_dlpack_import *in, int32_t axis, const char *from, char **to)
{
    size_t element = tc_dtype_size(in->dtype);
    if (axis == in->shape.rank) {
        memcpy(*to, from, element); /* bytes: the source may be unaligned */
        *to += element;
        return;
    }
    int64_t size = in->shape.dims[axis].size;
    if (axis == in->shape.rank - 1 && in->strides[axis] == (int64_t)element) {
        memcpy(*to, from, element * (size_t)size);
        *to += element * (size_t)size;
        return;
    }
    for (int64_t i = 0; i < size; i++)
        copy_dimension(in, axis + 1, from + i * in->strides[axis], to);
}

static void delete_import(void *context)
{
    DLManagedTensorVersioned *managed = context;
    if (managed->deleter)
        managed->deleter(managed);
}

tc_status tc_tensor_from_dlpack(struct DLManagedTensorVersioned *managed, bool copy_strided,
                                tc_tensor **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "the place for the new tensor is NULL");
    *out = NULL;
    if (!managed)
        return tc_fail(TC_INVALID_ARGUMENT, "the DLPack tensor is NULL");
    tc_dlpack_import in = {0};
    TC_TRY(read_kind(managed, &in));
    TC_TRY(read_shape(&managed->dl_tensor, &in));
    TC_TRY(read_strides(&managed->dl_tensor, &in));
    TC_TRY(read_data(&managed->dl_tensor, &in));
    bool aligned = (uintptr_t)in.data % tc_dtype_size(in.dtype) == 0;
    if (in.dense && aligned) {
        bool read_only = managed->flags & DLPACK_FLAG_BITMASK_READ_ONLY;
        return read_only ? tc_tensor_wrap_read_only(in.dtype, in.shape, in.data, delete_import,
                                                    managed, out)
                         : tc_tensor_wrap(in.dtype, in.shape, in.data, delete_import, managed, out);
    }
    char text[TC_SHAPE_TEXT_SIZE];
    if (!copy_strided)
        return tc_fail(TC_FAILED_PRECONDITION,
                       "the DLPack tensor of shape %s is %s; allow a copy with copy_strided",
                       tc_shape_text(&in.shape, text),
                       in.dense ? "not aligned to its element size" : "not dense row-major");
    TC_TRY(tc_tensor_create(in.dtype, in.shape, out));
    char *to = (*out)->data;
    copy_dimension(&in, 0, in.data, &to);
    delete_import(managed);
    return TC_OK;
}
