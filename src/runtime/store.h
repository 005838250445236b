/*
 * The store: contents of variables by name, wherever they lie, and packed weights by content.
 *
 * Two locks. `writer` is held by a run that writes from its start to its end and by a restore:
 * writers exclude each other. `lock` is held for reading by runs that only read and by visits, and
 * for writing only while a writer commits: readers go on while a training step computes. Whoever
 * holds one of them may bring contents to another device, under a third one, `moves`.
 */
#ifndef TC_RUNTIME_STORE_H
#define TC_RUNTIME_STORE_H

#include <pthread.h>

#include "base/alloc.h"
#include "base/map.h"
#include "compiler/plan.h"
#include "runtime/runtime.h"

/** Memory of a variable on a device. Constant once it is in the list. */
typedef struct tc_mirror {
    struct tc_mirror *next;
    void *memory;
    int32_t device;
} tc_mirror;

/** The places of a content: bit i is device i, bit 0 the tensor. */
#define TC_PLACE_BIT(device) ((uint64_t)1 << (device))

typedef struct tc_variable {
    const char *name; /* owned */
    tc_dtype dtype;
    tc_shape shape;
    tc_tensor *tensor; /* NULL: no content yet. Replaced or written only under the write lock, or,
                          while the content is elsewhere, under `moves`. */
    _Atomic(tc_mirror *) mirrors; /* added under `moves`; they stay until the end */
    _Atomic uint64_t places; /* that have the content: more of them are added under `moves`, some
                                are taken away only under the write lock */
    uint64_t version;        /* raised whenever the content changes from outside of plans */
    bool declared;           /* by a session; otherwise restored ahead of one */
    bool mapped; /* the content lies in a file: runs call tc_store_prepare before they use it */
} tc_variable;

/** What something packed was made from. */
typedef struct tc_pack_source {
    const void *data;
    const void *owner;      /* the tensor's data, the variable, or the other packed form */
    uint64_t version;       /* of the variable */
    int32_t device;         /* where the data is */
    struct tc_packed *base; /* retained by what is made from it; NULL: none */
} tc_pack_source;

/** The packed form of a weight or the result of an invariant node, shared by all plans of the
 * store. */
typedef struct tc_packed {
    const tc_pack *pack; /* kernel and parameters, a copy without plan */
    tc_pack_source *sources;
    int32_t n_sources;
    void *blob; /* on pack->device */
    atomic_int references;
    struct tc_packed *next;
    tc_arena arena;
} tc_packed;

struct tc_store {
    atomic_int references;
    tc_runtime *runtime; /* retained */
    pthread_mutex_t writer;
    pthread_rwlock_t lock;
    pthread_mutex_t init;  /* recursive: initializing one variable may need another */
    pthread_mutex_t table; /* guards variables, names and packed */
    TC_VECTOR(tc_variable *) variables;
    tc_map names;
    tc_packed *packed;
    pthread_mutex_t moves; /* guards mirrors, constants and queues; may be taken within `table` */
    struct tc_placed *placed;
    tc_queue **queues; /* per device; NULL: none yet */
    uint64_t step;     /* written under the write lock */
    /* Contents that came from elsewhere than commits. Raised under the write lock, of which a run
     * that holds the writer mutex alone knows nothing. */
    _Atomic uint64_t fills;
};

/**
 * The variable `name`, declared with dtype and shape on first use. FAILED_PRECONDITION naming both
 * when they differ from what the store has. The pointer is valid as long as the store.
 */
tc_status tc_store_declare(tc_store *store, const char *name, tc_dtype dtype, const tc_shape *shape,
                           tc_variable **out);

/** Gives `variable` its first content (moving the reference) unless it has one by now. */
void tc_store_fill(tc_store *store, tc_variable *variable, tc_tensor *tensor);

/**
 * Checks the content of a mapped variable when it is used for the first time, and gives it memory
 * of its own when it is to be written. The caller holds the read lock, or the writer mutex when
 * `written`. DATA_LOSS when the file is damaged, RESOURCE_EXHAUSTED.
 */
tc_status tc_store_prepare(tc_store *store, tc_variable *variable, bool written);

/* moves.c */

/** Where `device` has the content of `variable`, whether or not it is current; NULL: nowhere. */
void *tc_variable_memory(const tc_variable *variable, int32_t device);
/** Whether `variable` has a content anywhere. */
static inline bool tc_variable_has_content(const tc_variable *variable)
{
    return atomic_load_explicit(&variable->places, memory_order_acquire) != 0;
}
/** Whether `device` has the current content. */
static inline bool tc_variable_is_at(const tc_variable *variable, int32_t device)
{
    return atomic_load_explicit(&variable->places, memory_order_acquire) & TC_PLACE_BIT(device);
}
/**
 * Brings the contents of those of `count` variables that have one to `device`, 0 being the CPU, and
 * waits for that. The caller holds the read lock or the writer mutex. RESOURCE_EXHAUSTED,
 * UNAVAILABLE when the device that has it is lost, DATA_LOSS.
 */
tc_status tc_store_move(tc_store *store, tc_variable *const *variables, int32_t count,
                        int32_t device);
/** Frees what the store has on devices. */
void tc_store_leave_devices(tc_store *store);

/** A constant on a device, shared by all plans of the store. */
typedef struct tc_placed {
    struct tc_placed *next;
    tc_tensor *tensor; /* retained: who else has it is known by its data */
    void *memory;
    int32_t device;
    int32_t references;
} tc_placed;

/** A reference to `tensor` on `device`, copied there now unless it is there. */
tc_status tc_store_place(tc_store *store, tc_tensor *tensor, int32_t device, tc_placed **out);
void tc_store_unplace(tc_store *store, tc_placed *placed);

/** UNAVAILABLE when work on `device` has failed before. */
tc_status tc_device_check(const tc_device *device);
/** Waits for `queue` of `device`, which is lost when that fails. */
tc_status tc_device_wait(tc_device *device, tc_queue *queue);
/** Memory of `device` for `what`: RESOURCE_EXHAUSTED with what is needed and what is free. */
tc_status tc_device_allocate(const tc_device *device, size_t bytes, const char *what,
                             void **memory);

/** Bytes before a device's arena, for the state of the run. */
#define TC_STATE_BYTES ((size_t)256)

/**
 * Computes the invariant `pack`, of a device or a copy from or to one, from contents that lie on
 * devices `from` (those of a kernel: on pack->device), and waits for it. Faults that elements show
 * are failures as on the CPU; RESOURCE_EXHAUSTED, UNAVAILABLE, whatever the kernel finds.
 */
tc_status tc_store_compute(tc_store *store, const tc_pack *pack, int32_t from,
                           const void *const *inputs, void *output);

/* packed.c */

/**
 * A reference to what `pack` makes of `sources`, made now on the threads of `pool` when the store
 * has none (then `*made`). The caller holds the read lock or the writer mutex when a source is a
 * variable.
 */
tc_status tc_store_pack(tc_store *store, const tc_pack *pack, const tc_pack_source *sources,
                        int32_t n_sources, tc_pool *pool, tc_packed **out, bool *made);
/** Whether `packed` was made from these sources. */
bool tc_packed_is_of(const tc_packed *packed, const tc_pack_source *sources, int32_t n_sources);
void tc_packed_release(tc_store *store, tc_packed *packed);

#endif
