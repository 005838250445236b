#include "runtime/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"
#include "base/text.h"
#include "core/registry.h"

/* Kinds of devices that plug-ins are looked for. */
static const char *const plugin_names[] = {"cuda"};

enum { N_PLUGINS = sizeof plugin_names / sizeof plugin_names[0], MOST_REGISTERED = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static tc_backend_entry registered[MOST_REGISTERED];
static int32_t n_registered;
static tc_devices *shared;
static int32_t users; /* of `shared` */

tc_status tc_backend_register(tc_backend_entry entry)
{
    tc_status status = TC_OK;
    if (!entry)
        return tc_fail(TC_INVALID_ARGUMENT, "backend: the entry is NULL");
    pthread_mutex_lock(&lock);
    for (int32_t i = 0; i < n_registered && status == TC_OK; i++)
        if (registered[i] == entry)
            status = tc_fail(TC_ALREADY_EXISTS, "backend: it is registered already");
    if (status == TC_OK && n_registered == MOST_REGISTERED)
        status = tc_fail(TC_RESOURCE_EXHAUSTED, "backend: %d are registered, which is the most",
                         MOST_REGISTERED);
    if (status == TC_OK)
        registered[n_registered++] = entry;
    pthread_mutex_unlock(&lock);
    return status;
}

static const tc_host host = {
    .version = TC_BACKEND_VERSION,
    .fail = tc_fail_v,
    .error_message = tc_error_message,
    .allocate = tc_alloc,
    .release = tc_free,
    .prepare_params = tc_prepare_params,
};

/*
 * One backend
 */
static tc_status check_backend(const tc_backend *b)
{
    if (!b || !b->name || !b->name[0] || strlen(b->name) > 24 || b->type == TC_DEVICE_CPU ||
        b->n_devices < 1 || b->n_kernels < 0 || (b->n_kernels > 0 && !b->kernels))
        return tc_fail(TC_INTERNAL, "the backend has no name, devices or kernels");
    if (b->describe && b->memory && b->allocate && b->release && b->pin && b->unpin &&
        b->queue_create && b->queue_destroy && b->select && b->copy && b->copy_unless_fault &&
        b->order && b->wait && b->record_begin && b->record_end && b->replay &&
        b->recording_destroy && b->destroy)
        return TC_OK;
    return tc_fail(TC_INTERNAL, "the backend '%s' lacks a function", b->name);
}

static tc_status add_kernels(tc_devices *devices, const tc_backend *backend)
{
    if (!devices->kernels)
        devices->kernels = tc_registry_create();
    if (!devices->kernels)
        return TC_RESOURCE_EXHAUSTED;
    for (int32_t i = 0; i < backend->n_kernels; i++) {
        const tc_kernel *kernel = backend->kernels[i];
        if (!kernel || kernel->device != backend->type)
            return tc_fail(TC_INTERNAL, "kernel %d of the backend '%s' is of another device", i,
                           backend->name);
        TC_TRY(tc_registry_add_kernel(devices->kernels, kernel));
    }
    return TC_OK;
}

static tc_status add_devices(tc_devices *devices, tc_backend *backend)
{
    for (int32_t i = 0; i < devices->n_backends; i++)
        if (devices->backends[i]->type == backend->type ||
            strcmp(devices->backends[i]->name, backend->name) == 0)
            return tc_fail(TC_ALREADY_EXISTS, "there is a backend for such devices already");
    TC_TRY(add_kernels(devices, backend));
    devices->backends[devices->n_backends++] = backend;
    for (int32_t i = 0; i < backend->n_devices && devices->count < TC_MAX_DEVICES; i++) {
        tc_device *device = &devices->list[devices->count++];
        device->backend = backend;
        device->type = backend->type;
        device->index = i;
        snprintf(device->name, sizeof device->name, "%s:%d", backend->name, i);
    }
    return TC_OK;
}

/* Asks `entry` for its backend, which `devices` then owns. */
static tc_status start_backend(tc_devices *devices, tc_backend_entry entry)
{
    tc_backend *backend = NULL;
    (void)tc_error_take(NULL, 0);
    tc_status status = entry(&host, &backend);
    if (status != TC_OK && tc_error_status() == status)
        return status;
    /* A backend of another version cannot even tell. */
    if (status == TC_FAILED_PRECONDITION)
        return tc_fail(status, "the backend is for another version of libtensorc");
    if (status != TC_OK)
        return tc_fail(status, "the backend does not start, and tells no reason");
    status = check_backend(backend);
    if (status == TC_OK)
        status = add_devices(devices, backend);
    if (status != TC_OK && backend && backend->destroy)
        backend->destroy(backend);
    return status;
}

/*
 * Plug-ins
 */

/* The folder of the file that this code is in, with its slash; "" when it cannot be told. What a
 * program was started with may be relative, and the working directory is not to be trusted. */
static void own_folder(char *path, size_t size)
{
    Dl_info info;
    path[0] = 0;
    if (dladdr((const void *)&host, &info) && info.dli_fname && info.dli_fname[0] == '/') {
        if (strlen(info.dli_fname) < size)
            memcpy(path, info.dli_fname, strlen(info.dli_fname) + 1);
    } else {
        ssize_t length = readlink("/proc/self/exe", path, size - 1);
        path[length > 0 ? length : 0] = 0;
    }
    char *slash = strrchr(path, '/');
    path[slash ? slash - path + 1 : 0] = 0;
}

/* The library `path`, if there is one: whether the search is over. Its failure goes to `why`. */
static bool try_plugin(tc_devices *devices, const char *path, tc_text *why, tc_status *status)
{
    if (access(path, F_OK) != 0)
        return false;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, TC_BACKEND_SYMBOL) : NULL;
    if (!symbol) {
        const char *reason = dlerror();
        tc_text_append(why, "%s%s cannot be loaded: %s", why->length ? "; " : "", path,
                       reason ? reason : "it lacks " TC_BACKEND_SYMBOL);
        return false;
    }
    /* From here on it stays in memory: drivers leave threads behind. */
    tc_backend_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    tc_status started = start_backend(devices, entry);
    if (started == TC_RESOURCE_EXHAUSTED)
        *status = started;
    else if (started != TC_OK)
        tc_text_append(why, "%s%s: %s", why->length ? "; " : "", path, tc_error_message());
    return started == TC_OK || *status != TC_OK;
}

static tc_status find_plugin(tc_devices *devices, const char *name, tc_text *all)
{
    char own[1024], path[1200];
    tc_status status = TC_OK;
    tc_text why = {0};
    const char *folders = secure_getenv("TENSORC_PLUGIN_PATH");
    own_folder(own, sizeof own);
    bool done = false;
    for (const char *at = folders; at && *at && !done;) { /* what is asked for goes first */
        int length = (int)strcspn(at, ":");
        int written = snprintf(path, sizeof path, "%.*s/libtensorc_%s.so", length, at, name);
        if (*at == '/' && written > 0 && (size_t)written < sizeof path &&
            (length + 1 != (int)strlen(own) || strncmp(at, own, (size_t)length) != 0))
            done = try_plugin(devices, path, &why, &status);
        at += length + (at[length] == ':');
    }
    snprintf(path, sizeof path, "%slibtensorc_%s.so", own, name);
    done = done || (own[0] && try_plugin(devices, path, &why, &status));
    if (!done && why.length)
        tc_text_append(all, "%s%s: %s", all->length ? ". " : "", name, why.data);
    else if (!done)
        tc_text_append(all,
                       "%s%s: there is no plug-in libtensorc_%s.so in the folders of "
                       "TENSORC_PLUGIN_PATH (%s) nor beside libtensorc (%s)",
                       all->length ? ". " : "", name, name, folders ? folders : "not set", own);
    bool exhausted = why.failed || all->failed;
    tc_text_free(&why);
    return exhausted && status == TC_OK ? tc_fail_memory(all->length, "the list of devices")
                                        : status;
}

static bool has_backend(const tc_devices *devices, const char *name)
{
    for (int32_t i = 0; i < devices->n_backends; i++)
        if (strcmp(devices->backends[i]->name, name) == 0)
            return true;
    return false;
}

static tc_status find_all(tc_devices *devices, tc_text *why)
{
    for (int32_t i = 0; i < n_registered; i++) {
        tc_status status = start_backend(devices, registered[i]);
        if (status == TC_RESOURCE_EXHAUSTED)
            return status;
        if (status != TC_OK)
            tc_text_append(why, "%s%s", why->length ? ". " : "", tc_error_message());
    }
    for (int32_t i = 0; i < N_PLUGINS; i++)
        if (!has_backend(devices, plugin_names[i]))
            TC_TRY(find_plugin(devices, plugin_names[i], why));
    return why->failed ? tc_fail_memory(why->length, "the list of devices") : TC_OK;
}

/*
 * All of them
 */
static void free_devices(tc_devices *devices)
{
    tc_registry_release(devices->kernels);
    for (int32_t i = devices->n_backends - 1; i >= 0; i--)
        devices->backends[i]->destroy(devices->backends[i]);
    tc_free(devices->why);
    tc_free(devices);
}

static tc_status create_devices(tc_devices **out)
{
    tc_text why = {0};
    tc_devices *devices = tc_alloc_zero(1, sizeof *devices);
    if (!devices)
        return tc_fail_memory(sizeof *devices, "the list of devices");
    devices->count = 1;
    memcpy(devices->list[0].name, "cpu", sizeof "cpu");
    tc_status status = find_all(devices, &why);
    devices->why = why.data;
    if (status != TC_OK)
        free_devices(devices);
    else
        *out = devices;
    return status;
}

tc_status tc_devices_acquire(tc_devices **out)
{
    tc_status status = TC_OK;
    char message[TC_ERROR_MESSAGE_SIZE];
    pthread_mutex_lock(&lock);
    if (!shared) {
        /* What keeps a device away is no error of this call. */
        tc_status before = tc_error_take(message, sizeof message);
        status = create_devices(&shared);
        if (status == TC_OK)
            (void)tc_fail_saved(before, message);
    }
    if (status == TC_OK)
        users++;
    *out = shared;
    pthread_mutex_unlock(&lock);
    return status;
}

void tc_devices_release(tc_devices *devices)
{
    if (!devices)
        return;
    pthread_mutex_lock(&lock);
    if (--users == 0) {
        shared = NULL;
        free_devices(devices); /* under the lock: they are not to start again before they end */
    }
    pthread_mutex_unlock(&lock);
}

/*
 * Looking at them
 */
static bool is_called(const char *name, const char *asked)
{
    size_t kind = strcspn(asked, ":");
    if (strcmp(name, asked) == 0)
        return true;
    if (strncmp(name, asked, kind) != 0)
        return false;
    /* Either may leave ":0" away. */
    return strcmp(name[kind] ? name + kind : ":0", asked[kind] ? asked + kind : ":0") == 0;
}

int32_t tc_devices_find(const tc_devices *devices, const char *name)
{
    for (int32_t i = 0; i < devices->count; i++)
        if (is_called(devices->list[i].name, name))
            return i;
    return -1;
}

const tc_kernel *tc_devices_kernel(const tc_devices *devices, int32_t device, const char *op,
                                   tc_dtype dtype)
{
    return tc_registry_find_kernel(devices->kernels, op, dtype, devices->list[device].type,
                                   TC_ISA_SCALAR);
}

tc_status tc_devices_unknown(const tc_devices *devices, const char *what, const char *name)
{
    char known[512] = "";
    size_t length = 0;
    for (int32_t i = 0; i < devices->count && length < sizeof known; i++)
        length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "",
                                   devices->list[i].name);
    const char *why = devices->why ? devices->why : "";
    return tc_fail(TC_INVALID_ARGUMENT, "%s: there is no device '%s'; the devices are: %s%s%s",
                   what, name, known, why[0] ? ". " : "", why);
}
