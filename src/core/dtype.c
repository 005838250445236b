#include "core/dtype.h"

#include <string.h>

#include "base/status.h"
#include "core/float16.h"

typedef struct tc_dtype_info {
    const char *name;
    int32_t bits;
    int32_t storable; /* whether tensors of it can exist */
} tc_dtype_info;

static const tc_dtype_info dtypes[TC_DTYPE_COUNT] = {
    [TC_DTYPE_INVALID] = {"invalid", 0, 0},
    [TC_F32] = {"f32", 32, 1},
    [TC_F64] = {"f64", 64, 1},
    [TC_F16] = {"f16", 16, 1},
    [TC_BF16] = {"bf16", 16, 1},
    [TC_I8] = {"i8", 8, 1},
    [TC_I16] = {"i16", 16, 1},
    [TC_I32] = {"i32", 32, 1},
    [TC_I64] = {"i64", 64, 1},
    [TC_U8] = {"u8", 8, 1},
    [TC_U16] = {"u16", 16, 1},
    [TC_U32] = {"u32", 32, 1},
    [TC_U64] = {"u64", 64, 1},
    [TC_BOOL] = {"bool", 8, 1},
    [TC_F8E4M3] = {"f8e4m3", 8, 0},
    [TC_F8E5M2] = {"f8e5m2", 8, 0},
    [TC_I4] = {"i4", 4, 0},
    [TC_U4] = {"u4", 4, 0},
    [TC_C64] = {"c64", 64, 0},
    [TC_C128] = {"c128", 128, 0},
    [TC_STRING] = {"string", 0, 0},
};

/* Any number may come in from a file. */
static const tc_dtype_info *info_of(tc_dtype dtype)
{
    return &dtypes[(unsigned)dtype < TC_DTYPE_COUNT ? dtype : TC_DTYPE_INVALID];
}

const char *tc_dtype_name(tc_dtype dtype)
{
    return info_of(dtype)->name;
}

int32_t tc_dtype_bits(tc_dtype dtype)
{
    return info_of(dtype)->bits;
}

tc_dtype tc_dtype_from_name(const char *name)
{
    if (!name)
        return TC_DTYPE_INVALID;
    for (int i = TC_DTYPE_INVALID + 1; i < TC_DTYPE_COUNT; i++)
        if (strcmp(name, dtypes[i].name) == 0)
            return (tc_dtype)i;
    return TC_DTYPE_INVALID;
}

size_t tc_dtype_size(tc_dtype dtype)
{
    const tc_dtype_info *info = info_of(dtype);
    return info->storable ? (size_t)info->bits / 8 : 0;
}

tc_status tc_dtype_valid(tc_dtype dtype)
{
    const tc_dtype_info *info = info_of(dtype);
    if (info->storable)
        return TC_OK;
    if ((unsigned)dtype >= TC_DTYPE_COUNT || dtype == TC_DTYPE_INVALID)
        return tc_fail(TC_INVALID_ARGUMENT, "%d is not the number of a dtype", (int)dtype);
    return tc_fail(TC_INVALID_ARGUMENT, "tensors of dtype %s are not supported by this version",
                   info->name);
}

double tc_dtype_load(tc_dtype dtype, const void *element)
{
    switch (dtype) {
    case TC_F32: return *(const float *)element;
    case TC_F64: return *(const double *)element;
    case TC_F16: return tc_f16_to_f64(*(const uint16_t *)element);
    case TC_BF16: return tc_bf16_to_f64(*(const uint16_t *)element);
    case TC_I8: return *(const int8_t *)element;
    case TC_I16: return *(const int16_t *)element;
    case TC_I32: return *(const int32_t *)element;
    case TC_I64: return (double)*(const int64_t *)element;
    case TC_U8: return *(const uint8_t *)element;
    case TC_U16: return *(const uint16_t *)element;
    case TC_U32: return *(const uint32_t *)element;
    case TC_U64: return (double)*(const uint64_t *)element;
    case TC_BOOL: return *(const uint8_t *)element != 0;
    default: return 0;
    }
}

/* Conversion of what does not fit is undefined in C, and NaN compares false with both bounds. */
static int64_t to_signed(double value, int bits)
{
    int64_t highest = INT64_MAX >> (64 - bits);
    if (value != value)
        return 0;
    /* 2^(bits - 1) is exact as a double where the highest value of 64 bits is not. */
    double limit = (double)((uint64_t)1 << (bits - 1));
    if (value >= limit)
        return highest;
    if (value < -limit)
        return -highest - 1;
    return (int64_t)value;
}

static uint64_t to_unsigned(double value, int bits)
{
    if (!(value > 0)) /* NaN too */
        return 0;
    if (value >= 2.0 * (double)((uint64_t)1 << (bits - 1)))
        return UINT64_MAX >> (64 - bits);
    return (uint64_t)value;
}

void tc_dtype_store(tc_dtype dtype, void *element, double value)
{
    switch (dtype) {
    case TC_F32: *(float *)element = (float)value; break;
    case TC_F64: *(double *)element = value; break;
    case TC_F16: *(uint16_t *)element = tc_f64_to_f16(value); break;
    case TC_BF16: *(uint16_t *)element = tc_f64_to_bf16(value); break;
    case TC_I8: *(int8_t *)element = (int8_t)to_signed(value, 8); break;
    case TC_I16: *(int16_t *)element = (int16_t)to_signed(value, 16); break;
    case TC_I32: *(int32_t *)element = (int32_t)to_signed(value, 32); break;
    case TC_I64: *(int64_t *)element = to_signed(value, 64); break;
    case TC_U8: *(uint8_t *)element = (uint8_t)to_unsigned(value, 8); break;
    case TC_U16: *(uint16_t *)element = (uint16_t)to_unsigned(value, 16); break;
    case TC_U32: *(uint32_t *)element = (uint32_t)to_unsigned(value, 32); break;
    case TC_U64: *(uint64_t *)element = to_unsigned(value, 64); break;
    case TC_BOOL: *(uint8_t *)element = value != 0; break;
    default: break;
    }
}
