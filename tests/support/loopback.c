#include "support/loopback.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "support/loopback_work.h"

enum { poison = 0xA5, page = 4096 };

loop_state loop = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A block of memory: what it is called and where it lies. */
typedef struct memory {
    struct memory *next;
    char *address; /* of a device: without access */
    char *real;
    size_t bytes;
    int32_t device; /* TC_DEVICE_HOST: pinned */
} memory;

tc_status loop_fail(tc_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)loop.host->fail(status, format, arguments);
    va_end(arguments);
    return status;
}

void loop_violate(const char *what)
{
    pthread_mutex_lock(&loop.lock);
    if (!loop.violation[0])
        snprintf(loop.violation, sizeof loop.violation, "%s", what);
    pthread_mutex_unlock(&loop.lock);
}

bool loop_fails(loopback_call call)
{
    bool now = false;
    pthread_mutex_lock(&loop.lock);
    const loopback_call kinds[] = {call, LOOPBACK_ANY};
    for (int i = 0; i < 2; i++) {
        loop.counts[kinds[i]]++;
        now |= loop.fail_at[kinds[i]] >= 0 && loop.fail_at[kinds[i]]-- == 0;
    }
    loop.failed |= now;
    pthread_mutex_unlock(&loop.lock);
    return now;
}

/*
 * Memory
 */

void *loop_real(const void *address, int32_t device, size_t bytes, bool pinned)
{
    const char *at = address;
    void *real = NULL;
    bool other = false;
    pthread_mutex_lock(&loop.lock);
    for (const memory *m = loop.memories; m && !real; m = m->next) {
        if (at < m->address || at > m->address + m->bytes ||
            (at == m->address + m->bytes && bytes > 0))
            continue;
        if (m->device == device && (size_t)(m->address + m->bytes - at) >= bytes)
            real = m->real + (at - m->address);
        else
            other = bytes > 0;
    }
    pthread_mutex_unlock(&loop.lock);
    if (!real && device == TC_DEVICE_HOST && !pinned && !other)
        return (void *)(uintptr_t)address;
    if (!real && bytes > 0)
        loop_violate(device == TC_DEVICE_HOST
                         ? "an address is none of the processor's pinned memory"
                         : "an address is none of the device's memory");
    return real;
}

static tc_status add_memory(int32_t device, size_t bytes, void **out)
{
    size_t size = (bytes + page - 1) / page * page + page;
    memory *m = calloc(1, sizeof *m);
    char *real = aligned_alloc(256, (bytes + 511) / 256 * 256);
    char *address =
        device == TC_DEVICE_HOST
            ? real
            : mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!m || !real || address == MAP_FAILED) {
        free(m);
        free(real);
        return loop_fail(TC_RESOURCE_EXHAUSTED, "the test has no memory left");
    }
    memset(real, poison, bytes);
    *m = (memory){.address = address, .real = real, .bytes = bytes, .device = device};
    pthread_mutex_lock(&loop.lock);
    m->next = loop.memories;
    loop.memories = m;
    *(device == TC_DEVICE_HOST ? &loop.pinned : &loop.live[device]) += bytes;
    pthread_mutex_unlock(&loop.lock);
    *out = address;
    return TC_OK;
}

static void remove_memory(int32_t device, void *address)
{
    pthread_mutex_lock(&loop.lock);
    memory **link = &loop.memories;
    while (*link && ((*link)->address != address || (*link)->device != device))
        link = &(*link)->next;
    memory *m = *link;
    if (m) {
        *link = m->next;
        *(device == TC_DEVICE_HOST ? &loop.pinned : &loop.live[device]) -= m->bytes;
    }
    pthread_mutex_unlock(&loop.lock);
    if (!m) {
        loop_violate("memory is released that was not allocated there");
        return;
    }
    if (device != TC_DEVICE_HOST)
        munmap(m->address, (m->bytes + page - 1) / page * page + page);
    memset(m->real, poison, m->bytes);
    free(m->real);
    free(m);
}

static size_t device_memory(void)
{
    return loop.options.memory ? loop.options.memory : (size_t)1 << 30;
}

static tc_status loop_allocate(tc_backend *backend, int32_t device, size_t bytes, void **out)
{
    (void)backend;
    *out = NULL;
    pthread_mutex_lock(&loop.lock);
    size_t free_bytes = device_memory() - loop.live[device];
    pthread_mutex_unlock(&loop.lock);
    if (loop_fails(LOOPBACK_ALLOCATE) || bytes > free_bytes)
        return loop_fail(TC_RESOURCE_EXHAUSTED,
                         "loop:%d: %zu bytes are asked for, of %zu that are free", device, bytes,
                         free_bytes);
    return add_memory(device, bytes, out);
}

static void loop_release(tc_backend *backend, int32_t device, void *address)
{
    (void)backend;
    remove_memory(device, address);
}

static tc_status loop_pin(tc_backend *backend, size_t bytes, void **out)
{
    (void)backend;
    *out = NULL;
    if (loop_fails(LOOPBACK_PIN))
        return loop_fail(TC_RESOURCE_EXHAUSTED, "loop: %zu bytes cannot be pinned", bytes);
    return add_memory(TC_DEVICE_HOST, bytes, out);
}

static void loop_unpin(tc_backend *backend, void *address)
{
    (void)backend;
    remove_memory(TC_DEVICE_HOST, address);
}

static tc_status loop_memory(tc_backend *backend, int32_t device, tc_device_memory *out)
{
    (void)backend;
    pthread_mutex_lock(&loop.lock);
    *out = (tc_device_memory){device_memory() - loop.live[device], device_memory()};
    pthread_mutex_unlock(&loop.lock);
    return TC_OK;
}

static tc_status loop_describe(tc_backend *backend, int32_t device, tc_device_info *info)
{
    (void)backend;
    snprintf(info->name, sizeof info->name, "loop:%d", device);
    snprintf(info->description, sizeof info->description, "the processor as a device, for tests");
    info->memory_bytes = device_memory();
    return TC_OK;
}

/*
 * The backend
 */
typedef struct loop_backend {
    tc_backend backend;
    tc_kernel *kernels;
    const tc_kernel **list;
} loop_backend;

static void loop_destroy(tc_backend *backend)
{
    loop_backend *own = backend->state;
    free(own->kernels);
    free(own->list);
    free(own);
}

tc_status loopback_entry(const tc_host *host, tc_backend **out)
{
    loop.host = host;
    *out = NULL;
    if (host->version != TC_BACKEND_VERSION)
        return loop_fail(TC_FAILED_PRECONDITION, "loop: for another version");
    loop_backend *own = calloc(1, sizeof *own);
    if (!own)
        return loop_fail(TC_RESOURCE_EXHAUSTED, "the test has no memory left");
    own->backend = (tc_backend){
        .name = "loop",
        .type = LOOPBACK_TYPE,
        .n_devices = loop.options.n_devices ? loop.options.n_devices : 1,
        .state = own,
        .describe = loop_describe,
        .memory = loop_memory,
        .allocate = loop_allocate,
        .release = loop_release,
        .pin = loop_pin,
        .unpin = loop_unpin,
        .destroy = loop_destroy,
    };
    loop_work(&own->backend);
    if (loop_list_kernels(&own->kernels, &own->list, &own->backend.n_kernels) != TC_OK) {
        loop_destroy(&own->backend);
        return loop_fail(TC_RESOURCE_EXHAUSTED, "the test has no memory left");
    }
    own->backend.kernels = own->list;
    *out = &own->backend;
    return TC_OK;
}

/*
 * For tests
 */
void loopback_reset(const loopback_options *options)
{
    if (!loop.registered && tc_backend_register(loopback_entry) != TC_OK)
        abort();
    loop.registered = true;
    loop.resets++;
    loop.options = options ? *options : (loopback_options){0};
    for (int i = 0; i < LOOPBACK_CALLS; i++) {
        loop.fail_at[i] = -1;
        loop.counts[i] = 0;
    }
    for (int i = 0; i < LOOP_MOST_DEVICES; i++)
        atomic_store(&loop.lost[i], false);
    loop.failed = false;
    loop.violation[0] = 0;
}

void loopback_fail_at(loopback_call call, int64_t n)
{
    pthread_mutex_lock(&loop.lock);
    loop.fail_at[call] = n;
    loop.failed = false;
    pthread_mutex_unlock(&loop.lock);
}

bool loopback_failed(void)
{
    pthread_mutex_lock(&loop.lock);
    bool failed = loop.failed;
    pthread_mutex_unlock(&loop.lock);
    return failed;
}

int64_t loopback_count(loopback_call call)
{
    pthread_mutex_lock(&loop.lock);
    int64_t count = loop.counts[call];
    pthread_mutex_unlock(&loop.lock);
    return count;
}

size_t loopback_live_bytes(void)
{
    size_t live = 0;
    pthread_mutex_lock(&loop.lock);
    for (int i = 0; i < LOOP_MOST_DEVICES; i++)
        live += loop.live[i];
    pthread_mutex_unlock(&loop.lock);
    return live;
}

size_t loopback_pinned_bytes(void)
{
    pthread_mutex_lock(&loop.lock);
    size_t pinned = loop.pinned;
    pthread_mutex_unlock(&loop.lock);
    return pinned;
}

int64_t loopback_live_objects(void)
{
    return atomic_load(&loop.objects);
}

const char *loopback_violation(void)
{
    return loop.violation;
}
