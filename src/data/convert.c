#include "convert.h"

#include <string.h>

typedef void (*convert_function)(const void *from, int64_t count, double scale, double offset,
                                 void *to);

/* Towards zero; what does not fit becomes the nearest integer that does, NaN 0. */
#define CONVERT_INTEGER(to_type, least, most, above)                    \
    static inline to_type double_as_##to_type(double x)                 \
    {                                                                   \
        if (x >= (above))                                               \
            return (most);                                              \
        return x >= (double)(least) ? (to_type)x : x < 0 ? (least) : 0; \
    }
CONVERT_INTEGER(int32_t, INT32_MIN, INT32_MAX, 0x1p31)
CONVERT_INTEGER(int64_t, INT64_MIN, INT64_MAX, 0x1p63)
#define float_as_float(x)   (x)
#define double_as_double(x) (x)

/* f32 batches are computed in f32, all others in f64. */
#define CONVERT(from_type, to_type, number)                                             \
    static void from_type##_to_##to_type(const void *from, int64_t count, double scale, \
                                         double offset, void *to)                       \
    {                                                                                   \
        const from_type *in = from;                                                     \
        to_type *out = to;                                                              \
        number a = (number)scale, b = (number)offset;                                   \
        for (int64_t i = 0; i < count; i++)                                             \
            out[i] = number##_as_##to_type((number)in[i] * a + b);                      \
    }

#define CONVERT_ALL(from_type)          \
    CONVERT(from_type, float, float)    \
    CONVERT(from_type, double, double)  \
    CONVERT(from_type, int32_t, double) \
    CONVERT(from_type, int64_t, double)

CONVERT_ALL(float)
CONVERT_ALL(double)
CONVERT_ALL(int8_t)
CONVERT_ALL(int16_t)
CONVERT_ALL(int32_t)
CONVERT_ALL(int64_t)
CONVERT_ALL(uint8_t)
CONVERT_ALL(uint16_t)
CONVERT_ALL(uint32_t)
CONVERT_ALL(uint64_t)

#define CONVERT_ROW(dtype, from_type)                                               \
    [dtype] = {from_type##_to_float, from_type##_to_double, from_type##_to_int32_t, \
               from_type##_to_int64_t}

enum { TO_F32, TO_F64, TO_I32, TO_I64, TO_COUNT };

static const convert_function converters[TC_DTYPE_COUNT][TO_COUNT] = {
    CONVERT_ROW(TC_F32, float),    CONVERT_ROW(TC_F64, double),   CONVERT_ROW(TC_I8, int8_t),
    CONVERT_ROW(TC_I16, int16_t),  CONVERT_ROW(TC_I32, int32_t),  CONVERT_ROW(TC_I64, int64_t),
    CONVERT_ROW(TC_U8, uint8_t),   CONVERT_ROW(TC_U16, uint16_t), CONVERT_ROW(TC_U32, uint32_t),
    CONVERT_ROW(TC_U64, uint64_t), CONVERT_ROW(TC_BOOL, uint8_t)};

static bool is_copy(const tc_column *column)
{
    return column->dtype == tc_tensor_dtype(column->data) && column->scale == 1 &&
           column->offset == 0;
}

static convert_function find_converter(const tc_column *column)
{
    tc_dtype from = tc_tensor_dtype(column->data);
    switch (column->dtype) {
    case TC_F32: return converters[from][TO_F32];
    case TC_F64: return converters[from][TO_F64];
    case TC_I32: return converters[from][TO_I32];
    case TC_I64: return converters[from][TO_I64];
    default: return NULL;
    }
}

bool tc_can_convert(const tc_column *column)
{
    return is_copy(column) || find_converter(column) != NULL;
}

void tc_convert_rows(const tc_column *column, const int64_t *order, int64_t first, int64_t count,
                     void *out)
{
    const tc_shape *shape = tc_tensor_shape(column->data);
    int64_t rows = shape->dims[0].size;
    int64_t elements = rows > 0 ? tc_tensor_size(column->data) / rows : 0;
    size_t from_bytes = (size_t)elements * (size_t)tc_dtype_bits(tc_tensor_dtype(column->data)) / 8;
    size_t to_bytes = (size_t)elements * (size_t)tc_dtype_bits(column->dtype) / 8;
    convert_function convert = is_copy(column) ? NULL : find_converter(column);
    const char *data = tc_tensor_data(column->data);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = order ? order[i] : first + i;
        const char *from = data + (size_t)row * from_bytes;
        char *to = (char *)out + (size_t)i * to_bytes;
        if (convert)
            convert(from, elements, column->scale, column->offset, to);
        else if (to_bytes > 0)
            memcpy(to, from, to_bytes);
    }
}
