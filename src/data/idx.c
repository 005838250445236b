/* The IDX format: two zero bytes, a type, the rank, big-endian u32 dimensions, big-endian elements.
 */
#include <errno.h>
#include <string.h>

#include <zlib.h>

#include <tensorc/data.h>

#include "fail.h"

typedef struct reader {
    const char *path;
    gzFile file; /* reads plain files as they are */
    int64_t offset;
} reader;

static tc_status open_file(const char *path, reader *r)
{
    *r = (reader){.path = path};
    errno = 0;
    r->file = gzopen(path, "rb");
    if (r->file) {
        gzbuffer(r->file, 1 << 16);
        return TC_OK;
    }
    if (errno == ENOENT || errno == ENOTDIR)
        return tc_data_fail(TC_NOT_FOUND, "'%s': there is no such file", path);
    if (errno == EACCES)
        return tc_data_fail(TC_PERMISSION_DENIED, "'%s': permission denied", path);
    if (errno == 0 || errno == ENOMEM)
        return tc_data_fail(TC_RESOURCE_EXHAUSTED, "'%s': out of memory to open it", path);
    return tc_data_fail(TC_UNAVAILABLE, "'%s': cannot be opened: %s", path, strerror(errno));
}

/* `field` names what is read, for the message. */
static tc_status read_bytes(reader *r, void *data, size_t size, const char *field)
{
    size_t done = 0;
    while (done < size) {
        size_t left = size - done;
        unsigned chunk = left > (1u << 30) ? 1u << 30 : (unsigned)left;
        int got = gzread(r->file, (char *)data + done, chunk);
        if (got < 0) {
            int code;
            const char *why = gzerror(r->file, &code);
            return tc_data_fail(code == Z_ERRNO ? TC_UNAVAILABLE : TC_DATA_LOSS,
                                "'%s': %s at offset %lld: %s", r->path, field,
                                (long long)(r->offset + (int64_t)done),
                                code == Z_ERRNO ? strerror(errno) : why);
        }
        if (got == 0)
            return tc_data_fail(TC_DATA_LOSS,
                                "'%s': the file ends at offset %lld, in the middle of %s", r->path,
                                (long long)(r->offset + (int64_t)done), field);
        done += (size_t)got;
    }
    r->offset += (int64_t)size;
    return TC_OK;
}

static tc_dtype dtype_of(unsigned char type)
{
    switch (type) {
    case 0x08: return TC_U8;
    case 0x09: return TC_I8;
    case 0x0b: return TC_I16;
    case 0x0c: return TC_I32;
    case 0x0d: return TC_F32;
    case 0x0e: return TC_F64;
    default: return TC_DTYPE_INVALID;
    }
}

static tc_status read_header(reader *r, tc_dtype *dtype, tc_shape *shape)
{
    unsigned char magic[4];
    TC_TRY(read_bytes(r, magic, sizeof magic, "the magic number"));
    *dtype = dtype_of(magic[2]);
    if (magic[0] != 0 || magic[1] != 0 || *dtype == TC_DTYPE_INVALID)
        return tc_data_fail(TC_DATA_LOSS,
                            "'%s': no IDX file: the magic number at offset 0 is %02x%02x%02x%02x",
                            r->path, magic[0], magic[1], magic[2], magic[3]);
    if (magic[3] > TC_MAX_RANK)
        return tc_data_fail(TC_DATA_LOSS, "'%s': rank %d at offset 3 is more than %d", r->path,
                            magic[3], TC_MAX_RANK);
    int64_t sizes[TC_MAX_RANK];
    for (int i = 0; i < magic[3]; i++) {
        unsigned char b[4];
        TC_TRY(read_bytes(r, b, sizeof b, "the dimensions"));
        sizes[i] = (int64_t)b[0] << 24 | (int64_t)b[1] << 16 | (int64_t)b[2] << 8 | (int64_t)b[3];
    }
    *shape = tc_shape_of(magic[3], sizes);
    return TC_OK;
}

/*
 * The elements are read into memory that grows with what the file really holds: a header that
 * promises more than that must not cost memory.
 */
static tc_status read_elements(reader *r, size_t bytes, char **out)
{
    size_t capacity = bytes < (1u << 20) ? bytes : 1u << 20;
    size_t done = 0;
    char *data = tc_memory_allocate(capacity);
    *out = NULL;
    while (data) {
        tc_status status = read_bytes(r, data + done, capacity - done, "the elements");
        if (status != TC_OK) {
            tc_memory_free(data);
            return status;
        }
        done = capacity;
        if (done == bytes) {
            *out = data;
            return TC_OK;
        }
        capacity = capacity > bytes / 2 ? bytes : 2 * capacity;
        char *more = tc_memory_allocate(capacity);
        if (more)
            memcpy(more, data, done);
        tc_memory_free(data);
        data = more;
    }
    return tc_data_fail(TC_RESOURCE_EXHAUSTED, "'%s': out of memory for %zu bytes of elements",
                        r->path, bytes);
}

/* Nothing may follow the elements; at its end a gzip file proves its checksum and length. */
static tc_status read_end(reader *r)
{
    char extra;
    int code;
    int got = gzread(r->file, &extra, 1);
    if (got > 0)
        return tc_data_fail(TC_DATA_LOSS,
                            "'%s': the file goes on at offset %lld, after the last element",
                            r->path, (long long)r->offset);
    const char *why = gzerror(r->file, &code);
    if (got < 0 || code == Z_BUF_ERROR)
        return tc_data_fail(TC_DATA_LOSS, "'%s': the checksum after offset %lld: %s", r->path,
                            (long long)r->offset, code == Z_ERRNO ? strerror(errno) : why);
    return TC_OK;
}

/* From big-endian to this machine's order. */
static void order_bytes(char *data, size_t bytes, size_t element)
{
    const uint16_t probe = 1;
    if (element == 1 || *(const unsigned char *)&probe == 0)
        return;
    for (char *p = data; p < data + bytes; p += element) {
        for (size_t i = 0; i < element / 2; i++) {
            char byte = p[i];
            p[i] = p[element - 1 - i];
            p[element - 1 - i] = byte;
        }
    }
}

static tc_status read_tensor(reader *r, tc_tensor **out)
{
    tc_dtype dtype;
    tc_shape shape;
    TC_TRY(read_header(r, &dtype, &shape));
    int64_t size = tc_shape_size(&shape);
    size_t element = (size_t)tc_dtype_bits(dtype) / 8;
    if (size < 0 || (uint64_t)size > SIZE_MAX / 2 / element)
        return tc_data_fail(TC_DATA_LOSS, "'%s': the dimensions at offset 4 are too large",
                            r->path);
    size_t bytes = (size_t)size * element;
    char *data;
    TC_TRY(read_elements(r, bytes, &data));
    tc_status status = read_end(r);
    if (status == TC_OK) {
        order_bytes(data, bytes, element);
        status = tc_tensor_wrap(dtype, shape, data, tc_memory_free, data, out);
    }
    if (status != TC_OK)
        tc_memory_free(data);
    return status;
}

tc_status tc_idx_load(const char *path, tc_tensor **out)
{
    if (out)
        *out = NULL;
    if (!path || !out)
        return tc_data_fail(TC_INVALID_ARGUMENT, "idx: path or out is NULL");
    reader r;
    TC_TRY(open_file(path, &r));
    tc_status status = read_tensor(&r, out);
    gzclose(r.file);
    return status;
}
