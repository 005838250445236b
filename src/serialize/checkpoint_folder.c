#include "serialize/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "serialize/records.h"
#include "tensorc/serialize.h"

#define NAME_PREFIX "checkpoint-"
#define NAME_SUFFIX ".tcc"

void tc_checkpoint_name(uint64_t step, char name[TC_CHECKPOINT_NAME_SIZE])
{
    snprintf(name, TC_CHECKPOINT_NAME_SIZE, NAME_PREFIX "%llu" NAME_SUFFIX,
             (unsigned long long)step);
}

/* Exactly the names that tc_checkpoint_name makes. */
static bool parse_name(const char *name, uint64_t *step)
{
    size_t prefix = strlen(NAME_PREFIX);
    if (strncmp(name, NAME_PREFIX, prefix) != 0 || name[prefix] < '0' || name[prefix] > '9')
        return false;
    char same[TC_CHECKPOINT_NAME_SIZE];
    *step = strtoull(name + prefix, NULL, 10);
    tc_checkpoint_name(*step, same);
    return strcmp(name, same) == 0;
}

static int newer_first(const void *a, const void *b)
{
    const tc_checkpoint_entry *x = a, *y = b;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? 1 : -1;
    return (x->step < y->step) - (x->step > y->step);
}

static tc_status add_entry(const char *folder, const char *name, tc_checkpoint_list *list)
{
    tc_checkpoint_entry entry = {0};
    if (!parse_name(name, &entry.step))
        return TC_OK;
    char *path = tc_path_join(folder, name);
    if (!path)
        return TC_RESOURCE_EXHAUSTED;
    tc_records records;
    tc_status status = tc_records_open_header(&records, path);
    tc_free(path);
    if (status == TC_RESOURCE_EXHAUSTED)
        return status;
    if (status == TC_OK) {
        if (records.kind == TENSORC__KIND__KIND_CHECKPOINT)
            entry.sequence = records.sequence;
        tc_records_close(&records);
    }
    return tc_vector_push(&list->entries, entry) ? TC_OK
                                                 : tc_fail_memory(sizeof entry, "a checkpoint");
}

tc_status tc_checkpoint_list_read(const char *folder, tc_checkpoint_list *list)
{
    *list = (tc_checkpoint_list){0};
    DIR *entries = opendir(folder);
    if (!entries)
        return tc_fail_errno(errno, "cannot open folder", folder);
    tc_status status = TC_OK;
    for (struct dirent *entry; status == TC_OK && (entry = readdir(entries));)
        status = add_entry(folder, entry->d_name, list);
    closedir(entries);
    if (list->entries.count > 1)
        qsort(list->entries.data, list->entries.count, sizeof *list->entries.data, newer_first);
    return status;
}

void tc_checkpoint_list_free(tc_checkpoint_list *list)
{
    tc_vector_free(&list->entries);
}

/* NOT_FOUND when the file is damaged or has gone meanwhile. */
static tc_status try_checkpoint(const char *folder, uint64_t step, char *path, size_t path_size)
{
    char name[TC_CHECKPOINT_NAME_SIZE];
    tc_checkpoint_name(step, name);
    char *candidate = tc_path_join(folder, name);
    if (!candidate)
        return TC_RESOURCE_EXHAUSTED;
    tc_records records;
    tc_status status = tc_records_open(&records, candidate, TENSORC__KIND__KIND_CHECKPOINT);
    if (status == TC_OK) {
        tc_records_close(&records);
        size_t size = strlen(candidate) + 1;
        if (size > path_size)
            status =
                tc_fail(TC_INVALID_ARGUMENT, "the path of the checkpoint needs %zu bytes", size);
        else
            memcpy(path, candidate, size);
    } else if (status != TC_RESOURCE_EXHAUSTED) {
        status = TC_NOT_FOUND;
    }
    tc_free(candidate);
    return status;
}

tc_status tc_checkpoint_latest(const char *folder, char *path, size_t path_size)
{
    if (!folder || !path || path_size == 0)
        return tc_fail(TC_INVALID_ARGUMENT, "latest checkpoint: %s",
                       folder ? "there is no room for the path" : "the folder is NULL");
    path[0] = 0;
    tc_checkpoint_list list;
    tc_status status = tc_checkpoint_list_read(folder, &list);
    bool found = false;
    for (size_t i = 0; i < list.entries.count && status == TC_OK && !found; i++) {
        status = try_checkpoint(folder, list.entries.data[i].step, path, path_size);
        found = status == TC_OK;
        if (status == TC_NOT_FOUND)
            status = TC_OK;
    }
    size_t count = list.entries.count;
    tc_checkpoint_list_free(&list);
    if (status == TC_OK && !found)
        return tc_fail(TC_NOT_FOUND,
                       count ? "folder '%s' has no complete checkpoint: all are damaged"
                             : "folder '%s' has no checkpoint",
                       folder);
    return status;
}
