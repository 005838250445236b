#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/status.h"
#include "base/text.h"
#include "core/loss_scale.h"
#include "core/shape.h"
#include "serialize/records.h"
#include "tensorc/serialize.h"

/* Reading */
typedef struct tc_checkpoint_file {
    tc_records records;
    tc_arena arena;
    TC_VECTOR(tc_stored_tensor) tensors;
    tc_map names; /* of the tensors */
    bool has_state;
    uint64_t step;
} tc_checkpoint_file;

static void file_close(tc_checkpoint_file *file)
{
    tc_map_free(&file->names);
    tc_vector_free(&file->tensors);
    tc_arena_free(&file->arena);
    tc_records_close(&file->records);
}

static tc_status add_tensor(tc_checkpoint_file *file, tc_record *record)
{
    tc_stored_tensor stored;
    size_t offset = record->offset;
    TC_TRY(tc_records_tensor(&file->records, record, &file->arena, &stored));
    if (!stored.name[0] || tc_map_find_string(&file->names, stored.name))
        return tc_records_fail(&file->records, offset, "two tensors are called '%.200s'",
                               stored.name);
    if (!tc_vector_push(&file->tensors, stored) ||
        !tc_map_put_string(&file->names, stored.name, file->tensors.count - 1))
        return tc_fail_memory(sizeof stored, "reading a checkpoint");
    return TC_OK;
}

static tc_status read_state(tc_checkpoint_file *file, const tc_record *record)
{
    Tensorc__State *state;
    TC_TRY(tc_records_unpack(&file->records, record, &tensorc__state__descriptor, &file->arena,
                             &state));
    file->has_state = true;
    file->step = state->step;
    return TC_OK;
}

static tc_status file_open(tc_checkpoint_file *file, const char *path)
{
    *file = (tc_checkpoint_file){0};
    TC_TRY(tc_records_open(&file->records, path, TENSORC__KIND__KIND_CHECKPOINT));
    tc_record record = {0};
    tc_status status = TC_OK;
    while (status == TC_OK && tc_records_next(&file->records, &record)) {
        if (record.number == TENSORC__RECORD__CONTENT_TENSOR)
            status = add_tensor(file, &record);
        else if (record.number == TENSORC__RECORD__CONTENT_STATE)
            status = read_state(file, &record);
    }
    if (status == TC_OK && !file->has_state)
        status = tc_records_fail(&file->records, 0, "the checkpoint has no state record");
    if (status != TC_OK)
        file_close(file);
    return status;
}

/* Matching */
typedef struct tc_matching {
    const tc_checkpoint_file *file;
    const char *prefix;
    bool *wanted; /* per tensor of the file: the session has a variable of this name */
    TC_VECTOR(const char *) names; /* of what matches */
    TC_VECTOR(tc_tensor *) tensors;
    size_t missing, differing, unexpected;
    tc_text missing_text, differing_text, unexpected_text;
} tc_matching;

static bool has_prefix(const tc_matching *m, const char *name)
{
    return strncmp(name, m->prefix, strlen(m->prefix)) == 0;
}

static void list_name(tc_text *text, size_t *count, const char *name)
{
    tc_text_append(text, "%s%s", (*count)++ ? ", " : "", name);
}

static tc_status add_match(tc_matching *m, const tc_stored_tensor *stored)
{
    if (!tc_vector_reserve(&m->tensors, m->tensors.count + 1) ||
        !tc_vector_push(&m->names, stored->name))
        return tc_fail_memory(sizeof stored, "restoring a checkpoint");
    TC_TRY(tc_stored_tensor_get(&m->file->records, stored, &m->tensors.data[m->tensors.count]));
    m->tensors.count++;
    return TC_OK;
}

static bool is_loss_scale(const char *name)
{
    return strcmp(name, TC_LOSS_SCALE) == 0 || strcmp(name, TC_LOSS_SCALE_STEPS) == 0;
}

static tc_status match_variable(void *context, const tc_variable_info *variable)
{
    tc_matching *m = context;
    if (!has_prefix(m, variable->name))
        return TC_OK;
    const uint64_t *index = tc_map_find_string(&m->file->names, variable->name);
    if (!index && is_loss_scale(variable->name))
        return TC_OK; /* what was trained otherwise goes on in f16 with the scale there is */
    if (!index) {
        list_name(&m->missing_text, &m->missing, variable->name);
        return TC_OK;
    }
    m->wanted[*index] = true;
    const tc_stored_tensor *stored = &m->file->tensors.data[*index];
    if (stored->dtype == variable->dtype && tc_shape_equal(&stored->shape, &variable->shape))
        return add_match(m, stored);
    char file[TC_SHAPE_TEXT_SIZE], session[TC_SHAPE_TEXT_SIZE];
    list_name(&m->differing_text, &m->differing, variable->name);
    tc_text_append(&m->differing_text, " (file %s %s, session %s %s)", tc_dtype_name(stored->dtype),
                   tc_shape_text(&stored->shape, file), tc_dtype_name(variable->dtype),
                   tc_shape_text(&variable->shape, session));
    return TC_OK;
}

static void append_part(tc_text *report, const char *what, size_t count, const tc_text *names)
{
    if (count > 0)
        tc_text_append(report, "; %s %zu: %s", what, count, names->data ? names->data : "");
}

/* "matched 12; missing 1: a; ..." */
static tc_status write_report(const tc_matching *m, tc_text *report)
{
    tc_text_append(report, "matched %zu", m->names.count);
    append_part(report, "missing", m->missing, &m->missing_text);
    append_part(report, "unexpected", m->unexpected, &m->unexpected_text);
    append_part(report, "differs", m->differing, &m->differing_text);
    if (report->failed || m->missing_text.failed || m->unexpected_text.failed ||
        m->differing_text.failed)
        return tc_fail_memory(report->length, "the report of restoring a checkpoint");
    return TC_OK;
}

static tc_status match(tc_matching *m, tc_session *session)
{
    size_t count = m->file->tensors.count;
    if (!(m->wanted = tc_alloc_zero(count + 1, sizeof *m->wanted)))
        return tc_fail_memory(count, "restoring a checkpoint");
    TC_TRY(tc_store_visit(tc_session_store(session), match_variable, m, NULL));
    for (size_t i = 0; i < count; i++)
        if (!m->wanted[i] && has_prefix(m, m->file->tensors.data[i].name))
            list_name(&m->unexpected_text, &m->unexpected, m->file->tensors.data[i].name);
    return TC_OK;
}

/* What does not match is an error unless a part will do, but nothing at all never does. */
static tc_status judge(const tc_matching *m, bool partial, const char *report)
{
    const char *path = m->file->records.path;
    size_t wrong = m->missing + m->differing;
    if (wrong > 0 && !partial)
        return tc_fail(
            TC_FAILED_PRECONDITION,
            "checkpoint '%s' does not fit the session: %s; to take what matches, restore "
            "partially",
            path, report);
    if (m->names.count == 0 && (wrong > 0 || m->unexpected > 0 || m->prefix[0]))
        return tc_fail(TC_FAILED_PRECONDITION, "checkpoint '%s' has nothing for the session: %s",
                       path, report);
    return TC_OK;
}

static tc_status restore(tc_matching *m, tc_session *session, const tc_restore_options *options)
{
    TC_TRY(match(m, session));
    tc_text report = {0};
    tc_status status = write_report(m, &report);
    if (status == TC_OK && options->report && options->report_size > 0)
        snprintf(options->report, options->report_size, "%s", report.data);
    if (status == TC_OK)
        status = judge(m, options->partial, report.data);
    tc_text_free(&report);
    /* The step belongs to the training of all variables, not to some of another model. */
    if (status == TC_OK)
        status = tc_store_restore(tc_session_store(session), m->names.data, m->tensors.data,
                                  m->names.count, m->prefix[0] ? NULL : &m->file->step);
    return status;
}

tc_status tc_checkpoint_restore(tc_session *session, const char *path,
                                const tc_restore_options *options)
{
    TC_OPTIONS(tc_restore_options, o, options);
    if (o.report && o.report_size > 0)
        o.report[0] = 0;
    if (!session || !path)
        return tc_fail(TC_INVALID_ARGUMENT, "restoring a checkpoint: %s is NULL",
                       session ? "path" : "session");
    tc_checkpoint_file file;
    TC_TRY(file_open(&file, path));
    tc_matching m = {.file = &file, .prefix = o.prefix ? o.prefix : ""};
    tc_status status = restore(&m, session, &o);
    for (size_t i = 0; i < m.tensors.count; i++)
        tc_tensor_release(m.tensors.data[i]);
    tc_vector_free(&m.tensors);
    tc_vector_free(&m.names);
    tc_text_free(&m.missing_text);
    tc_text_free(&m.differing_text);
    tc_text_free(&m.unexpected_text);
    tc_free(m.wanted);
    file_close(&file);
    return status;
}

/*
 * Blobs
 */
static tc_status copy_blob(const tc_stored_blob *blob, void **data, size_t *size)
{
    if (!(*data = tc_alloc(blob->size)))
        return tc_fail_memory(blob->size, "a blob of a checkpoint");
    if (blob->size > 0)
        memcpy(*data, blob->data, blob->size);
    *size = blob->size;
    return TC_OK;
}

static tc_status find_blob(const tc_records *records, const char *name, tc_arena *arena,
                           void **data, size_t *size)
{
    tc_record record = {0};
    while (tc_records_next(records, &record)) {
        if (record.number != TENSORC__RECORD__CONTENT_BLOB)
            continue;
        tc_stored_blob blob;
        TC_TRY(tc_records_blob(records, &record, arena, &blob));
        if (strcmp(blob.name, name) == 0)
            return copy_blob(&blob, data, size);
    }
    return tc_fail(TC_NOT_FOUND, "checkpoint '%s' has no blob '%s'", records->path, name);
}

tc_status tc_checkpoint_read_blob(const char *path, const char *name, void **data, size_t *size)
{
    if (!path || !name || !data || !size)
        return tc_fail(TC_INVALID_ARGUMENT, "reading a blob: an argument is NULL");
    *data = NULL;
    *size = 0;
    tc_records records;
    TC_TRY(tc_records_open(&records, path, TENSORC__KIND__KIND_CHECKPOINT));
    tc_arena arena = {0};
    tc_status status = find_blob(&records, name, &arena, data, size);
    tc_arena_free(&arena);
    tc_records_close(&records);
    return status;
}

void tc_blob_free(void *data)
{
    tc_free(data);
}
