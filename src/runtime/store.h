/*
 * The store: contents of variables by name, and packed weights by content.
 *
 * Two locks. `writer` is held by a run that writes from its start to its end and by a restore:
 * writers exclude each other. `lock` is held for reading by runs that only read and by visits, and
 * for writing only while a writer commits: readers go on while a training step computes.
 */
#ifndef TC_RUNTIME_STORE_H
#define TC_RUNTIME_STORE_H

#include <pthread.h>

#include "base/alloc.h"
#include "base/map.h"
#include "compiler/plan.h"
#include "runtime/runtime.h"

typedef struct tc_variable {
    const char *name; /* owned */
    tc_dtype dtype;
    tc_shape shape;
    tc_tensor *tensor; /* NULL: no content yet. Replaced or written only under the write lock. */
    uint64_t version;  /* raised whenever the content changes from outside of plans */
    bool declared;     /* by a session; otherwise restored ahead of one */
    bool mapped; /* the content lies in a file: runs call tc_store_prepare before they use it */
} tc_variable;

/** What something packed was made from. */
typedef struct tc_pack_source {
    const void *data;
    const void *owner;      /* the tensor's data, the variable, or the other packed form */
    uint64_t version;       /* of the variable */
    struct tc_packed *base; /* retained by what is made from it; NULL: none */
} tc_pack_source;

/** The packed form of a weight or the result of an invariant node, shared by all plans of the
 * store. */
typedef struct tc_packed {
    const tc_pack *pack; /* kernel and parameters, a copy without plan */
    tc_pack_source *sources;
    int32_t n_sources;
    void *blob;
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
    uint64_t step; /* written under the write lock */
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
