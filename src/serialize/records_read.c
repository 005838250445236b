#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "serialize/records.h"

/*
 * Memory that a message may take per byte of its record. Empty messages in a list cost two bytes
 * in a file and a hundred times that in memory; real ones cost less than a tenth of this.
 */
#define MEMORY_PER_BYTE 64

/* Tensors of fewer bytes are checked at once: reading them takes no time. */
#define DEFERRED_BYTES ((size_t)1 << 20)

enum { crc_size = 5, crc_tag = TC_WIRE_TAG(15, TC_WIRE_FIXED32) };

const char *tc_kind_name(Tensorc__Kind kind)
{
    static const char *const names[] = {NULL, "graph", "checkpoint", "saved model"};
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : NULL;
}

tc_status tc_records_fail(const tc_records *records, size_t offset, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tc_fail_v(TC_DATA_LOSS, format, arguments);
    va_end(arguments);
    return tc_fail_prefix(TC_DATA_LOSS, "'%s', byte %zu: ", records->path, offset);
}

static tc_status check_sum(const char *path, size_t offset, const uint8_t *data, size_t size,
                           uint32_t crc)
{
    uint32_t actual = tc_crc32c(0, data, size);
    if (actual == crc)
        return TC_OK;
    return tc_fail(TC_DATA_LOSS,
                   "'%s', byte %zu: damaged: the checksum of this record is %08x instead of %08x",
                   path, offset, (unsigned)actual, (unsigned)crc);
}

static bool is_deferred(const tc_records *records, const tc_record *record)
{
    return records->deferred && record->number == TENSORC__RECORD__CONTENT_TENSOR &&
           record->size >= DEFERRED_BYTES;
}

/*
 * Records. `parse` believes nothing, tc_records_next relies on what it has found.
 */
static tc_status parse(const tc_records *records, size_t offset, tc_record *record, size_t *next,
                       uint32_t *crc)
{
    tc_wire wire = {records->mapping->data + offset, records->mapping->size - offset};
    uint64_t length;
    if (!tc_wire_read_varint(&wire, &length) || length > wire.size)
        return tc_records_fail(records, offset, "the file ends within a record: it is truncated");
    wire.size = (size_t)length;
    const uint8_t *begin = wire.data, *end = begin + wire.size;
    tc_wire_field field;
    if (!tc_wire_read_field(&wire, &field) || field.type != TC_WIRE_BYTES ||
        wire.size != crc_size || wire.data[0] != crc_tag)
        return tc_records_fail(records, offset,
                               "malformed record: not one content and its checksum");
    *crc = tc_wire_fixed32(end - 4);
    *record = (tc_record){field.number, field.data, field.size, offset};
    if (!is_deferred(records, record))
        TC_TRY(check_sum(records->path, offset, begin, (size_t)(end - begin) - crc_size, *crc));
    *next = (size_t)(end - records->mapping->data);
    return TC_OK;
}

bool tc_records_next(const tc_records *records, tc_record *record)
{
    size_t offset = 0;
    if (record->content)
        offset = (size_t)(record->content - records->mapping->data) + record->size + crc_size;
    for (;;) {
        tc_wire wire = {records->mapping->data + offset, records->mapping->size - offset};
        uint64_t length;
        tc_wire_field field;
        if (!tc_wire_read_varint(&wire, &length) || !tc_wire_read_field(&wire, &field) ||
            field.number == TENSORC__RECORD__CONTENT_END)
            return false;
        *record = (tc_record){field.number, field.data, field.size, offset};
        if (field.number != TENSORC__RECORD__CONTENT_HEADER)
            return true;
        offset = (size_t)(field.data - records->mapping->data) + field.size + crc_size;
    }
}

/* Messages go into the arena, and their pieces are never given back one by one. */
typedef struct tc_unpacking {
    tc_arena *arena;
    size_t limit;
    bool exhausted;
    bool excessive;
} tc_unpacking;

static void *unpack_alloc(void *context, size_t size)
{
    tc_unpacking *unpacking = context;
    if (unpacking->arena->bytes > unpacking->limit || size > unpacking->limit) {
        unpacking->excessive = true;
        return NULL;
    }
    void *memory = tc_arena_alloc(unpacking->arena, size);
    if (!memory)
        unpacking->exhausted = true;
    return memory;
}

static void unpack_free(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

tc_status tc_records_unpack(const tc_records *records, const tc_record *record,
                            const ProtobufCMessageDescriptor *type, tc_arena *arena, void *out)
{
    size_t limit = arena->bytes;
    size_t own;
    if (!tc_mul_size(record->size, MEMORY_PER_BYTE, &own) ||
        !tc_add_size(own, (size_t)1 << 20, &own) || !tc_add_size(limit, own, &limit))
        limit = SIZE_MAX;
    tc_unpacking unpacking = {.arena = arena, .limit = limit};
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, &unpacking};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, &allocator, record->size, record->content);
    *(void **)out = message;
    if (message)
        return TC_OK;
    if (unpacking.exhausted)
        return tc_fail_memory(arena->bytes, "reading a file");
    return tc_records_fail(records, record->offset, "the %s in this record is malformed%s",
                           type->short_name,
                           unpacking.excessive ? ": it would take too much memory" : "");
}

/*
 * Opening
 */
static tc_status read_header(tc_records *records, size_t *next, uint32_t *crc)
{
    const tc_mapping *mapping = records->mapping;
    if (mapping->size == 0)
        return tc_records_fail(records, 0, "the file is empty");
    /* length, tag, length, tag, length: of short records each takes one byte */
    enum { magic_at = 5 };
    size_t length = strlen(TC_FORMAT_MAGIC);
    size_t seen = mapping->size < magic_at ? 0 : mapping->size - magic_at;
    if (seen > length)
        seen = length;
    if (memcmp(mapping->data + (seen ? magic_at : 0), TC_FORMAT_MAGIC, seen) != 0 || seen == 0)
        return tc_records_fail(records, 0, "this is not a file of libtensorc");
    tc_record record;
    TC_TRY(parse(records, 0, &record, next, crc));
    if (record.number != TENSORC__RECORD__CONTENT_HEADER)
        return tc_records_fail(records, 0, "this is not a file of libtensorc");
    Tensorc__Header *header;
    TC_TRY(tc_records_unpack(records, &record, &tensorc__header__descriptor, &records->arena,
                             &header));
    if (header->format == 0 || strcmp(header->magic, TC_FORMAT_MAGIC) != 0)
        return tc_records_fail(records, 0, "this is not a file of libtensorc");
    if (header->format > TC_FORMAT_VERSION)
        return tc_fail(TC_UNIMPLEMENTED,
                       "'%s' has format version %u, written by %s, but this library reads versions "
                       "up to %d: use a newer libtensorc",
                       records->path, (unsigned)header->format, header->producer,
                       TC_FORMAT_VERSION);
    if (!tc_kind_name(header->kind))
        return tc_records_fail(records, 0, "header.kind is %d, which this library does not know",
                               (int)header->kind);
    records->kind = header->kind;
    records->format = header->format;
    records->sequence = header->sequence;
    records->producer = header->producer;
    return TC_OK;
}

static tc_status check_end(const tc_records *records, const tc_record *record, uint64_t count,
                           uint32_t chain)
{
    tc_arena arena = {0};
    Tensorc__End *end;
    tc_status status = tc_records_unpack(records, record, &tensorc__end__descriptor, &arena, &end);
    if (status == TC_OK && (end->records != count || end->chain != chain))
        status = tc_records_fail(records, record->offset,
                                 "damaged: records are missing, doubled or in another order");
    tc_arena_free(&arena);
    return status;
}

static tc_status check_records(const tc_records *records, size_t offset, uint32_t crc)
{
    uint32_t chain = 0;
    uint64_t count = 0;
    for (;;) {
        uint8_t bytes[4];
        tc_wire_put_fixed32(bytes, crc);
        chain = tc_crc32c(chain, bytes, sizeof bytes);
        count++;
        if (offset == records->mapping->size)
            return tc_records_fail(records, offset, "the file has no end record: it is truncated");
        tc_record record;
        size_t next;
        TC_TRY(parse(records, offset, &record, &next, &crc));
        if (record.number == TENSORC__RECORD__CONTENT_HEADER)
            return tc_records_fail(records, offset, "a second header");
        if (record.number != TENSORC__RECORD__CONTENT_END) {
            offset = next;
            continue;
        }
        if (next != records->mapping->size)
            return tc_records_fail(records, next, "the file goes on after its end record");
        return check_end(records, &record, count, chain);
    }
}

static tc_status open_file(tc_records *records, const char *path, size_t *next, uint32_t *crc)
{
    *records = (tc_records){0};
    tc_status status = tc_mapping_open(path, &records->mapping);
    if (status == TC_OK && !(records->path = tc_arena_strdup(&records->arena, path)))
        status = tc_fail_memory(strlen(path) + 1, "reading a file");
    if (status == TC_OK)
        status = read_header(records, next, crc);
    if (status != TC_OK)
        tc_records_close(records);
    return status;
}

tc_status tc_records_open_header(tc_records *records, const char *path)
{
    size_t next;
    uint32_t crc;
    return open_file(records, path, &next, &crc);
}

static tc_status open_records(tc_records *records, const char *path, Tensorc__Kind kind,
                              bool deferred)
{
    size_t next;
    uint32_t crc;
    TC_TRY(open_file(records, path, &next, &crc));
    records->deferred = deferred;
    tc_status status = check_records(records, next, crc);
    if (status == TC_OK && kind != TENSORC__KIND__KIND_UNKNOWN && kind != records->kind)
        status = tc_fail(TC_INVALID_ARGUMENT, "'%s' is a %s, not a %s", path,
                         tc_kind_name(records->kind), tc_kind_name(kind));
    if (status != TC_OK)
        tc_records_close(records);
    return status;
}

tc_status tc_records_open(tc_records *records, const char *path, Tensorc__Kind kind)
{
    return open_records(records, path, kind, false);
}

tc_status tc_records_open_deferred(tc_records *records, const char *path, Tensorc__Kind kind)
{
    return open_records(records, path, kind, true);
}

void tc_records_close(tc_records *records)
{
    tc_mapping_release(records->mapping);
    tc_arena_free(&records->arena);
    *records = (tc_records){0};
}

/*
 * Tensors and blobs
 */

/* The fields of a tensor or blob record; a field given twice counts as given last. */
typedef struct tc_payload {
    tc_wire name;
    tc_wire shape; /* packed */
    uint64_t dtype;
    uint64_t offset;
    tc_wire data;
    bool has_type;
} tc_payload;

static tc_status read_payload(const tc_records *records, const tc_record *record,
                              tc_payload *payload)
{
    *payload = (tc_payload){.data = {record->content, 0}};
    tc_wire wire = {record->content, record->size};
    while (wire.size > 0) {
        size_t at = (size_t)(wire.data - records->mapping->data);
        tc_wire_field field;
        if (!tc_wire_read_field(&wire, &field))
            return tc_records_fail(records, at, "malformed field of a tensor or blob");
        tc_wire bytes = {field.data, field.size};
        bool tensor = record->number == TENSORC__RECORD__CONTENT_TENSOR;
        switch (TC_WIRE_TAG(field.number, field.type)) {
        case TC_WIRE_TAG(1, TC_WIRE_BYTES): payload->name = bytes; break;
        case TC_WIRE_TAG(2, TC_WIRE_VARINT):
            payload->dtype = field.value;
            payload->has_type |= tensor;
            break;
        case TC_WIRE_TAG(3, TC_WIRE_BYTES): payload->shape = bytes; break;
        case TC_WIRE_TAG(4, TC_WIRE_VARINT): payload->offset = field.value; break;
        case TC_WIRE_TAG(15, TC_WIRE_BYTES): payload->data = bytes; break;
        default: break; /* padding, and what a newer library may add */
        }
    }
    if (payload->data.size > TC_PAYLOAD_MAX)
        return tc_records_fail(records, record->offset, "data has %zu bytes, more than %zu",
                               payload->data.size, TC_PAYLOAD_MAX);
    return TC_OK;
}

static tc_status read_name(const tc_records *records, const tc_record *record, tc_wire name,
                           tc_arena *arena, const char **out)
{
    if (name.size && memchr(name.data, 0, name.size))
        return tc_records_fail(records, record->offset, "a name contains a zero byte");
    *out = name.size ? tc_arena_strndup(arena, (const char *)name.data, name.size) : "";
    return *out ? TC_OK : tc_fail_memory(name.size + 1, "reading a file");
}

static tc_status read_type(const tc_records *records, const tc_record *record,
                           const tc_payload *payload, tc_stored_tensor *out)
{
    tc_shape shape = {0};
    for (tc_wire sizes = payload->shape; sizes.size > 0; shape.rank++) {
        uint64_t size;
        if (shape.rank == TC_MAX_RANK)
            return tc_records_fail(records, record->offset,
                                   "tensor.shape has more than %d dimensions", TC_MAX_RANK);
        if (!tc_wire_read_varint(&sizes, &size) || size > INT64_MAX)
            return tc_records_fail(records, record->offset, "tensor.shape is malformed");
        shape.dims[shape.rank].size = (int64_t)size;
    }
    int64_t size;
    tc_dtype dtype = payload->dtype < TC_DTYPE_COUNT ? (tc_dtype)payload->dtype : TC_DTYPE_INVALID;
    if (tc_tensor_measure(dtype, &shape, &size, &out->bytes) != TC_OK) {
        char why[TC_ERROR_MESSAGE_SIZE];
        (void)tc_error_take(why, sizeof why);
        return tc_records_fail(records, record->offset, "tensor '%.200s': %s", out->name, why);
    }
    out->dtype = dtype;
    out->shape = shape;
    return TC_OK;
}

/* Walks over the pieces after the first one. */
static tc_status skip_pieces(const tc_records *records, tc_record *record, size_t done,
                             const tc_stored_tensor *stored)
{
    while (done < stored->bytes) {
        tc_record piece = *record;
        tc_payload payload;
        if (!tc_records_next(records, &piece) || piece.number != TENSORC__RECORD__CONTENT_TENSOR)
            return tc_records_fail(records, record->offset,
                                   "tensor '%.200s' has %zu bytes of data, but its dtype and shape "
                                   "take %zu",
                                   stored->name, done, stored->bytes);
        TC_TRY(read_payload(records, &piece, &payload));
        if (payload.has_type || payload.name.size || payload.shape.size || payload.offset != done ||
            payload.data.size == 0 || payload.data.size > stored->bytes - done)
            return tc_records_fail(records, piece.offset,
                                   "is not the piece of tensor '%.200s' that begins at byte %zu",
                                   stored->name, done);
        done += payload.data.size;
        *record = piece;
    }
    return TC_OK;
}

/* Any other byte in a bool is undefined behaviour in C. */
static bool bools_valid(const uint8_t *data, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++)
        all |= data[i];
    return all <= 1;
}

static tc_status check_bools(const tc_records *records, const tc_stored_tensor *stored,
                             const uint8_t *data)
{
    if (stored->dtype != TC_BOOL || bools_valid(data, stored->bytes))
        return TC_OK;
    return tc_records_fail(records, stored->first.offset,
                           "tensor '%.200s' of dtype bool has elements other than 0 and 1",
                           stored->name);
}

tc_status tc_records_tensor(const tc_records *records, tc_record *record, tc_arena *arena,
                            tc_stored_tensor *out)
{
    *out = (tc_stored_tensor){.name = "", .first = *record};
    tc_payload payload;
    TC_TRY(read_payload(records, record, &payload));
    TC_TRY(read_name(records, record, payload.name, arena, &out->name));
    TC_TRY(read_type(records, record, &payload, out));
    if (payload.offset != 0)
        return tc_records_fail(records, record->offset,
                               "a piece of a tensor without the pieces before it");
    if (payload.data.size > out->bytes)
        return tc_records_fail(
            records, record->offset,
            "tensor '%.200s' has %zu bytes of data, but its dtype and shape take "
            "%zu",
            out->name, payload.data.size, out->bytes);
    if (payload.data.size == out->bytes)
        out->data = payload.data.data;
    else
        TC_TRY(skip_pieces(records, record, payload.data.size, out));
    return TC_OK;
}

/*
 * Mapped tensors
 */

/* The record that a tensor lies in, for the check that is still to come. */
typedef struct mapped_record {
    tc_mapping *mapping; /* retained */
    char *path;
    const uint8_t *data; /* of the record up to its checksum */
    size_t size;
    size_t offset;
    uint32_t crc;
    atomic_bool checked;
} mapped_record;

static void release_mapped(void *context)
{
    mapped_record *mapped = context;
    tc_mapping_release(mapped->mapping);
    tc_free(mapped->path);
    tc_free(mapped);
}

static tc_status check_mapped(void *context)
{
    mapped_record *mapped = context;
    if (atomic_load_explicit(&mapped->checked, memory_order_relaxed))
        return TC_OK;
    TC_TRY(check_sum(mapped->path, mapped->offset, mapped->data, mapped->size, mapped->crc));
    atomic_store_explicit(&mapped->checked, true, memory_order_relaxed);
    return TC_OK;
}

static void forget_mapped(void *context)
{
    const mapped_record *mapped = context;
    tc_mapping_forget(mapped->mapping, mapped->data, mapped->size);
}

static const tc_tensor_source mapped_source = {check_mapped, forget_mapped};

/* `record` is intact or deferred. */
static tc_status describe_mapped(const tc_records *records, const tc_record *record,
                                 mapped_record **out)
{
    mapped_record *mapped = tc_alloc_zero(1, sizeof *mapped);
    char *path = tc_strdup(records->path);
    if (!mapped || !path) {
        tc_free(mapped);
        tc_free(path);
        return tc_fail_memory(sizeof *mapped + strlen(records->path), "reading a file");
    }
    tc_wire wire = {records->mapping->data + record->offset, 10};
    uint64_t length;
    (void)tc_wire_read_varint(&wire, &length); /* parse has seen it */
    const uint8_t *end = record->content + record->size;
    *mapped = (mapped_record){.mapping = tc_mapping_retain(records->mapping),
                              .path = path,
                              .data = wire.data,
                              .size = (size_t)(end - wire.data),
                              .offset = record->offset,
                              .crc = tc_wire_fixed32(end + 1)};
    atomic_init(&mapped->checked, !is_deferred(records, record));
    *out = mapped;
    return TC_OK;
}

/* Checks a record whose elements are about to be read. */
static tc_status check_deferred(const tc_records *records, const tc_record *record)
{
    if (!is_deferred(records, record))
        return TC_OK;
    mapped_record *mapped;
    TC_TRY(describe_mapped(records, record, &mapped));
    tc_status status = check_mapped(mapped);
    release_mapped(mapped);
    return status;
}

static tc_status map_tensor(const tc_records *records, const tc_stored_tensor *stored,
                            tc_tensor **out)
{
    mapped_record *mapped;
    if (stored->dtype == TC_BOOL)
        TC_TRY(check_deferred(records, &stored->first));
    TC_TRY(check_bools(records, stored, stored->data));
    TC_TRY(describe_mapped(records, &stored->first, &mapped));
    tc_status status = tc_tensor_wrap_read_only(stored->dtype, stored->shape, stored->data,
                                                release_mapped, mapped, out);
    if (status == TC_OK)
        (*out)->source = &mapped_source;
    else
        release_mapped(mapped);
    return status;
}

static tc_status gather(const tc_records *records, const tc_stored_tensor *stored, tc_tensor **out)
{
    TC_TRY(tc_tensor_create(stored->dtype, stored->shape, out));
    uint8_t *to = tc_tensor_data(*out);
    tc_record record = stored->first;
    tc_status status = TC_OK;
    for (size_t done = 0; done < stored->bytes && status == TC_OK;) {
        tc_payload payload;
        status = check_deferred(records, &record);
        if (status == TC_OK)
            status = read_payload(records, &record, &payload);
        if (status != TC_OK)
            break;
        memcpy(to + done, payload.data.data, payload.data.size);
        done += payload.data.size;
        if (done < stored->bytes)
            (void)tc_records_next(records, &record);
    }
    if (status == TC_OK)
        status = check_bools(records, stored, to);
    if (status != TC_OK) {
        tc_tensor_release(*out);
        *out = NULL;
    }
    return status;
}

tc_status tc_stored_tensor_get(const tc_records *records, const tc_stored_tensor *stored,
                               tc_tensor **out)
{
    if (!stored->data || (uintptr_t)stored->data % TC_PAYLOAD_ALIGNMENT || stored->bytes == 0)
        return gather(records, stored, out);
    return map_tensor(records, stored, out);
}

tc_status tc_records_blob(const tc_records *records, const tc_record *record, tc_arena *arena,
                          tc_stored_blob *out)
{
    tc_payload payload;
    TC_TRY(read_payload(records, record, &payload));
    TC_TRY(read_name(records, record, payload.name, arena, &out->name));
    out->data = payload.data.data;
    out->size = payload.data.size;
    return TC_OK;
}
