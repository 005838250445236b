/*
 * Devices beside the CPU: backends found and loaded, once for all runtimes of the process and not
 * before somebody asks for a device.
 */
#ifndef TC_RUNTIME_BACKEND_H
#define TC_RUNTIME_BACKEND_H

#include <stdatomic.h>

#include <tensorc/backend.h>

/** Devices of a process, with the CPU: what a set of them fits into. */
#define TC_MAX_DEVICES 64

typedef struct tc_device {
    tc_backend *backend; /* NULL: the CPU */
    tc_device_type type;
    int32_t index;    /* among those of its backend */
    atomic_bool lost; /* work on it failed: nothing more is given to it */
    char name[32];
} tc_device;

/** Every device there is; [0] is the CPU. Shared by all who acquired it. */
typedef struct tc_devices {
    int32_t count;
    int32_t n_backends;
    tc_device list[TC_MAX_DEVICES];
    tc_backend *backends[TC_MAX_DEVICES];
    tc_registry *kernels; /* those of all backends, beside the library's own */
    char *why;            /* a sentence for each type of device that is missing */
} tc_devices;

/**
 * A reference to the devices, looked for now when nobody has one. A missing plug-in, driver or
 * device is no error: it is told in `why`. RESOURCE_EXHAUSTED. Thread-safe.
 */
tc_status tc_devices_acquire(tc_devices **out);
/** The last one ends the backends. NULL is allowed. Thread-safe. */
void tc_devices_release(tc_devices *devices);

/** Index of the device called `name`, "cpu" and "cuda" meaning the first of their kind; -1. */
int32_t tc_devices_find(const tc_devices *devices, const char *name);
/** The kernel of a backend for `op` and `dtype` on `device`, which is not the CPU; NULL: none. */
const tc_kernel *tc_devices_kernel(const tc_devices *devices, int32_t device, const char *op,
                                   tc_dtype dtype);
/** INVALID_ARGUMENT: there is no device called `name`, which was asked for by `what`; with a list
 * of those that there are, and why others are not. */
tc_status tc_devices_unknown(const tc_devices *devices, const char *what, const char *name);

/** The devices of `runtime`, which they outlive until it is released. As tc_devices_acquire. */
tc_status tc_runtime_devices(tc_runtime *runtime, tc_devices **out);

#endif
