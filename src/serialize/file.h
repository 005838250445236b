/* Files of the operating system: writing them so that nobody sees half of one, and mapping them. */
#ifndef TC_SERIALIZE_FILE_H
#define TC_SERIALIZE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/status.h>

/**
 * Records "<what> '<path>': <meaning of error>" and returns the status that fits `error`, an errno
 * value: ENOENT NOT_FOUND, EACCES PERMISSION_DENIED, ENOSPC RESOURCE_EXHAUSTED, ..., UNAVAILABLE.
 */
tc_status tc_fail_errno(int error, const char *what, const char *path);

/**
 * A file on its way: written under a temporary name in the folder of its target, and renamed when
 * complete. The temporary file is locked (flock) as long as its writer lives. After the first
 * failure all writes return it again. Not thread-safe.
 */
typedef struct tc_outfile {
    int file; /* -1: closed */
    char *folder;
    char *temporary;
    uint8_t *buffer;
    size_t buffered;
    uint64_t offset; /* bytes written so far, buffered ones included */
    tc_status status;
} tc_outfile;

/** Opens a temporary file in `folder`. On failure nothing is left behind. */
TC_MUST_USE tc_status tc_outfile_open(tc_outfile *output, const char *folder);
TC_MUST_USE tc_status tc_outfile_write(tc_outfile *output, const void *data, size_t size);
/**
 * Flushes everything to the disk, renames the file to `path`, which must be in the folder, and
 * flushes the folder. The output is closed in any case, and the temporary file gone.
 */
TC_MUST_USE tc_status tc_outfile_finish(tc_outfile *output, const char *path);
/** Closes and removes the temporary file; nothing when it is closed already. */
void tc_outfile_abandon(tc_outfile *output);

/** Removes temporary files in `folder` whose writers have died. Leaves what it may not remove. */
void tc_outfile_clean(const char *folder);

/** Folder part of a path, "." when it has none. The caller frees it; NULL: memory, error set. */
char *tc_path_folder(const char *path);
/** "<folder>/<name>"; the caller frees it. NULL: memory, error set. */
char *tc_path_join(const char *folder, const char *name);
/** Makes the folder and those above it that are missing. */
TC_MUST_USE tc_status tc_folder_create(const char *path);

/** A file in memory, read-only. Thread-safe. */
typedef struct tc_mapping {
    atomic_size_t references;
    const uint8_t *data; /* NULL when the file is empty */
    size_t size;
} tc_mapping;

/**
 * Maps a regular file. Whoever shortens the file while it is mapped makes later reads fail with
 * SIGBUS; our writers never do, because they rename. The caller owns one reference.
 */
TC_MUST_USE tc_status tc_mapping_open(const char *path, tc_mapping **out);
tc_mapping *tc_mapping_retain(tc_mapping *mapping);
/** Lets the system drop the whole pages of a part of the mapping; reading brings them back. */
void tc_mapping_forget(const tc_mapping *mapping, const uint8_t *data, size_t size);
/** Takes a tc_mapping, so that it can be the deleter of a tensor. NULL is allowed. */
void tc_mapping_release(void *mapping);

#endif
