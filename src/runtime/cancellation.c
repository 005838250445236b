#include "runtime/cancellation.h"

#include "base/alloc.h"
#include "base/status.h"

tc_status tc_cancellation_create(tc_cancellation **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "cancellation: out is NULL");
    *out = tc_alloc_zero(1, sizeof **out);
    return *out ? TC_OK : tc_fail_memory(sizeof **out, "a cancellation");
}

void tc_cancellation_cancel(tc_cancellation *cancellation)
{
    if (cancellation)
        atomic_store_explicit(&cancellation->cancelled, 1, memory_order_relaxed);
}

void tc_cancellation_reset(tc_cancellation *cancellation)
{
    if (cancellation)
        atomic_store_explicit(&cancellation->cancelled, 0, memory_order_relaxed);
}

void tc_cancellation_destroy(tc_cancellation *cancellation)
{
    tc_free(cancellation);
}
