/* Changed files: putting their checksums right, giving them to a fuzz target. */
#ifndef TC_FUZZ_CONTAINER_H
#define TC_FUZZ_CONTAINER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "serialize/wire.h"

/**
 * Puts the right checksum into every record, and count and chain into the end record, as a writer
 * would have: without this hardly any changed file would get past the container. What is no record
 * is left alone.
 */
static inline void container_repair(uint8_t *data, size_t size)
{
    uint32_t chain = 0;
    uint64_t count = 0, length;
    tc_wire wire = {data, size};
    while (tc_wire_read_varint(&wire, &length) && length <= wire.size && length >= 5) {
        uint8_t *record = data + (wire.data - data);
        wire.data += length;
        wire.size -= length;
        if (record[0] == TC_WIRE_TAG(7, TC_WIRE_BYTES) && length >= 5 + 9 && count < 128) {
            record[1] = 7;
            record[2] = TC_WIRE_TAG(1, TC_WIRE_VARINT);
            record[3] = (uint8_t)count;
            record[4] = TC_WIRE_TAG(2, TC_WIRE_FIXED32);
            tc_wire_put_fixed32(record + 5, chain);
        }
        uint8_t *crc = record + length - 4;
        crc[-1] = TC_WIRE_TAG(15, TC_WIRE_FIXED32);
        tc_wire_put_fixed32(crc, tc_crc32c(0, record, (size_t)length - 5));
        chain = tc_crc32c(chain, crc, 4);
        count++;
    }
}

/** Calls `load` with the path of a file that holds `data`, twice. */
static inline void container_fuzz(const uint8_t *data, size_t size, void (*load)(const char *path))
{
    int file = memfd_create("fuzz", MFD_CLOEXEC);
    uint8_t *copy = malloc(size + 1);
    if (file >= 0 && copy) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        if (size > 0)
            memcpy(copy, data, size);
        for (int repaired = 0; repaired < 2; repaired++) {
            if (pwrite(file, copy, size, 0) == (ssize_t)size)
                load(path);
            container_repair(copy, size);
        }
    }
    free(copy);
    if (file >= 0)
        close(file);
}

#endif
