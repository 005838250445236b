/*
 * Conversions of the 16-bit floats, kept as uint16_t bit patterns: f16 is IEEE 754 binary16, bf16
 * the upper half of binary32. Rounding is to nearest, ties to even. A NaN stays a NaN (made quiet,
 * with its sign and the upper part of its payload). Conversions from double round once. Portable
 * scalar code, the reference for the vector kernels.
 */
#ifndef TC_CORE_FLOAT16_H
#define TC_CORE_FLOAT16_H

#include <stdint.h>
#include <string.h>

#include "core/anywhere.h"

TC_ANYWHERE uint32_t tc_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

TC_ANYWHERE float tc_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

TC_ANYWHERE uint64_t tc_f64_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

TC_ANYWHERE float tc_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) { /* infinity; NaN with the quiet bit set */
        uint32_t quiet = magnitude > 0x7c00u ? 0x400000u : 0;
        return tc_f32_from_bits(sign | 0x7f800000u | quiet | (magnitude & 0x3ffu) << 13);
    }
    if (magnitude < 0x400u) /* subnormal: exact as an integer times 2^-24 */
        return tc_f32_from_bits(sign | tc_f32_bits((float)magnitude * 0x1p-24f));
    return tc_f32_from_bits(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
}

TC_ANYWHERE double tc_f16_to_f64(uint16_t half)
{
    return (double)tc_f16_to_f32(half);
}

TC_ANYWHERE uint16_t tc_f32_to_f16(float value)
{
    uint32_t bits = tc_f32_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520, half-way to 2^16, and above */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >=
        0x38800000u) { /* 2^-14: normal; the carry of the rounding may enter the exponent */
        uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        return (uint16_t)(sign | ((rounded - ((127u - 15u) << 23)) >> 13));
    }
    if (magnitude < 0x33000000u) /* below 2^-25, half of the smallest subnormal */
        return sign;
    uint32_t shift = 126u - (magnitude >> 23); /* 14..24: counts in units of 2^-24 */
    uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t half = mantissa >> shift;
    uint32_t rest = mantissa & ((1u << shift) - 1u);
    uint32_t middle = 1u << (shift - 1u);
    half += rest > middle || (rest == middle && (half & 1u));
    return (uint16_t)(sign | half);
}

/*
 * Double to a 16-bit float of `exponent_bits` and 15 - exponent_bits mantissa bits. Separate from
 * the float path because rounding to float first would round twice.
 */
TC_ANYWHERE uint16_t tc_f64_to_16_(double value, unsigned exponent_bits)
{
    unsigned mantissa_bits = 15u - exponent_bits;
    uint32_t infinity = ((1u << exponent_bits) - 1u) << mantissa_bits;
    int bias = (1 << (exponent_bits - 1u)) - 1;
    uint64_t bits = tc_f64_bits(value);
    uint32_t sign = (uint32_t)(bits >> 48 & 0x8000u);
    uint64_t mantissa = bits & 0xfffffffffffffu;
    int exponent = (int)(bits >> 52 & 0x7ffu);
    if (exponent == 0x7ff) {
        uint32_t payload = (uint32_t)(mantissa >> (52u - mantissa_bits));
        return (uint16_t)(sign | infinity | (mantissa ? payload | 1u << (mantissa_bits - 1u) : 0));
    }
    if (exponent == 0) /* zero and double subnormals, far below half of the smallest target */
        return (uint16_t)sign;
    exponent += bias - 1023; /* biased for the target; below 1 is subnormal there */
    if (exponent >= (1 << exponent_bits) - 1)
        return (uint16_t)(sign | infinity);
    unsigned shift = 52u - mantissa_bits;
    mantissa |= (uint64_t)1 << 52;
    if (exponent < 1) {
        if (exponent < -(int)mantissa_bits)
            return (uint16_t)sign;
        shift += (unsigned)(1 - exponent);
        exponent = 1;
    }
    uint64_t rounded = mantissa >> shift;
    uint64_t rest = mantissa & (((uint64_t)1 << shift) - 1u);
    uint64_t middle = (uint64_t)1 << (shift - 1u);
    rounded += rest > middle || (rest == middle && (rounded & 1u));
    /*
     * The implicit bit, present unless subnormal, raises the exponent by the 1 that is taken off
     * here.
     */
    return (uint16_t)(sign | (((uint32_t)(exponent - 1) << mantissa_bits) + (uint32_t)rounded));
}

TC_ANYWHERE uint16_t tc_f64_to_f16(double value)
{
    return tc_f64_to_16_(value, 5);
}

TC_ANYWHERE float tc_bf16_to_f32(uint16_t brain)
{
    uint32_t quiet = (brain & 0x7fffu) > 0x7f80u ? 0x400000u : 0;
    return tc_f32_from_bits((uint32_t)brain << 16 | quiet);
}

TC_ANYWHERE double tc_bf16_to_f64(uint16_t brain)
{
    return (double)tc_bf16_to_f32(brain);
}

TC_ANYWHERE uint16_t tc_f32_to_bf16(float value)
{
    uint32_t bits = tc_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

TC_ANYWHERE uint16_t tc_f64_to_bf16(double value)
{
    return tc_f64_to_16_(value, 8);
}

#endif
