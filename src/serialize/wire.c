#include "serialize/wire.h"

bool tc_wire_read_varint(tc_wire *wire, uint64_t *value)
{
    uint64_t result = 0;
    for (size_t i = 0; i < TC_WIRE_VARINT_SIZE && i < wire->size; i++) {
        uint64_t bits = wire->data[i] & 0x7f;
        if (i == TC_WIRE_VARINT_SIZE - 1 && bits > 1)
            return false;
        result |= bits << 7 * i;
        if (wire->data[i] & 0x80)
            continue;
        wire->data += i + 1;
        wire->size -= i + 1;
        *value = result;
        return true;
    }
    return false;
}

static bool take(tc_wire *wire, size_t size, const uint8_t **data)
{
    if (size > wire->size)
        return false;
    *data = wire->data;
    wire->data += size;
    wire->size -= size;
    return true;
}

bool tc_wire_read_field(tc_wire *wire, tc_wire_field *field)
{
    uint64_t tag, length;
    if (!tc_wire_read_varint(wire, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return false;
    *field = (tc_wire_field){.number = (uint32_t)(tag >> 3), .type = (int)(tag & 7)};
    const uint8_t *data;
    switch (field->type) {
    case TC_WIRE_VARINT: return tc_wire_read_varint(wire, &field->value);
    case TC_WIRE_FIXED32:
        if (!take(wire, 4, &data))
            return false;
        field->value = tc_wire_fixed32(data);
        return true;
    case TC_WIRE_FIXED64:
        if (!take(wire, 8, &data))
            return false;
        field->value = tc_wire_fixed32(data) | (uint64_t)tc_wire_fixed32(data + 4) << 32;
        return true;
    case TC_WIRE_BYTES:
        if (!tc_wire_read_varint(wire, &length) || length > wire->size)
            return false;
        field->size = (size_t)length;
        return take(wire, field->size, &field->data);
    default: return false;
    }
}
