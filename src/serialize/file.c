#include "serialize/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

#define TEMPORARY_PREFIX ".tensorc-"
#define TEMPORARY_SUFFIX ".tmp"
#define BUFFER_SIZE      ((size_t)256 * 1024)
/* Some systems cut larger writes, and none is faster with them. */
#define WRITE_SIZE ((size_t)64 * 1024 * 1024)

tc_status tc_fail_errno(int error, const char *what, const char *path)
{
    static const struct {
        int error;
        tc_status status;
    } known[] = {
        {ENOENT, TC_NOT_FOUND},           {ENOTDIR, TC_NOT_FOUND},
        {EACCES, TC_PERMISSION_DENIED},   {EPERM, TC_PERMISSION_DENIED},
        {EROFS, TC_PERMISSION_DENIED},    {ENOSPC, TC_RESOURCE_EXHAUSTED},
        {EDQUOT, TC_RESOURCE_EXHAUSTED},  {EFBIG, TC_RESOURCE_EXHAUSTED},
        {ENOMEM, TC_RESOURCE_EXHAUSTED},  {EMFILE, TC_RESOURCE_EXHAUSTED},
        {ENFILE, TC_RESOURCE_EXHAUSTED},  {ENAMETOOLONG, TC_INVALID_ARGUMENT},
        {EISDIR, TC_FAILED_PRECONDITION}, {ELOOP, TC_INVALID_ARGUMENT},
    };
    tc_status status = TC_UNAVAILABLE;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].error == error)
            status = known[i].status;
    char buffer[128];
    return tc_fail(status, "%s '%s': %s", what, path, strerror_r(error, buffer, sizeof buffer));
}

/*
 * Paths
 */
char *tc_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = tc_alloc(length + 1);
    if (!folder) {
        tc_fail_memory(length + 1, "a path");
        return NULL;
    }
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    return folder;
}

char *tc_path_join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = tc_alloc(size);
    if (!path) {
        tc_fail_memory(size, "a path");
        return NULL;
    }
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static tc_status flush_folder(const char *folder)
{
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) /* a folder may be writable and not readable: then there is nothing to be done */
        return errno == EACCES ? TC_OK : tc_fail_errno(errno, "cannot open folder", folder);
    int error = fsync(file) == 0 ? 0 : errno;
    close(file);
    if (error && error != EINVAL && error != ENOTSUP) /* file systems without this notion */
        return tc_fail_errno(error, "cannot flush folder", folder);
    return TC_OK;
}

/* Makes one folder of which all above exist. */
static tc_status create_folder(const char *path)
{
    if (mkdir(path, 0777) == 0) {
        char *parent = tc_path_folder(path);
        tc_status status = parent ? flush_folder(parent) : TC_RESOURCE_EXHAUSTED;
        tc_free(parent);
        return status;
    }
    int error = errno;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return TC_OK;
    return tc_fail_errno(error == EEXIST ? ENOTDIR : error, "cannot make folder", path);
}

tc_status tc_folder_create(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    char *part = tc_alloc(length + 1);
    if (!part)
        return tc_fail_memory(length + 1, "a path");
    memcpy(part, path, length);
    part[length] = 0;
    tc_status status = TC_OK;
    for (size_t i = 1; i < length && status == TC_OK; i++) {
        if (part[i] != '/')
            continue;
        part[i] = 0;
        status = create_folder(part);
        part[i] = '/';
    }
    if (status == TC_OK)
        status = create_folder(part);
    tc_free(part);
    return status;
}

/*
 * Output
 */
static void output_free(tc_outfile *output)
{
    tc_free(output->folder);
    tc_free(output->temporary);
    tc_free(output->buffer);
    *output = (tc_outfile){.file = -1, .status = output->status};
}

void tc_outfile_abandon(tc_outfile *output)
{
    if (output->file >= 0) {
        unlink(output->temporary);
        close(output->file);
    }
    output_free(output);
}

static tc_status output_fail(tc_outfile *output, int error, const char *what)
{
    output->status = tc_fail_errno(error, what, output->temporary);
    return output->status;
}

/*
 * Between creating a file and locking it, another process may take it for the leftover of a dead
 * one and remove it: then the name no longer leads to it.
 */
static bool own(int file, const char *path)
{
    struct stat mine, there;
    if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return false;
    return fstat(file, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

tc_status tc_outfile_open(tc_outfile *output, const char *folder)
{
    static atomic_uint counter;
    enum { attempts = 1000, name_room = 64 };
    *output = (tc_outfile){.file = -1};
    size_t size = strlen(folder) + name_room;
    output->folder = tc_strdup(folder);
    output->temporary = tc_alloc(size);
    output->buffer = tc_alloc(BUFFER_SIZE);
    if (!output->folder || !output->temporary || !output->buffer)
        output->status = tc_fail_memory(BUFFER_SIZE, "writing a file");
    for (int i = 0; output->status == TC_OK && output->file < 0; i++) {
        snprintf(output->temporary, size, "%s/" TEMPORARY_PREFIX "%ld-%u" TEMPORARY_SUFFIX, folder,
                 (long)getpid(), atomic_fetch_add(&counter, 1));
        output->file = open(output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (output->file < 0 && (errno != EEXIST || i == attempts))
            output->status = tc_fail_errno(errno, "cannot create a file in", folder);
        if (output->file >= 0 && !own(output->file, output->temporary)) {
            close(output->file);
            output->file = -1;
        }
    }
    if (output->status != TC_OK)
        tc_outfile_abandon(output);
    return output->status;
}

static tc_status write_all(tc_outfile *output, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(output->file, data, size < WRITE_SIZE ? size : WRITE_SIZE);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return output_fail(output, written < 0 ? errno : EIO, "cannot write");
        data += written;
        size -= (size_t)written;
    }
    return TC_OK;
}

static tc_status flush(tc_outfile *output)
{
    size_t size = output->buffered;
    output->buffered = 0;
    return write_all(output, output->buffer, size);
}

tc_status tc_outfile_write(tc_outfile *output, const void *data, size_t size)
{
    if (output->status != TC_OK || size == 0)
        return output->status;
    output->offset += size;
    if (size > BUFFER_SIZE - output->buffered)
        TC_TRY(flush(output));
    if (size > BUFFER_SIZE)
        return write_all(output, data, size);
    memcpy(output->buffer + output->buffered, data, size);
    output->buffered += size;
    return TC_OK;
}

tc_status tc_outfile_finish(tc_outfile *output, const char *path)
{
    if (output->status == TC_OK)
        (void)flush(output);
    while (output->status == TC_OK && fsync(output->file) != 0)
        if (errno != EINTR)
            output_fail(output, errno, "cannot flush");
    /* Renamed while still locked: a cleaner must not find it under its temporary name. */
    if (output->status == TC_OK && rename(output->temporary, path) != 0)
        output->status = tc_fail_errno(errno, "cannot replace", path);
    if (output->status != TC_OK) {
        tc_outfile_abandon(output);
        return output->status;
    }
    close(output->file); /* everything is on the disk already */
    output->file = -1;
    output->status = flush_folder(output->folder);
    output_free(output);
    return output->status;
}

static bool is_temporary(const char *name)
{
    size_t prefix = strlen(TEMPORARY_PREFIX);
    if (strncmp(name, TEMPORARY_PREFIX, prefix) != 0)
        return false;
    name += prefix;
    size_t process = strspn(name, "0123456789");
    size_t number = name[process] == '-' ? strspn(name + process + 1, "0123456789") : 0;
    return process && number && strcmp(name + process + 1 + number, TEMPORARY_SUFFIX) == 0;
}

void tc_outfile_clean(const char *folder)
{
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (!is_temporary(entry->d_name))
            continue;
        int file =
            openat(dirfd(entries), entry->d_name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (file < 0)
            continue;
        if (flock(file, LOCK_EX | LOCK_NB) == 0) /* a living writer would hold the lock */
            unlinkat(dirfd(entries), entry->d_name, 0);
        close(file);
    }
    closedir(entries);
}

/*
 * Mapping
 */
static tc_status map(int file, const char *path, tc_mapping *mapping)
{
    struct stat info;
    if (fstat(file, &info) != 0)
        return tc_fail_errno(errno, "cannot read", path);
    if (S_ISDIR(info.st_mode))
        return tc_fail_errno(EISDIR, "cannot read", path);
    if (!S_ISREG(info.st_mode))
        return tc_fail(TC_INVALID_ARGUMENT, "cannot read '%s': it is no regular file", path);
    if (info.st_size == 0)
        return TC_OK;
    if ((uint64_t)info.st_size > PTRDIFF_MAX)
        return tc_fail_errno(EFBIG, "cannot read", path);
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED)
        return tc_fail_errno(errno, "cannot map", path);
    mapping->data = data;
    mapping->size = (size_t)info.st_size;
    return TC_OK;
}

tc_status tc_mapping_open(const char *path, tc_mapping **out)
{
    *out = NULL;
    /* Not to wait for whoever might open the other end of a pipe. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return tc_fail_errno(errno, "cannot open", path);
    tc_mapping *mapping = tc_alloc_zero(1, sizeof *mapping);
    tc_status status =
        mapping ? map(file, path, mapping) : tc_fail_memory(sizeof *mapping, "reading a file");
    close(file);
    if (status != TC_OK) {
        tc_free(mapping);
        return status;
    }
    atomic_init(&mapping->references, 1);
    *out = mapping;
    return TC_OK;
}

tc_mapping *tc_mapping_retain(tc_mapping *mapping)
{
    atomic_fetch_add_explicit(&mapping->references, 1, memory_order_relaxed);
    return mapping;
}

void tc_mapping_forget(const tc_mapping *mapping, const uint8_t *data, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t begin = tc_align_up((size_t)(data - mapping->data), page);
    size_t end = ((size_t)(data - mapping->data) + size) / page * page;
    if (begin < end)
        (void)madvise((void *)(uintptr_t)(mapping->data + begin), end - begin, MADV_DONTNEED);
}

void tc_mapping_release(void *argument)
{
    tc_mapping *mapping = argument;
    if (!mapping || atomic_fetch_sub_explicit(&mapping->references, 1, memory_order_acq_rel) != 1)
        return;
    if (mapping->data)
        munmap((void *)(uintptr_t)mapping->data, mapping->size);
    tc_free(mapping);
}
