#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "core/tensor.h"
#include "serialize/records.h"
#include "tensorc/version.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors are stored and mapped as little-endian");

/* What a payload record has besides name and payload: tags, lengths, dtype, shape, padding. */
#define PREFIX_ROOM 256

enum {
    crc_number = 15,
    crc_size = 5,
    name_number = 1,
    dtype_number = 2,
    shape_number = 3,
    offset_number = 4,
    padding_number = 14,
    data_number = 15,
};

bool tc_text_is_utf8(const char *text)
{
    /* Ranges of RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
    static const struct {
        uint8_t first, last, low, high, more;
    } ranges[] = {
        {0x01, 0x7f, 0, 0, 0},       {0xc2, 0xdf, 0x80, 0xbf, 1}, {0xe0, 0xe0, 0xa0, 0xbf, 2},
        {0xe1, 0xec, 0x80, 0xbf, 2}, {0xed, 0xed, 0x80, 0x9f, 2}, {0xee, 0xef, 0x80, 0xbf, 2},
        {0xf0, 0xf0, 0x90, 0xbf, 3}, {0xf1, 0xf3, 0x80, 0xbf, 3}, {0xf4, 0xf4, 0x80, 0x8f, 3},
    };
    const size_t n_ranges = sizeof ranges / sizeof ranges[0];
    const uint8_t *c = (const uint8_t *)text;
    while (*c) {
        size_t r = 0;
        while (r < n_ranges && (*c < ranges[r].first || *c > ranges[r].last))
            r++;
        if (r == n_ranges)
            return false;
        c++;
        for (int i = 0; i < ranges[r].more; i++, c++)
            if (*c < (i == 0 ? ranges[r].low : 0x80) || *c > (i == 0 ? ranges[r].high : 0xbf))
                return false;
    }
    return true;
}

static tc_status put(tc_records_writer *writer, const void *data, size_t size)
{
    writer->crc = tc_crc32c(writer->crc, data, size);
    return tc_outfile_write(&writer->output, data, size);
}

/* Begins a record whose content of `size` bytes follows. */
static tc_status begin_record(tc_records_writer *writer, uint32_t number, size_t size)
{
    uint8_t bytes[2 * TC_WIRE_VARINT_SIZE + 1], *end = bytes;
    end = tc_wire_put_varint(end, TC_WIRE_TAG(number, TC_WIRE_BYTES));
    end = tc_wire_put_varint(end, size);
    size_t head = (size_t)(end - bytes);
    uint8_t length[TC_WIRE_VARINT_SIZE];
    size_t length_size = (size_t)(tc_wire_put_varint(length, head + size + crc_size) - length);
    writer->crc = 0;
    TC_TRY(tc_outfile_write(&writer->output, length, length_size));
    return put(writer, bytes, head);
}

static tc_status end_record(tc_records_writer *writer)
{
    uint8_t bytes[crc_size];
    tc_wire_put_fixed32(tc_wire_put_varint(bytes, TC_WIRE_TAG(crc_number, TC_WIRE_FIXED32)),
                        writer->crc);
    writer->chain = tc_crc32c(writer->chain, bytes + 1, crc_size - 1);
    writer->count++;
    return tc_outfile_write(&writer->output, bytes, crc_size);
}

tc_status tc_records_put(tc_records_writer *writer, uint32_t number,
                         const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > TC_PAYLOAD_MAX)
        return tc_fail(TC_RESOURCE_EXHAUSTED,
                       "a %s of %zu bytes is too large for one record, which holds at most %zu",
                       message->descriptor->short_name, size, TC_PAYLOAD_MAX);
    uint8_t *bytes = tc_alloc(size);
    if (!bytes)
        return tc_fail_memory(size, "writing a record");
    protobuf_c_message_pack(message, bytes);
    tc_status status = begin_record(writer, number, size);
    if (status == TC_OK)
        status = put(writer, bytes, size);
    tc_free(bytes);
    return status == TC_OK ? end_record(writer) : status;
}

/* Bytes of padding that make the payload begin aligned. More padding may lengthen the lengths in
 * front of it, so that it cannot simply be computed. */
static size_t find_padding(const tc_records_writer *writer, size_t prefix, size_t size)
{
    for (size_t padding = 0;; padding++) {
        size_t head = prefix + 2 + padding + 1 + tc_wire_varint_size(size);
        size_t content = head + size;
        size_t record = 1 + tc_wire_varint_size(content) + content + crc_size;
        uint64_t begin = writer->output.offset + tc_wire_varint_size(record) + 1 +
                         tc_wire_varint_size(content) + head;
        if (begin % TC_PAYLOAD_ALIGNMENT == 0)
            return padding;
    }
}

/* A record of the fields in `prefix`, padding and payload. */
static tc_status put_payload(tc_records_writer *writer, uint32_t number, const uint8_t *prefix,
                             size_t prefix_size, const void *data, size_t size)
{
    static const uint8_t zeros[2 * TC_PAYLOAD_ALIGNMENT];
    size_t padding = find_padding(writer, prefix_size, size);
    uint8_t pad[2], head[1 + TC_WIRE_VARINT_SIZE];
    uint8_t *pad_end = tc_wire_put_varint(pad, TC_WIRE_TAG(padding_number, TC_WIRE_BYTES));
    tc_wire_put_varint(pad_end, padding);
    uint8_t *head_end = tc_wire_put_varint(head, TC_WIRE_TAG(data_number, TC_WIRE_BYTES));
    size_t head_size = (size_t)(tc_wire_put_varint(head_end, size) - head);
    TC_TRY(begin_record(writer, number, prefix_size + sizeof pad + padding + head_size + size));
    TC_TRY(put(writer, prefix, prefix_size));
    TC_TRY(put(writer, pad, sizeof pad));
    TC_TRY(put(writer, zeros, padding));
    TC_TRY(put(writer, head, head_size));
    TC_TRY(put(writer, data, size));
    return end_record(writer);
}

static uint8_t *put_bytes_field(uint8_t *out, uint32_t number, const void *data, size_t size)
{
    out = tc_wire_put_varint(out, TC_WIRE_TAG(number, TC_WIRE_BYTES));
    out = tc_wire_put_varint(out, size);
    if (size > 0)
        memcpy(out, data, size);
    return out + size;
}

static uint8_t *put_varint_field(uint8_t *out, uint32_t number, uint64_t value)
{
    return tc_wire_put_varint(tc_wire_put_varint(out, TC_WIRE_TAG(number, TC_WIRE_VARINT)), value);
}

/* Room for the fields before the payload, with the name put into it. */
static tc_status begin_prefix(const char *name, uint8_t **prefix, uint8_t **end)
{
    size_t length = name ? strlen(name) : 0;
    if (name && !tc_text_is_utf8(name))
        return tc_fail(TC_INVALID_ARGUMENT, "the name '%.200s' is not UTF-8", name);
    *prefix = tc_alloc(length + PREFIX_ROOM);
    if (!*prefix)
        return tc_fail_memory(length + PREFIX_ROOM, "writing a record");
    *end = length ? put_bytes_field(*prefix, name_number, name, length) : *prefix;
    return TC_OK;
}

static uint8_t *put_type(uint8_t *out, const tc_tensor *tensor)
{
    uint8_t sizes[TC_MAX_RANK * TC_WIRE_VARINT_SIZE], *end = sizes;
    const tc_shape *shape = tc_tensor_shape(tensor);
    for (int32_t i = 0; i < shape->rank; i++)
        end = tc_wire_put_varint(end, (uint64_t)shape->dims[i].size);
    out = put_varint_field(out, dtype_number, (uint64_t)tc_tensor_dtype(tensor));
    return put_bytes_field(out, shape_number, sizes, (size_t)(end - sizes));
}

tc_status tc_records_put_tensor(tc_records_writer *writer, const char *name,
                                const tc_tensor *tensor)
{
    uint8_t *prefix, *end;
    TC_TRY(tc_tensor_check(tensor)); /* a damaged file must not become an intact one */
    TC_TRY(begin_prefix(name, &prefix, &end));
    end = put_type(end, tensor);
    const char *data = tc_tensor_data(tensor);
    size_t bytes = tc_tensor_bytes(tensor), done = 0;
    tc_status status = TC_OK;
    do {
        if (done > 0)
            end = put_varint_field(prefix, offset_number, done);
        size_t size = bytes - done < writer->payload_max ? bytes - done : writer->payload_max;
        status = put_payload(writer, TENSORC__RECORD__CONTENT_TENSOR, prefix,
                             (size_t)(end - prefix), data + done, size);
        done += size;
    } while (status == TC_OK && done < bytes);
    tc_free(prefix);
    return status;
}

tc_status tc_records_put_blob(tc_records_writer *writer, const char *name, const void *data,
                              size_t size)
{
    if (size > TC_PAYLOAD_MAX)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "blob '%s' has %zu bytes, but a blob may have at most %zu", name, size,
                       TC_PAYLOAD_MAX);
    uint8_t *prefix, *end;
    TC_TRY(begin_prefix(name, &prefix, &end));
    tc_status status = put_payload(writer, TENSORC__RECORD__CONTENT_BLOB, prefix,
                                   (size_t)(end - prefix), data, size);
    tc_free(prefix);
    return status;
}

tc_status tc_records_begin(tc_records_writer *writer, const char *folder, Tensorc__Kind kind,
                           uint64_t sequence)
{
    *writer = (tc_records_writer){.payload_max = TC_PAYLOAD_MAX};
    TC_TRY(tc_outfile_open(&writer->output, folder));
    char producer[64];
    snprintf(producer, sizeof producer, "libtensorc %d.%d.%d", TC_VERSION_MAJOR, TC_VERSION_MINOR,
             TC_VERSION_PATCH);
    Tensorc__Header header = TENSORC__HEADER__INIT;
    header.magic = (char[]){TC_FORMAT_MAGIC};
    header.format = TC_FORMAT_VERSION;
    header.kind = kind;
    header.producer = producer;
    header.sequence = sequence;
    tc_status status = tc_records_put(writer, TENSORC__RECORD__CONTENT_HEADER, &header.base);
    if (status != TC_OK)
        tc_records_abandon(writer);
    return status;
}

tc_status tc_records_finish(tc_records_writer *writer, const char *path)
{
    Tensorc__End end = TENSORC__END__INIT;
    end.records = writer->count;
    end.chain = writer->chain;
    tc_status status = tc_records_put(writer, TENSORC__RECORD__CONTENT_END, &end.base);
    if (status == TC_OK)
        return tc_outfile_finish(&writer->output, path);
    tc_records_abandon(writer);
    return status;
}

void tc_records_abandon(tc_records_writer *writer)
{
    tc_outfile_abandon(&writer->output);
}
