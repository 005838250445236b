/* The threads of the block that runs now. */
#ifndef TC_CUDA_HOST_BLOCK_H
#define TC_CUDA_HOST_BLOCK_H

#include <stdint.h>

#include "cuda_runtime.h"
#include "fiber.h"

namespace cuda_host
{

struct site {
    const char *file;
    int line;
};

enum thread_state : uint8_t { FRESH, READY, RUNNING, AT_BARRIER, AT_WARP, EXITED };

struct thread {
    uint3 index;
    uint32_t number; /* within the block */
    thread_state state;
    uint8_t kind; /* of the barrier or exchange that it waits at */
    fiber *on;
    thread *next_ready;
    site at;
    uint32_t mask; /* of the exchange */
    int argument, width;
    uint64_t value;  /* given to it, and then its result */
    uint32_t synced; /* block.time after the last __syncwarp that it took part in */
};

constexpr uint32_t max_threads = 1024;

struct block {
    thread threads[max_threads];
    uint32_t count;   /* threads in all */
    uint32_t fresh;   /* number of the first that has not begun */
    uint32_t alive;   /* that have not exited */
    uint32_t arrived; /* that wait at the barrier */
    thread *first_at_barrier;
    thread *ready, *last_ready;
    uint32_t warp_alive[max_threads / 32];
    uint32_t warp_waits[max_threads / 32]; /* threads that wait for an exchange */
    uint32_t time;                         /* counts barriers and __syncwarps */
    uint32_t barrier;                      /* `time` after the last barrier */
    bool failed;
};

/** The block that runs and its thread; NULL on threads of the host that run none. */
extern block now;
extern __thread thread *current __attribute__((tls_model("initial-exec")));

/** Ends the launch with a report of what the current thread of a kernel does. */
[[noreturn]] void fail_thread(cudaError_t error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Likewise, of an access at `pc`. */
[[noreturn]] void fail_access(const void *pc, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

} // namespace cuda_host

#endif
