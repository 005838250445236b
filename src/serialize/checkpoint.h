/* Folders of checkpoints. */
#ifndef TC_SERIALIZE_CHECKPOINT_H
#define TC_SERIALIZE_CHECKPOINT_H

#include <stdint.h>

#include <tensorc/status.h>

#include "base/alloc.h"

/** Room for "checkpoint-<step>.tcc". */
#define TC_CHECKPOINT_NAME_SIZE 48

/** A file that is called like a checkpoint. */
typedef struct tc_checkpoint_entry {
    uint64_t sequence; /* when it was saved; 0: its header cannot be read */
    uint64_t step;
} tc_checkpoint_entry;

/** Those of a folder, newest first. */
typedef struct tc_checkpoint_list {
    TC_VECTOR(tc_checkpoint_entry) entries;
} tc_checkpoint_list;

void tc_checkpoint_name(uint64_t step, char name[TC_CHECKPOINT_NAME_SIZE]);
/** Looks into the headers alone. Free the list also after a failure. */
TC_MUST_USE tc_status tc_checkpoint_list_read(const char *folder, tc_checkpoint_list *list);
void tc_checkpoint_list_free(tc_checkpoint_list *list);

#endif
