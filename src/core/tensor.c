#include "core/tensor.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"

/*
 * Up to here the elements follow the header in one allocation; above, they get a block of their
 * own, since large blocks come on whole pages and a header in front would push them off.
 */
#define TC_INLINE_BYTES ((size_t)4096)

tc_status tc_tensor_measure(tc_dtype dtype, const tc_shape *shape, int64_t *size, size_t *bytes)
{
    TC_TRY(tc_dtype_valid(dtype));
    TC_TRY(tc_shape_valid(shape));
    char text[TC_SHAPE_TEXT_SIZE];
    if (!tc_shape_is_known(shape))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "a tensor of shape %s cannot exist: every dimension must be known",
                       tc_shape_text(shape, text));
    /*
     * PTRDIFF_MAX, so that offsets within a tensor are always representable. Dimensions of 0 do not
     * count: strides of an empty tensor are computed like any others.
     */
    size_t span = tc_dtype_size(dtype);
    bool fits = true;
    for (int32_t i = 0; i < shape->rank; i++)
        if (shape->dims[i].size > 0)
            fits = fits && tc_mul_size(span, (size_t)shape->dims[i].size, &span);
    if (!fits || span > PTRDIFF_MAX - 2 * TC_ALIGNMENT)
        return tc_fail(TC_RESOURCE_EXHAUSTED, "a tensor of dtype %s and shape %s is too large",
                       tc_dtype_name(dtype), tc_shape_text(shape, text));
    *size = tc_shape_size(shape);
    *bytes = *size > 0 ? span : 0;
    return TC_OK;
}

static void initialize(tc_tensor *tensor, tc_dtype dtype, const tc_shape *shape, int64_t size,
                       size_t bytes)
{
    memset(tensor, 0, sizeof *tensor);
    atomic_init(&tensor->references, 1);
    tensor->dtype = dtype;
    tensor->shape = *shape;
    tensor->size = size;
    tensor->bytes = bytes;
}

tc_status tc_tensor_create(tc_dtype dtype, tc_shape shape, tc_tensor **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "the place for the new tensor is NULL");
    *out = NULL;
    int64_t size;
    size_t bytes;
    TC_TRY(tc_tensor_measure(dtype, &shape, &size, &bytes));
    size_t header = tc_align_up(sizeof(tc_tensor), TC_ALIGNMENT);
    /*
     * At least one element's room: empty tensors have a valid pointer too. Whole lines, for vectors
     * past the end.
     */
    size_t room = tc_align_up(bytes ? bytes : 1, TC_ALIGNMENT);
    bool in_line = room <= TC_INLINE_BYTES;
    tc_tensor *tensor = tc_alloc_aligned(in_line ? header + room : sizeof *tensor, TC_ALIGNMENT);
    void *data = NULL;
    if (tensor)
        data = in_line ? (char *)tensor + header : tc_alloc_aligned(room, TC_ALIGNMENT);
    if (!data) {
        tc_free(tensor);
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_fail(
            TC_RESOURCE_EXHAUSTED,
            "out of memory: cannot allocate %zu bytes for a tensor of dtype %s and shape %s", bytes,
            tc_dtype_name(dtype), tc_shape_text(&shape, text));
    }
    initialize(tensor, dtype, &shape, size, bytes);
    tensor->data = data;
    if (!in_line) {
        tensor->deleter = tc_free;
        tensor->context = data;
    }
    *out = tensor;
    return TC_OK;
}

tc_status tc_tensor_create_zero(tc_dtype dtype, tc_shape shape, tc_tensor **out)
{
    TC_TRY(tc_tensor_create(dtype, shape, out));
    memset((*out)->data, 0, (*out)->bytes);
    return TC_OK;
}

tc_status tc_tensor_create_copy(tc_dtype dtype, tc_shape shape, const void *data, tc_tensor **out)
{
    TC_TRY(tc_tensor_create(dtype, shape, out));
    size_t bytes = (*out)->bytes;
    if (bytes && !data) {
        tc_tensor_release(*out);
        *out = NULL;
        return tc_fail(TC_INVALID_ARGUMENT, "the elements to copy are NULL");
    }
    if (bytes)
        memcpy((*out)->data, data, bytes);
    return TC_OK;
}

static tc_status wrap(tc_dtype dtype, const tc_shape *shape, void *data,
                      void (*deleter)(void *context), void *context, bool read_only,
                      tc_tensor **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "the place for the new tensor is NULL");
    *out = NULL;
    int64_t size;
    size_t bytes;
    TC_TRY(tc_tensor_measure(dtype, shape, &size, &bytes));
    if (!data && bytes)
        return tc_fail(TC_INVALID_ARGUMENT, "the memory to wrap is NULL");
    if ((uintptr_t)data % tc_dtype_size(dtype))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "the memory to wrap is not aligned to the %zu bytes of an element of %s",
                       tc_dtype_size(dtype), tc_dtype_name(dtype));
    tc_tensor *tensor = tc_alloc_aligned(sizeof *tensor, TC_ALIGNMENT);
    if (!tensor)
        return tc_fail_memory(sizeof *tensor, "a tensor");
    initialize(tensor, dtype, shape, size, bytes);
    /*
     * Of an empty tensor nothing is read through the pointer, which must only not be NULL: the
     * header will do.
     */
    tensor->data = data ? data : tensor;
    tensor->deleter = deleter;
    tensor->context = context;
    tensor->read_only = read_only;
    *out = tensor;
    return TC_OK;
}

tc_status tc_tensor_wrap(tc_dtype dtype, tc_shape shape, void *data, void (*deleter)(void *context),
                         void *context, tc_tensor **out)
{
    return wrap(dtype, &shape, data, deleter, context, false, out);
}

tc_status tc_tensor_wrap_read_only(tc_dtype dtype, tc_shape shape, const void *data,
                                   void (*deleter)(void *context), void *context, tc_tensor **out)
{
    return wrap(dtype, &shape, (void *)(uintptr_t)data, deleter, context, true, out);
}

tc_status tc_tensor_create_scalar(tc_dtype dtype, double value, tc_tensor **out)
{
    TC_TRY(tc_tensor_create(dtype, TC_SCALAR, out));
    tc_dtype_store(dtype, (*out)->data, value);
    return TC_OK;
}

tc_tensor *tc_tensor_retain(tc_tensor *tensor)
{
    if (tensor)
        atomic_fetch_add_explicit(&tensor->references, 1, memory_order_relaxed);
    return tensor;
}

void tc_tensor_release(tc_tensor *tensor)
{
    while (tensor) {
        /*
         * Release: what this holder wrote is seen by the deleter. Acquire: the deleter sees what
         * all of them wrote.
         */
        if (atomic_fetch_sub_explicit(&tensor->references, 1, memory_order_acq_rel) != 1)
            return;
        tc_tensor *base = tensor->base;
        if (tensor->deleter)
            tensor->deleter(tensor->context);
        tc_free(tensor);
        tensor = base;
    }
}

tc_dtype tc_tensor_dtype(const tc_tensor *tensor)
{
    return tensor ? tensor->dtype : TC_DTYPE_INVALID;
}

const tc_shape *tc_tensor_shape(const tc_tensor *tensor)
{
    static const tc_shape invalid = {.rank = -1};
    return tensor ? &tensor->shape : &invalid;
}

int64_t tc_tensor_size(const tc_tensor *tensor)
{
    return tensor ? tensor->size : 0;
}

size_t tc_tensor_bytes(const tc_tensor *tensor)
{
    return tensor ? tensor->bytes : 0;
}

void *tc_tensor_data(const tc_tensor *tensor)
{
    return tensor ? tensor->data : NULL;
}

bool tc_tensor_is_unique(const tc_tensor *tensor)
{
    /*
     * A view is unique when nobody holds its base either: the base has then just the view's
     * reference.
     */
    return atomic_load_explicit(&((tc_tensor *)(uintptr_t)tensor)->references,
                                memory_order_acquire) == 1 &&
           (!tensor->base || tc_tensor_is_unique(tensor->base));
}

void tc_tensor_freeze(tc_tensor *tensor)
{
    atomic_store_explicit(&tensor->read_only, true, memory_order_relaxed);
}

bool tc_tensor_is_read_only(const tc_tensor *tensor)
{
    return atomic_load_explicit(&tensor->read_only, memory_order_relaxed);
}

/* The tensor whose storage this one shows. */
static const tc_tensor *owner(const tc_tensor *tensor)
{
    return tensor->base ? tensor->base : tensor;
}

bool tc_tensor_is_mapped(const tc_tensor *tensor)
{
    return owner(tensor)->source != NULL;
}

tc_status tc_tensor_check(const tc_tensor *tensor)
{
    const tc_tensor *from = owner(tensor);
    return from->source ? from->source->check(from->context) : TC_OK;
}

void tc_tensor_forget(const tc_tensor *tensor)
{
    const tc_tensor *from = owner(tensor);
    if (from->source)
        from->source->forget(from->context);
}

tc_status tc_tensor_reshape(tc_tensor *tensor, tc_shape shape, tc_tensor **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "the place for the new tensor is NULL");
    *out = NULL;
    if (!tensor)
        return tc_fail(TC_INVALID_ARGUMENT, "the tensor to reshape is NULL");
    int64_t size;
    size_t bytes;
    TC_TRY(tc_tensor_measure(tensor->dtype, &shape, &size, &bytes));
    if (size != tensor->size) {
        char from[TC_SHAPE_TEXT_SIZE], to[TC_SHAPE_TEXT_SIZE];
        return tc_fail(TC_INVALID_ARGUMENT,
                       "cannot reshape %s to %s: they have %lld and %lld elements",
                       tc_shape_text(&tensor->shape, from), tc_shape_text(&shape, to),
                       (long long)tensor->size, (long long)size);
    }
    tc_tensor *view = tc_alloc_aligned(sizeof *view, TC_ALIGNMENT);
    if (!view)
        return tc_fail_memory(sizeof *view, "a tensor");
    initialize(view, tensor->dtype, &shape, size, bytes);
    view->data = tensor->data;
    view->read_only = tensor->read_only;
    view->base = tc_tensor_retain(tensor->base ? tensor->base : tensor);
    *out = view;
    return TC_OK;
}

static void *element_at(const tc_tensor *tensor, int64_t index)
{
    return (char *)tensor->data + (size_t)index * tc_dtype_size(tensor->dtype);
}

double tc_tensor_get(const tc_tensor *tensor, int64_t index)
{
    if (!tensor || index < 0 || index >= tensor->size)
        return 0;
    return tc_dtype_load(tensor->dtype, element_at(tensor, index));
}

tc_status tc_tensor_set(tc_tensor *tensor, int64_t index, double value)
{
    if (!tensor)
        return tc_fail(TC_INVALID_ARGUMENT, "the tensor to set an element of is NULL");
    if (index < 0 || index >= tensor->size)
        return tc_fail(TC_OUT_OF_RANGE, "element %lld of a tensor of %lld elements",
                       (long long)index, (long long)tensor->size);
    if (tensor->read_only)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "the memory of the tensor is read-only; copy it with tc_tensor_create_copy");
    tc_dtype_store(tensor->dtype, element_at(tensor, index), value);
    return TC_OK;
}
