/*
 * The protobuf wire format, for records whose payloads must not be copied
 * (protobuf.dev/programming-guides/encoding). Everything else goes through protobuf-c.
 */
#ifndef TC_SERIALIZE_WIRE_H
#define TC_SERIALIZE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TC_WIRE_VARINT = 0, TC_WIRE_FIXED64 = 1, TC_WIRE_BYTES = 2, TC_WIRE_FIXED32 = 5 };

/** Longest varint. */
#define TC_WIRE_VARINT_SIZE 10

#define TC_WIRE_TAG(number, type) ((uint32_t)(number) << 3 | (uint32_t)(type))

/** Bytes of `value` as a varint. */
static inline size_t tc_wire_varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

/** Writes `value` at `out`; returns the byte after it. */
static inline uint8_t *tc_wire_put_varint(uint8_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static inline uint8_t *tc_wire_put_fixed32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

static inline uint32_t tc_wire_fixed32(const uint8_t *data)
{
    return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

/** Bytes not yet read. */
typedef struct tc_wire {
    const uint8_t *data;
    size_t size;
} tc_wire;

/** One field: `data`, `size` of TC_WIRE_BYTES, `value` of the others. */
typedef struct tc_wire_field {
    uint32_t number;
    int type;
    uint64_t value;
    const uint8_t *data;
    size_t size;
} tc_wire_field;

/** False at the end of the bytes and for a varint of more than 64 bits; then nothing is read. */
bool tc_wire_read_varint(tc_wire *wire, uint64_t *value);
/** The next field; false when it is malformed. Groups are not supported. */
bool tc_wire_read_field(tc_wire *wire, tc_wire_field *field);

#endif
