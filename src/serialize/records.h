/*
 * The container of all our files: a header, records, an end. docs/formats.md describes it,
 * proto/tensorc.proto the messages.
 */
#ifndef TC_SERIALIZE_RECORDS_H
#define TC_SERIALIZE_RECORDS_H

#include <tensorc/tensor.h>

#include "base/arena.h"
#include "serialize/file.h"
#include "serialize/wire.h"
#include "tensorc.pb-c.h"

/** Version of the format that is written, and the newest that is read. */
#define TC_FORMAT_VERSION 1
#define TC_FORMAT_MAGIC   "tensorc"

/** Longest `data` of a tensor or blob record. */
#define TC_PAYLOAD_MAX ((size_t)1 << 30)
/** Where `data` begins in the file is a multiple of this. */
#define TC_PAYLOAD_ALIGNMENT 64

/*
 * Writing
 */
typedef struct tc_records_writer {
    tc_outfile output;
    uint64_t count;
    uint32_t crc;   /* of the record being written */
    uint32_t chain; /* of the records before it */
    size_t payload_max;
} tc_records_writer;

/** Begins a file of `kind` in `folder` with its header. On failure nothing is left behind. */
TC_MUST_USE tc_status tc_records_begin(tc_records_writer *writer, const char *folder,
                                       Tensorc__Kind kind, uint64_t sequence);
/** A record whose content is `message`, field `number` of Record. */
TC_MUST_USE tc_status tc_records_put(tc_records_writer *writer, uint32_t number,
                                     const ProtobufCMessage *message);
/** A tensor in as many records as it needs; `name` NULL: a constant. */
TC_MUST_USE tc_status tc_records_put_tensor(tc_records_writer *writer, const char *name,
                                            const tc_tensor *tensor);
TC_MUST_USE tc_status tc_records_put_blob(tc_records_writer *writer, const char *name,
                                          const void *data, size_t size);
/** Writes the end and puts the file into place as `path`. The writer is closed in any case. */
TC_MUST_USE tc_status tc_records_finish(tc_records_writer *writer, const char *path);
/** Removes what was written. */
void tc_records_abandon(tc_records_writer *writer);

/** False when `text` is not UTF-8, which strings in protobuf must be. */
bool tc_text_is_utf8(const char *text);

/*
 * Reading
 */
typedef struct tc_record {
    uint32_t number;        /* field of Record */
    const uint8_t *content; /* in the mapping */
    size_t size;
    size_t offset; /* of the record in the file */
} tc_record;

/** A file of which every record is intact, apart from deferred ones. Read-only, so that threads may
 * share it. */
typedef struct tc_records {
    tc_mapping *mapping;
    const char *path;
    Tensorc__Kind kind;
    uint32_t format;
    uint64_t sequence;
    const char *producer;
    bool deferred; /* large tensors are checked when their elements are first used */
    tc_arena arena;
} tc_records;

/**
 * Maps a file and checks header, lengths, all checksums and the end. `kind` KIND_UNKNOWN takes any.
 * Errors: NOT_FOUND, PERMISSION_DENIED, DATA_LOSS (damaged, incomplete, not ours), UNIMPLEMENTED
 * (newer format), INVALID_ARGUMENT (another kind).
 */
TC_MUST_USE tc_status tc_records_open(tc_records *records, const char *path, Tensorc__Kind kind);
/**
 * The same without reading the elements of large tensors: the tensor that tc_stored_tensor_get
 * gives checks its record when tc_tensor_check asks for it.
 */
TC_MUST_USE tc_status tc_records_open_deferred(tc_records *records, const char *path,
                                               Tensorc__Kind kind);
/** Reads the header alone, without looking whether the rest is there. */
TC_MUST_USE tc_status tc_records_open_header(tc_records *records, const char *path);
void tc_records_close(tc_records *records);

/**
 * The record after `record`, the first one after the header when it is zeroed. False at the end.
 */
bool tc_records_next(const tc_records *records, tc_record *record);

/** DATA_LOSS: "'<path>', byte <offset>: <why>". */
tc_status tc_records_fail(const tc_records *records, size_t offset, const char *format, ...)
    TC_PRINTF(3, 4);

/**
 * The content of a record as a message, in `arena`, which is never freed piecemeal. DATA_LOSS when
 * it is malformed.
 */
TC_MUST_USE tc_status tc_records_unpack(const tc_records *records, const tc_record *record,
                                        const ProtobufCMessageDescriptor *type, tc_arena *arena,
                                        void *out);

/** A tensor of a file. */
typedef struct tc_stored_tensor {
    const char *name; /* in the arena given; "": a constant */
    tc_dtype dtype;
    tc_shape shape;
    size_t bytes;
    const uint8_t *data; /* in the mapping when the file has it in one piece, otherwise NULL */
    tc_record first;
} tc_stored_tensor;

/**
 * Reads what describes the tensor that begins with `record`, and moves `record` to its last piece.
 * The file is known to hold all its bytes.
 */
TC_MUST_USE tc_status tc_records_tensor(const tc_records *records, tc_record *record,
                                        tc_arena *arena, tc_stored_tensor *out);
/**
 * The elements: a read-only tensor in the mapping where they lie there in one aligned piece, else a
 * copy.
 */
TC_MUST_USE tc_status tc_stored_tensor_get(const tc_records *records,
                                           const tc_stored_tensor *stored, tc_tensor **out);

typedef struct tc_stored_blob {
    const char *name;
    const uint8_t *data; /* in the mapping */
    size_t size;
} tc_stored_blob;

TC_MUST_USE tc_status tc_records_blob(const tc_records *records, const tc_record *record,
                                      tc_arena *arena, tc_stored_blob *out);

/** "graph", "checkpoint", "saved model"; NULL for others. */
const char *tc_kind_name(Tensorc__Kind kind);

#endif
