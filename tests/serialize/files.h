/* Bytes of files: reading, writing, and repairing their checksums after a change. */
#ifndef TC_TEST_SERIALIZE_FILES_H
#define TC_TEST_SERIALIZE_FILES_H

#include "base/crc32c.h"
#include "serialize/wire.h"

#include "support/test.h"

typedef struct file_bytes {
    uint8_t *data;
    size_t size;
} file_bytes;

static inline file_bytes file_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    file_bytes bytes = {.size = (size_t)ftell(file)};
    rewind(file);
    bytes.data = malloc(bytes.size + 1);
    assert_non_null(bytes.data);
    assert_int_equal(fread(bytes.data, 1, bytes.size, file), bytes.size);
    fclose(file);
    return bytes;
}

/**
 * Puts the right checksum into every record, and count and chain into the end record when that is
 * written as our writer does, so that a changed file gets past the checks of the container. Records
 * that are broken are left alone.
 */
static inline void file_repair(uint8_t *data, size_t size)
{
    uint32_t chain = 0;
    uint64_t count = 0;
    tc_wire wire = {data, size};
    uint64_t length;
    while (tc_wire_read_varint(&wire, &length) && length <= wire.size && length >= 5) {
        uint8_t *record = data + (wire.data - data);
        wire.data += length;
        wire.size -= length;
        if (record[0] == TC_WIRE_TAG(7, TC_WIRE_BYTES) && length >= 5 + 7 && count < 128) {
            /* records as a varint of one byte, then the chain */
            record[2] = TC_WIRE_TAG(1, TC_WIRE_VARINT);
            record[3] = (uint8_t)count;
            record[4] = TC_WIRE_TAG(2, TC_WIRE_FIXED32);
            tc_wire_put_fixed32(record + 5, chain);
        }
        uint8_t *crc = record + length - 4;
        crc[-1] = TC_WIRE_TAG(15, TC_WIRE_FIXED32);
        tc_wire_put_fixed32(crc, tc_crc32c(0, record, length - 5));
        chain = tc_crc32c(chain, crc, 4);
        count++;
    }
}

/** xorshift64*: the same numbers everywhere. */
static inline uint64_t file_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

#endif
