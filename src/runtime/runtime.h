/* The runtime object: what is shared by all stores and sessions. */
#ifndef TC_RUNTIME_RUNTIME_H
#define TC_RUNTIME_RUNTIME_H

#include <stdatomic.h>

#include <tensorc/session.h>

#include "base/cpu.h"
#include "base/threads.h"
#include "core/target.h"
#include "runtime/async.h"
#include "runtime/backend.h"
#include "runtime/deadline.h"

/** The compiler's view of a runtime, or of some of its threads. */
typedef struct tc_runtime_target {
    tc_target target; /* first: cast back */
    const tc_runtime *runtime;
    tc_pool *pool;             /* of those threads */
    const tc_devices *devices; /* NULL: nobody asked for one yet, there is the CPU alone */
} tc_runtime_target;

struct tc_runtime {
    atomic_int references;
    tc_runtime_target view; /* with all threads */
    tc_registry *registry;  /* retained; NULL: the library's */
    tc_isa isa;
    tc_pool *pool;
    tc_watch watch;
    tc_async async;
    pthread_mutex_t devices_lock;
    tc_devices *devices; /* NULL until somebody asks for one */
    pthread_mutex_t sessions_lock;
    struct tc_session *sessions; /* that may use devices */
};

/** Takes a runtime apart that nobody holds. */
void tc_runtime_destroy(tc_runtime *runtime);

struct tc_plan;
/** Kernels of `plan` that are for a lower instruction set than the runtime's, though their
 * operators have kernels for it, or that are the CPU's though a device was meant. */
uint64_t tc_runtime_fallbacks(const tc_runtime *runtime, const struct tc_plan *plan);

/** The view of `runtime` with the threads of `pool`, which is the runtime's or a view of that, and
 * with `devices`, which may be NULL. */
tc_runtime_target tc_runtime_view(const tc_runtime *runtime, tc_pool *pool,
                                  const tc_devices *devices);

/** A reference to `runtime`, or to the default one, made now if nobody uses it, when NULL. */
tc_status tc_runtime_acquire(tc_runtime *runtime, tc_runtime **out);

#endif
