/* Stacks that code runs on in turns, without the help of the system. */
#ifndef TC_CUDA_HOST_FIBER_H
#define TC_CUDA_HOST_FIBER_H

#include <stddef.h>

#include "access.h"

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace cuda_host
{

/** A place to come back to: what a stack was doing when it was left. */
struct context {
#if defined(__x86_64__) || defined(__aarch64__)
    void *stack_pointer = nullptr;
#else
    ucontext_t state;
#endif
};

/** A stack of its own, with a page below that nothing may touch. */
struct fiber {
    context at;
    char *stack = nullptr; /* the lowest usable byte */
    fiber *next = nullptr; /* for the lists of others */
};

constexpr size_t stack_bytes = TC_STACK_BYTES;

/** A fiber that will call `body`, which never returns. NULL: no memory. */
fiber *fiber_create(void (*body)());
void fiber_destroy(fiber *f);

/** Leaves what runs now in `from` and goes on with `to`. */
void fiber_switch(context *from, const context *to);

} // namespace cuda_host

#endif
