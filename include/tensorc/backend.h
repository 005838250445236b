/*
 * Device backends: how a kind of device that the library does not know joins it.
 *
 * A backend is a shared library libtensorc_<name>.so with one exported symbol, tensorc_backend, of
 * type tc_backend_entry. The runtime looks for it in the folders of TENSORC_PLUGIN_PATH
 * and then beside libtensorc, never in the working directory. It links nothing of libtensorc: what
 * it needs of it comes in the table `host`. A program that is linked statically hands the entry
 * over itself, with tc_backend_register.
 *
 * Functions return a status and leave their sentence through host->fail. They may be called from
 * any thread; calls for one queue come one after the other.
 */
#ifndef TENSORC_BACKEND_H
#define TENSORC_BACKEND_H

#include <stdarg.h>

#include <tensorc/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Raised when the tables below or the operators' attributes change; both sides must have the same.
 */
#define TC_BACKEND_VERSION 1

/** A device in a call: an index of the backend's devices, or this for the processor's memory. */
#define TC_DEVICE_HOST (-1)

/** What a backend may call. All of it is thread-safe. */
typedef struct tc_host {
    int32_t version; /**< TC_BACKEND_VERSION */
    /** Records a sentence for the calling thread and returns `status`. */
    tc_status (*fail)(tc_status status, const char *format, va_list arguments);
    const char *(*error_message)(void);
    /** Memory, uninitialized; NULL when exhausted. */
    void *(*allocate)(size_t bytes);
    void (*release)(void *memory);
    void *(*prepare_params)(tc_prepare *prepare, size_t size); /**< tc_prepare_params */
} tc_host;

/** A line of work on one device: what is put into it runs in that order, beside other queues. */
typedef struct tc_queue tc_queue;

/** Work that was recorded from a queue instead of run, to be run many times. */
typedef struct tc_recording tc_recording;

/** Free and all memory of a device, in bytes. */
typedef struct tc_device_memory {
    size_t free;
    size_t total;
} tc_device_memory;

typedef struct tc_backend tc_backend;

struct tc_backend {
    const char *name; /**< devices are called "<name>:<index>" */
    tc_device_type type;
    int32_t n_devices;
    const tc_kernel *const *kernels; /**< in tables of their own, with `device` set to `type` */
    int32_t n_kernels;
    void *state; /**< of the backend's own */

    /** Fills name, description and memory_bytes; the rest is preset. */
    tc_status (*describe)(tc_backend *backend, int32_t device, tc_device_info *info);
    tc_status (*memory)(tc_backend *backend, int32_t device, tc_device_memory *memory);

    /** Device memory aligned to 256 bytes, uninitialized. RESOURCE_EXHAUSTED names what is asked
     * for and what is free. */
    tc_status (*allocate)(tc_backend *backend, int32_t device, size_t bytes, void **memory);
    /** Once all work that uses it is done. */
    void (*release)(tc_backend *backend, int32_t device, void *memory);
    /** Memory of the processor that devices copy from and to without waiting. */
    tc_status (*pin)(tc_backend *backend, size_t bytes, void **memory);
    void (*unpin)(tc_backend *backend, void *memory);

    tc_status (*queue_create)(tc_backend *backend, int32_t device, tc_queue **queue);
    /** Waits for its work. */
    void (*queue_destroy)(tc_queue *queue);
    /** Called on a thread before it runs kernels for the queue. */
    tc_status (*select)(tc_queue *queue);
    /** Puts a copy into the queue; `from` and `to` are memory of the named devices, or of the
     * processor. Processor memory must stay as it is until the copy has run, and be pinned when the
     * queue records. */
    tc_status (*copy)(tc_queue *queue, void *to, int32_t to_device, const void *from,
                      int32_t from_device, size_t bytes);
    /** Puts a copy within the device into the queue that does nothing when the run has found a
     * fault: for updates. */
    tc_status (*copy_unless_fault)(tc_queue *queue, void *to, const void *from, size_t bytes,
                                   const tc_run_state *state);
    /** What `later` is given from now on runs after what `earlier` was given so far, of the same
     * backend. */
    tc_status (*order)(tc_queue *later, tc_queue *earlier);
    /** Blocks until everything in the queue has run. INTERNAL or UNAVAILABLE when any of it failed:
     * then the device is lost to this process. */
    tc_status (*wait)(tc_queue *queue);

    /** From here on the queue records, until record_end. Queues that `order` ties to it record
     * with it, and must be tied back before the end. */
    tc_status (*record_begin)(tc_queue *queue);
    /** Ends recording, also after a failure in between; `*recording` is NULL on failure. */
    tc_status (*record_end)(tc_queue *queue, tc_recording **recording);
    tc_status (*replay)(tc_queue *queue, tc_recording *recording);
    void (*recording_destroy)(tc_backend *backend, tc_recording *recording);

    /** When nobody uses it any more. */
    void (*destroy)(tc_backend *backend);
};

/**
 * The entry of a backend. UNAVAILABLE, with the reason in `why`, when there is no device to work
 * with, FAILED_PRECONDITION when the host is another version's. `host` lives as long as the
 * backend.
 */
typedef tc_status (*tc_backend_entry)(const tc_host *host, tc_backend **backend);

/** Name of the one symbol that a backend exports. */
#define TC_BACKEND_SYMBOL "tensorc_backend"

/**
 * Gives the library a backend that is linked into the program, before the first runtime is made.
 * ALREADY_EXISTS, RESOURCE_EXHAUSTED. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_backend_register(tc_backend_entry entry);

#ifdef __cplusplus
}
#endif

#endif
