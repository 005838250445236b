#include "kernels/cuda/compiled.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/host.h"
#include "kernels/cuda/libraries.h"

typedef struct hash {
    uint64_t low, high;
} hash;

typedef struct compiled {
    hash key; /* of all of the below: sources begin alike, and most differ in it */
    char *source;
    int32_t major, minor;
    cudaLibrary_t library;
} compiled;

/* Of the list, and of those who add to it: nobody who runs a kernel waits for a compiler. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, making = PTHREAD_MUTEX_INITIALIZER;
static compiled *list;
static int32_t count, capacity;

/*
 * The folder
 */

/* Two FNV-1a walks from different beginnings: collisions are checked against nothing but the
 * length, so 64 bits would be few. */
static hash hash_of(const char *source, int32_t major, int32_t minor, int version)
{
    hash h = {0xcbf29ce484222325u, 0x84222325cbf29ce4u};
    const uint64_t prime = 0x100000001b3u;
    const uint64_t head[] = {static_cast<uint64_t>(major) << 32 | static_cast<uint32_t>(minor),
                             static_cast<uint64_t>(version)};
    for (uint64_t word : head) {
        h.low = (h.low ^ word) * prime;
        h.high = (h.high ^ (word + 1)) * prime;
    }
    for (const char *c = source; *c; c++) {
        h.low = (h.low ^ static_cast<unsigned char>(*c)) * prime;
        h.high = (h.high ^ static_cast<unsigned char>(~*c)) * prime;
        h.high ^= h.high >> 29;
    }
    return h;
}

/* Makes the folder and its parents; false when there is none. */
static bool find_folder(char *path, size_t size)
{
    const char *own = getenv("TENSORC_CACHE"), *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length = own                      ? snprintf(path, size, "%s", own)
                 : cache && *cache == '/' ? snprintf(path, size, "%s/tensorc", cache)
                 : home && *home == '/'   ? snprintf(path, size, "%s/.cache/tensorc", home)
                                          : 0;
    if (length <= 0 || static_cast<size_t>(length) >= size)
        return false;
    for (char *c = path + 1; *c; c++)
        if (*c == '/') {
            *c = 0;
            (void)mkdir(path, 0700);
            *c = '/';
        }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

/* A file begins with this, and ends where it says. */
typedef struct header {
    char magic[8];
    uint64_t bytes;
    hash content;
} header;

static hash content_hash(const char *data, size_t bytes)
{
    hash h = {bytes, ~bytes};
    for (size_t i = 0; i < bytes; i++) {
        h.low = (h.low ^ static_cast<unsigned char>(data[i])) * 0x100000001b3u;
        h.high = (h.high + static_cast<unsigned char>(data[i])) * 0x9e3779b97f4a7c15u;
    }
    return h;
}

static const char magic[8] = {'t', 'c', 'c', 'u', 'b', 'i', 'n', '1'};

static bool read_all(int file, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(file, static_cast<char *>(to) + done, bytes - done);
        if (n <= 0)
            return false;
        done += static_cast<size_t>(n);
    }
    return true;
}

static bool write_all(int file, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(file, static_cast<const char *>(from) + done, bytes - done);
        if (n <= 0)
            return false;
        done += static_cast<size_t>(n);
    }
    return true;
}

static char *load_file(const char *path, size_t *bytes)
{
    header head;
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    char *data = NULL;
    bool good = fstat(file, &info) == 0 && read_all(file, &head, sizeof head) &&
                memcmp(head.magic, magic, sizeof magic) == 0 && info.st_size >= 0 &&
                static_cast<uint64_t>(info.st_size) == sizeof head + head.bytes &&
                (data = static_cast<char *>(tc_cuda_host->allocate(head.bytes + 1))) != NULL &&
                read_all(file, data, head.bytes);
    close(file);
    if (good) {
        hash h = content_hash(data, head.bytes);
        good = h.low == head.content.low && h.high == head.content.high;
    }
    if (!good) {
        tc_cuda_host->release(data);
        return NULL;
    }
    *bytes = head.bytes;
    return data;
}

/* Under a name of its own first: others see all of it or nothing. */
static void save_file(const char *path, const char *data, size_t bytes)
{
    char temporary[4200];
    header head = {{0}, bytes, content_hash(data, bytes)};
    memcpy(head.magic, magic, sizeof magic);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int file = mkstemp(temporary);
    if (file < 0)
        return;
    bool good = write_all(file, &head, sizeof head) && write_all(file, data, bytes);
    good = close(file) == 0 && good;
    if (!good || rename(temporary, path) != 0)
        (void)unlink(temporary);
}

/*
 * Compiling
 */
static tc_status check(const tc_cuda_nvrtc *rtc, nvrtcResult result, const char *what)
{
    if (result == NVRTC_SUCCESS)
        return TC_OK;
    return tc_kernel_fail(result == NVRTC_ERROR_OUT_OF_MEMORY ? TC_RESOURCE_EXHAUSTED : TC_INTERNAL,
                          "NVRTC: %s: %s", what, rtc->nvrtcGetErrorString(result));
}

static tc_status fail_with_log(const tc_cuda_nvrtc *rtc, nvrtcProgram program)
{
    char text[1024] = "";
    size_t bytes = 0;
    if (rtc->nvrtcGetProgramLogSize(program, &bytes) == NVRTC_SUCCESS && bytes > 1) {
        char *log = static_cast<char *>(tc_cuda_host->allocate(bytes));
        if (log && rtc->nvrtcGetProgramLog(program, log) == NVRTC_SUCCESS)
            snprintf(text, sizeof text, "%s", log);
        tc_cuda_host->release(log);
    }
    return tc_kernel_fail(TC_INTERNAL, "NVRTC does not compile a generated kernel: %s", text);
}

static tc_status compile_program(const tc_cuda_nvrtc *rtc, nvrtcProgram program,
                                 const struct tc_cuda_device *device, char **binary, size_t *bytes)
{
    char architecture[32];
    snprintf(architecture, sizeof architecture, "--gpu-architecture=sm_%d%d",
             static_cast<int>(device->major), static_cast<int>(device->minor));
    const char *const options[] = {architecture, "--std=c++17",
                                   "--device-as-default-execution-space"};
    nvrtcResult result = rtc->nvrtcCompileProgram(program, 3, options);
    if (result == NVRTC_ERROR_COMPILATION)
        return fail_with_log(rtc, program);
    TC_TRY(check(rtc, result, "compiling"));
    TC_TRY(check(rtc, rtc->nvrtcGetCUBINSize(program, bytes), "asking for the size"));
    *binary = static_cast<char *>(tc_cuda_host->allocate(*bytes + 1));
    if (!*binary)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory for a compiled kernel");
    return check(rtc, rtc->nvrtcGetCUBIN(program, *binary), "taking the result");
}

static tc_status compile(const char *source, const struct tc_cuda_device *device, char **binary,
                         size_t *bytes)
{
    const tc_cuda_nvrtc *rtc;
    nvrtcProgram program;
    *binary = NULL;
    TC_TRY(tc_cuda_use_nvrtc(&rtc));
    TC_TRY(check(rtc, rtc->nvrtcCreateProgram(&program, source, "fused.cu", 0, NULL, NULL),
                 "starting"));
    tc_status status = compile_program(rtc, program, device, binary, bytes);
    (void)rtc->nvrtcDestroyProgram(&program);
    if (status != TC_OK) {
        tc_cuda_host->release(*binary);
        *binary = NULL;
    }
    return status;
}

/* From the folder, else from the compiler. */
static tc_status make_binary(const char *source, hash h, const struct tc_cuda_device *device,
                             char **binary, size_t *bytes)
{
    char folder[4000], path[4100];
    bool kept = find_folder(folder, sizeof folder);
    if (kept) {
        snprintf(path, sizeof path, "%s/%016llx%016llx.cubin", folder,
                 static_cast<unsigned long long>(h.high), static_cast<unsigned long long>(h.low));
        *binary = load_file(path, bytes);
        if (*binary)
            return TC_OK;
    }
    TC_TRY(compile(source, device, binary, bytes));
    if (kept)
        save_file(path, *binary, *bytes);
    return TC_OK;
}

/*
 * The list
 */
static bool append(const compiled *c)
{
    if (count == capacity) {
        int32_t more = capacity ? 2 * capacity : 64;
        compiled *larger = static_cast<compiled *>(
            tc_cuda_host->allocate(static_cast<size_t>(more) * sizeof *larger));
        if (!larger)
            return false;
        if (count > 0)
            memcpy(larger, list, static_cast<size_t>(count) * sizeof *larger);
        tc_cuda_host->release(list);
        list = larger;
        capacity = more;
    }
    list[count++] = *c;
    return true;
}

static tc_status add(const char *source, hash key, const struct tc_cuda_device *device)
{
    char *binary = NULL;
    size_t bytes = 0, length = strlen(source) + 1;
    compiled c = {key, NULL, device->major, device->minor, NULL};
    TC_TRY(make_binary(source, key, device, &binary, &bytes));
    tc_status status = tc_cuda_check(
        cudaLibraryLoadData(&c.library, binary, NULL, NULL, 0, NULL, NULL, 0), "loading a kernel");
    tc_cuda_host->release(binary);
    TC_TRY(status);
    c.source = static_cast<char *>(tc_cuda_host->allocate(length));
    if (c.source)
        memcpy(c.source, source, length);
    pthread_mutex_lock(&lock);
    bool kept = c.source && append(&c);
    pthread_mutex_unlock(&lock);
    if (kept)
        return TC_OK;
    tc_cuda_host->release(c.source);
    (void)cudaLibraryUnload(c.library);
    return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory for compiled kernels");
}

tc_status tc_cuda_compile(const char *source, int32_t device, int32_t *number)
{
    const struct tc_cuda_device *of = tc_cuda_device_at(device);
    const hash key = hash_of(source, of->major, of->minor, CUDART_VERSION);
    TC_CUDA_TRY(cudaSetDevice(device), "selecting the device");
    pthread_mutex_lock(&making); /* the list grows under it alone: it may be read */
    tc_status status = TC_OK;
    int32_t i = 0;
    while (i < count && !(list[i].key.low == key.low && list[i].key.high == key.high &&
                          list[i].major == of->major && list[i].minor == of->minor &&
                          strcmp(list[i].source, source) == 0))
        i++;
    *number = i;
    if (i == count)
        status = add(source, key, of);
    pthread_mutex_unlock(&making);
    return status;
}

tc_status tc_cuda_compiled_kernel(int32_t number, const char *name, const void **kernel)
{
    pthread_mutex_lock(&lock);
    cudaLibrary_t library = list[number].library;
    pthread_mutex_unlock(&lock);
    cudaKernel_t found;
    TC_CUDA_TRY(cudaLibraryGetKernel(&found, library, name), "finding a kernel");
    *kernel = reinterpret_cast<const void *>(found);
    return TC_OK;
}

void tc_cuda_compiled_destroy(void)
{
    pthread_mutex_lock(&lock);
    for (int32_t i = 0; i < count; i++) {
        (void)cudaLibraryUnload(list[i].library);
        tc_cuda_host->release(list[i].source);
    }
    tc_cuda_host->release(list);
    list = NULL;
    count = capacity = 0;
    pthread_mutex_unlock(&lock);
}
