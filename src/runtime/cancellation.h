/* The flag behind tc_cancellation. */
#ifndef TC_RUNTIME_CANCELLATION_H
#define TC_RUNTIME_CANCELLATION_H

#include <stdatomic.h>

#include <tensorc/session.h>

struct tc_cancellation {
    atomic_int cancelled;
};

#endif
