/* Writing IDX files for tests, good and bad. */
#ifndef TC_TEST_DATA_IDX_FILES_H
#define TC_TEST_DATA_IDX_FILES_H

#include <zlib.h>

#include "support/test.h"

#define IDX_MAX 4096

/** Bytes of a file in the making. */
typedef struct idx_bytes {
    unsigned char data[IDX_MAX];
    size_t size;
} idx_bytes;

static inline void idx_append(idx_bytes *b, const void *data, size_t size)
{
    assert_true(size <= IDX_MAX - b->size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

/** Magic number and dimensions. */
static inline idx_bytes idx_header(unsigned char type, size_t rank, const uint32_t *dims)
{
    idx_bytes b = {.size = 0};
    const unsigned char magic[] = {0, 0, type, (unsigned char)rank};
    idx_append(&b, magic, sizeof magic);
    for (size_t i = 0; i < rank; i++) {
        const unsigned char dim[] = {(unsigned char)(dims[i] >> 24), (unsigned char)(dims[i] >> 16),
                                     (unsigned char)(dims[i] >> 8), (unsigned char)dims[i]};
        idx_append(&b, dim, sizeof dim);
    }
    return b;
}

/** `element` of `size` bytes in this machine's order (little-endian), as the format wants it. */
static inline void idx_append_number(idx_bytes *b, const void *element, size_t size)
{
    const unsigned char *bytes = element;
    for (size_t i = size; i > 0; i--)
        idx_append(b, &bytes[i - 1], 1);
}

/** The same bytes as a gzip file. */
static inline idx_bytes idx_gzip(const idx_bytes *plain)
{
    idx_bytes packed = {.size = 0};
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)plain->data;
    z.avail_in = (unsigned)plain->size;
    z.next_out = packed.data;
    z.avail_out = IDX_MAX;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    packed.size = IDX_MAX - z.avail_out;
    assert_int_equal(deflateEnd(&z), Z_OK);
    return packed;
}

static inline void idx_write(const char *path, const idx_bytes *b)
{
    test_file_write(path, b->data, b->size);
}

#endif
