/* The runtime object: what is shared by all stores and sessions. */
#ifndef TC_RUNTIME_RUNTIME_H
#define TC_RUNTIME_RUNTIME_H

#include <stdatomic.h>

#include <tensorc/session.h>

#include "base/cpu.h"
#include "base/threads.h"
#include "core/target.h"

struct tc_runtime {
    tc_target target; /* first: the compiler's view is cast back */
    atomic_int references;
    tc_registry *registry; /* retained; NULL: the library's */
    tc_isa isa;
    tc_pool *pool;
};

/** A reference to `runtime`, or to the default one, made now if nobody uses it, when NULL. */
tc_status tc_runtime_acquire(tc_runtime *runtime, tc_runtime **out);

#endif
