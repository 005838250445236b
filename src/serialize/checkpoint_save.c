#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "serialize/checkpoint.h"
#include "serialize/records.h"
#include "tensorc/serialize.h"

enum { default_keep = 3 };

/* What goes into the folder. */
typedef struct tc_saving {
    const char *folder;
    tc_records_writer writer;
    uint64_t variables;
    uint64_t sequence;
} tc_saving;

static tc_status put_variable(void *context, const tc_variable_info *variable)
{
    tc_saving *saving = context;
    if (!variable->tensor) /* of another session of the store, which has not used it yet */
        return TC_OK;
    saving->variables++;
    return tc_records_put_tensor(&saving->writer, variable->name, variable->tensor);
}

static tc_status put_all(tc_saving *saving, tc_session *session,
                         const tc_checkpoint_options *options, uint64_t *step)
{
    TC_TRY(tc_store_visit(tc_session_store(session), put_variable, saving, step));
    Tensorc__State state = TENSORC__STATE__INIT;
    state.step = *step;
    state.variables = saving->variables;
    state.blobs = options->n_blobs;
    TC_TRY(tc_records_put(&saving->writer, TENSORC__RECORD__CONTENT_STATE, &state.base));
    for (size_t i = 0; i < options->n_blobs; i++)
        TC_TRY(tc_records_put_blob(&saving->writer, options->blobs[i].name, options->blobs[i].data,
                                   options->blobs[i].size));
    return TC_OK;
}

static tc_status check_blobs(const tc_checkpoint_options *options)
{
    if (options->n_blobs > 0 && !options->blobs)
        return tc_fail(TC_INVALID_ARGUMENT, "saving a checkpoint: blobs is NULL");
    for (size_t i = 0; i < options->n_blobs; i++) {
        const tc_blob *blob = &options->blobs[i];
        if (!blob->name || !blob->name[0] || (!blob->data && blob->size > 0))
            return tc_fail(TC_INVALID_ARGUMENT, "saving a checkpoint: blob %zu has no %s", i,
                           blob->name && blob->name[0] ? "data" : "name");
        for (size_t k = 0; k < i; k++)
            if (strcmp(options->blobs[k].name, blob->name) == 0)
                return tc_fail(TC_INVALID_ARGUMENT,
                               "saving a checkpoint: two blobs are called '%s'", blob->name);
    }
    return TC_OK;
}

static tc_status find_sequence(tc_saving *saving)
{
    tc_checkpoint_list list;
    tc_status status = tc_checkpoint_list_read(saving->folder, &list);
    uint64_t newest = list.entries.count ? list.entries.data[0].sequence : 0;
    saving->sequence = newest < UINT64_MAX ? newest + 1 : newest;
    tc_checkpoint_list_free(&list);
    return status;
}

/*
 * Deletes what is older than the newest `keep`, but never what was just written. What cannot be
 * deleted stays and is no error: the checkpoint itself is safe.
 */
static void drop_old(const char *folder, size_t keep, uint64_t step)
{
    tc_checkpoint_list list;
    tc_status status = tc_checkpoint_list_read(folder, &list);
    for (size_t i = keep; status == TC_OK && i < list.entries.count; i++) {
        char name[TC_CHECKPOINT_NAME_SIZE];
        tc_checkpoint_name(list.entries.data[i].step, name);
        char *path = list.entries.data[i].step == step ? NULL : tc_path_join(folder, name);
        if (path)
            unlink(path);
        tc_free(path);
    }
    tc_checkpoint_list_free(&list);
}

static tc_status finish(tc_saving *saving, uint64_t step, char *path, size_t path_size)
{
    char name[TC_CHECKPOINT_NAME_SIZE];
    tc_checkpoint_name(step, name);
    char *target = tc_path_join(saving->folder, name);
    if (!target) {
        tc_records_abandon(&saving->writer);
        return TC_RESOURCE_EXHAUSTED;
    }
    tc_status status = TC_OK;
    size_t size = strlen(target) + 1;
    if (path && size > path_size)
        status = tc_fail(TC_INVALID_ARGUMENT,
                         "saving a checkpoint: its path needs %zu bytes, but there are %zu", size,
                         path_size);
    if (status == TC_OK)
        status = tc_records_finish(&saving->writer, target);
    else
        tc_records_abandon(&saving->writer);
    if (path && status == TC_OK)
        memcpy(path, target, size);
    tc_free(target);
    return status;
}

static tc_status save(tc_saving *saving, tc_session *session, const tc_checkpoint_options *options,
                      char *path, size_t path_size, uint64_t *step)
{
    tc_outfile_clean(saving->folder);
    TC_TRY(find_sequence(saving));
    TC_TRY(tc_records_begin(&saving->writer, saving->folder, TENSORC__KIND__KIND_CHECKPOINT,
                            saving->sequence));
    tc_status status = put_all(saving, session, options, step);
    if (status != TC_OK) {
        tc_records_abandon(&saving->writer);
        return status;
    }
    return finish(saving, *step, path, path_size);
}

tc_status tc_checkpoint_save(tc_session *session, const char *folder,
                             const tc_checkpoint_options *options, char *path, size_t path_size)
{
    TC_OPTIONS(tc_checkpoint_options, o, options);
    if (!session || !folder || !folder[0])
        return tc_fail(TC_INVALID_ARGUMENT, "saving a checkpoint: the %s is missing",
                       session ? "folder" : "session");
    TC_TRY(check_blobs(&o));
    TC_TRY(tc_session_initialize(session));
    TC_TRY(tc_folder_create(folder));
    tc_saving saving = {.folder = folder};
    uint64_t step = 0;
    TC_TRY(save(&saving, session, &o, path, path_size, &step));
    if (o.keep >= 0)
        drop_old(folder, o.keep ? (size_t)o.keep : default_keep, step);
    return TC_OK;
}
