/* Bytes of files, to be changed. */
#ifndef TC_TEST_SERIALIZE_FILES_H
#define TC_TEST_SERIALIZE_FILES_H

#include "fuzz/container.h"

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

/** xorshift64*: the same numbers everywhere. */
static inline uint64_t file_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

#endif
