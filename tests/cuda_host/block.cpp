/*
 * Runs blocks one after another, and the threads of a block on fibers: a thread runs until it waits
 * for others or ends. Threads that never wait share one fiber.
 */
#include "block.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulation.h"
#include "report.h"
#include "shadow.h"

__thread uintptr_t tc_cuda_host_stack;

namespace cuda_host
{

std::recursive_mutex execution_lock;
block now;
__thread thread *current;

static const launch *running;
static dim3 running_block;
static uint3 thread_index; /* of the current thread */
static context scheduler;  /* where fibers go when there is nothing to switch to */
static fiber *idle;        /* fibers without a thread */
static cudaError_t failure;
static std::string failure_text;
static const void *failure_pc; /* of an access, else NULL */

static void take(thread *t)
{
    t->state = RUNNING;
    current = t;
    tc_cuda_host_stack = reinterpret_cast<uintptr_t>(t->on->stack);
    thread_index = t->index;
}

static void take_none()
{
    current = nullptr;
    tc_cuda_host_stack = 0;
}

static void make_ready(thread *t)
{
    t->state = READY;
    t->next_ready = nullptr;
    (now.ready ? now.last_ready->next_ready : now.ready) = t;
    now.last_ready = t;
}

static void thread_ended(thread *t);

/* What every fiber does: begins threads for as long as there are fresh ones. */
static void fiber_body()
{
    for (;;) {
        fiber *self = idle; /* it was taken from the front to run this */
        idle = self->next;
        while (now.fresh < now.count && !now.failed) {
            thread *t = &now.threads[now.fresh++];
            t->on = self;
            take(t);
            running->call(running->arguments.get());
            /* After waiting, others may have gone on in between: t is still this one. */
            thread_ended(t);
        }
        take_none();
        self->next = idle;
        idle = self;
        const context *to = &scheduler;
        if (now.ready && !now.failed) {
            thread *next = now.ready;
            now.ready = next->next_ready;
            take(next);
            to = &next->on->at;
        }
        fiber_switch(&self->at, to);
    }
}

/* Leaves the current thread, which waits, for one that can run. */
static void wait_for_others()
{
    thread *self = current;
    const context *to = &scheduler;
    if (now.fresh < now.count) {
        if (!idle)
            idle = fiber_create(fiber_body);
        if (!idle)
            fail_thread(cudaErrorMemoryAllocation, "there is no memory for the stacks of a block");
        to = &idle->at;
    } else if (now.ready) {
        thread *next = now.ready;
        now.ready = next->next_ready;
        take(next);
        to = &next->on->at;
    }
    fiber_switch(&self->on->at, to);
}

/*
 * Barriers
 */
static void open_barrier()
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < now.count; i++)
        set += now.threads[i].state == AT_BARRIER && now.threads[i].argument != 0;
    int results[] = {0, static_cast<int>(set), set == now.arrived, set != 0};
    uint64_t outcome = static_cast<uint64_t>(results[now.first_at_barrier->kind]);
    now.arrived = 0;
    now.first_at_barrier = nullptr;
    shadow_barrier();
    for (uint32_t i = 0; i < now.count; i++) {
        thread *t = &now.threads[i];
        if (t->state == AT_BARRIER) {
            t->value = outcome;
            if (t == current)
                t->state = RUNNING;
            else
                make_ready(t);
        }
    }
}

static const char *const barrier_names[] = {"__syncthreads", "__syncthreads_count",
                                            "__syncthreads_and", "__syncthreads_or"};

static int wait_at_barrier(uint8_t kind, int predicate, site at)
{
    thread *t = current;
    if (!t)
        return 0;
    t->state = AT_BARRIER;
    t->kind = kind;
    t->argument = predicate;
    t->at = at;
    thread *first = now.first_at_barrier;
    if (!first)
        now.first_at_barrier = t;
    else if (first->kind != kind || first->at.line != at.line || strcmp(first->at.file, at.file))
        fail_thread(cudaErrorLaunchFailure,
                    "divergent barrier: waits in %s at %s:%d while thread (%u,%u,%u) waits in %s "
                    "at %s:%d",
                    barrier_names[kind], base_name(at.file), at.line, first->index.x,
                    first->index.y, first->index.z, barrier_names[first->kind],
                    base_name(first->at.file), first->at.line);
    if (++now.arrived == now.alive)
        open_barrier();
    else
        wait_for_others();
    return static_cast<int>(t->value);
}

/*
 * Warps
 */
static bool shuffle_source(const thread *t, uint32_t lane, uint32_t *source)
{
    uint32_t width = static_cast<uint32_t>(t->width);
    uint32_t first = lane & ~(width - 1u), argument = static_cast<uint32_t>(t->argument);
    int64_t from = 0;
    switch (t->kind) {
    case TC_WARP_SHUFFLE: from = first + (argument & (width - 1u)); break;
    case TC_WARP_SHUFFLE_UP: from = static_cast<int64_t>(lane) - argument; break;
    case TC_WARP_SHUFFLE_DOWN: from = static_cast<int64_t>(lane) + argument; break;
    default: from = lane ^ argument; break;
    }
    if (t->kind == TC_WARP_SHUFFLE_XOR ? from >= first + width
                                       : from < first || from >= first + width)
        return false; /* the thread's own value */
    *source = static_cast<uint32_t>(from);
    return true;
}

static uint64_t reduce(uint8_t kind, uint64_t a, uint64_t b)
{
    uint32_t x = static_cast<uint32_t>(a), y = static_cast<uint32_t>(b);
    int32_t i = static_cast<int32_t>(x), j = static_cast<int32_t>(y);
    switch (kind) {
    case TC_WARP_ADD_U: return x + y;
    case TC_WARP_MIN_S: return static_cast<uint32_t>(i < j ? i : j);
    case TC_WARP_MAX_S: return static_cast<uint32_t>(i > j ? i : j);
    case TC_WARP_MIN_U: return x < y ? x : y;
    case TC_WARP_MAX_U: return x > y ? x : y;
    case TC_WARP_AND: return x & y;
    case TC_WARP_OR: return x | y;
    default: return x ^ y;
    }
}

/* CUDA leaves the value of a thread that does not take part undefined: a NaN for floats. */
constexpr uint64_t undefined_value = 0x7fbadbad7fbadbadu;

/* Lanes of `members` all wait for the same exchange: gives each its result. */
static void exchange(thread *warp, uint32_t members, uint8_t kind)
{
    uint64_t given[32], together = 0;
    bool first = true;
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(members >> lane & 1u))
            continue;
        uint64_t value = given[lane] = warp[lane].value;
        if (kind == TC_WARP_BALLOT)
            together |= (value & 1u) << lane;
        else if (kind >= TC_WARP_ADD_U)
            together = first ? static_cast<uint32_t>(value) : reduce(kind, together, value);
        first = false;
    }
    if (kind == TC_WARP_SYNC)
        shadow_warp_sync(warp, members);
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(members >> lane & 1u))
            continue;
        thread *t = &warp[lane];
        uint32_t source = 0;
        if (kind >= TC_WARP_BALLOT && kind != TC_WARP_MATCH_ANY) {
            t->value = together;
        } else if (kind == TC_WARP_MATCH_ANY) {
            t->value = 0;
            for (uint32_t other = 0; other < 32; other++)
                if (members >> other & 1u && given[other] == given[lane])
                    t->value |= 1u << other;
        } else if (kind != TC_WARP_SYNC && shuffle_source(t, lane, &source)) {
            t->value = source < 32 && members >> source & 1u ? given[source] : undefined_value;
        }
        now.warp_waits[t->number / 32]--;
        if (t == current)
            t->state = RUNNING;
        else
            make_ready(t);
    }
}

/* Performs what `t` waits for if all that it names, and that have not exited, wait for the same. */
static bool exchange_if_complete(const thread *t)
{
    uint32_t number = t->number / 32, members = t->mask & now.warp_alive[number];
    thread *warp = &now.threads[number * 32];
    for (uint32_t lane = 0; lane < 32; lane++)
        if (members >> lane & 1u && (warp[lane].state != AT_WARP || warp[lane].mask != t->mask ||
                                     warp[lane].kind != t->kind))
            return false;
    exchange(warp, members, t->kind);
    return true;
}

static const char *const exchange_names[] = {
    "__syncwarp",        "__shfl_sync",       "__shfl_up_sync",
    "__shfl_down_sync",  "__shfl_xor_sync",   "a vote",
    "__match_any_sync",  "__reduce_add_sync", "__reduce_min_sync",
    "__reduce_max_sync", "__reduce_min_sync", "__reduce_max_sync",
    "__reduce_and_sync", "__reduce_or_sync",  "__reduce_xor_sync"};

static uint64_t wait_in_warp(uint8_t kind, uint32_t mask, uint64_t value, int argument, int width,
                             site at)
{
    thread *t = current;
    if (!t)
        return value;
    t->kind = kind;
    t->at = at;
    if (!(mask >> t->number % 32 & 1u))
        fail_thread(cudaErrorLaunchFailure, "%s with the mask 0x%08x, which leaves the thread out",
                    exchange_names[kind], mask);
    if (width && (width > 32 || width < 0 || (width & (width - 1))))
        fail_thread(cudaErrorLaunchFailure, "%s with a width of %d", exchange_names[kind], width);
    t->state = AT_WARP;
    t->mask = mask;
    t->value = value;
    t->argument = argument;
    t->width = width;
    now.warp_waits[t->number / 32]++;
    if (!exchange_if_complete(t))
        wait_for_others();
    return t->value;
}

/*
 * Threads
 */
static void thread_ended(thread *t)
{
    uint32_t number = t->number / 32;
    t->state = EXITED;
    now.warp_alive[number] &= ~(1u << t->number % 32);
    now.alive--;
    take_none();
    if (now.arrived && now.arrived == now.alive)
        open_barrier();
    thread *warp = &now.threads[number * 32];
    for (uint32_t lane = 0; lane < 32 && now.warp_waits[number]; lane++)
        if (now.warp_alive[number] >> lane & 1u && warp[lane].state == AT_WARP)
            (void)exchange_if_complete(&warp[lane]);
}

static void record_failure(cudaError_t error, const thread *t, const char *format,
                           va_list arguments)
{
    if (now.failed)
        return;
    now.failed = true;
    failure = error;
    failure_pc = nullptr;
    char where[128], what[1024];
    uint3 index = t ? t->index : uint3{0, 0, 0};
    snprintf(where, sizeof where, "block (%u,%u,%u) thread (%u,%u,%u): ", running_block.x,
             running_block.y, running_block.z, index.x, index.y, index.z);
    vsnprintf(what, sizeof what, format, arguments);
    failure_text = std::string(where) + what;
}

/* The stack of the thread is abandoned: kernels have nothing to clean up. */
[[noreturn]] static void leave_kernel()
{
    context nowhere;
    take_none();
    fiber_switch(&nowhere, &scheduler);
    __builtin_unreachable();
}

void fail_thread(cudaError_t error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record_failure(error, current, format, arguments);
    va_end(arguments);
    leave_kernel();
}

void fail_access(const void *pc, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record_failure(cudaErrorIllegalAddress, current, format, arguments);
    va_end(arguments);
    failure_pc = pc;
    leave_kernel();
}

static void fail_waiting(const thread *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record_failure(cudaErrorLaunchFailure, t, format, arguments);
    va_end(arguments);
}

/* No thread can go on: tells of one that waits, and for whom. */
static void report_deadlock()
{
    thread *waits = nullptr, *other = nullptr;
    for (uint32_t i = 0; i < now.count; i++) {
        thread *t = &now.threads[i];
        if (t->state == AT_WARP && !waits)
            waits = t;
    }
    if (!waits)
        return;
    for (uint32_t i = 0; i < now.count && !other; i++) {
        thread *t = &now.threads[i];
        bool named = t->number / 32 == waits->number / 32 && waits->mask >> t->number % 32 & 1u;
        if (named && (t->state == AT_BARRIER ||
                      (t->state == AT_WARP && (t->kind != waits->kind || t->mask != waits->mask))))
            other = t;
    }
    if (!other)
        fail_waiting(waits, "waits in %s at %s:%d for ever", exchange_names[waits->kind],
                     base_name(waits->at.file), waits->at.line);
    else
        fail_waiting(waits,
                     "waits in %s (mask 0x%08x) at %s:%d for thread (%u,%u,%u), which waits in %s "
                     "at %s:%d",
                     exchange_names[waits->kind], waits->mask, base_name(waits->at.file),
                     waits->at.line, other->index.x, other->index.y, other->index.z,
                     other->state == AT_BARRIER ? barrier_names[other->kind]
                                                : exchange_names[other->kind],
                     base_name(other->at.file), other->at.line);
}

static bool run_block(const launch &l)
{
    dim3 size = l.block;
    now.count = now.alive = size.x * size.y * size.z;
    now.fresh = now.arrived = 0;
    now.first_at_barrier = nullptr;
    now.ready = nullptr;
    now.failed = false;
    for (uint32_t i = 0; i < now.count; i += 32) {
        now.warp_alive[i / 32] = now.count - i < 32 ? (1u << (now.count - i)) - 1u : ~0u;
        now.warp_waits[i / 32] = 0;
    }
    for (uint32_t i = 0; i < now.count; i++) {
        now.threads[i].state = FRESH;
        now.threads[i].synced = 0;
    }
    shadow_begin_block();

    while (!now.failed) {
        context *to;
        if (now.fresh < now.count) {
            if (!idle && !(idle = fiber_create(fiber_body))) {
                failure = cudaErrorMemoryAllocation;
                failure_text = "there is no memory for stacks";
                return false;
            }
            to = &idle->at;
        } else if (now.ready) {
            thread *next = now.ready;
            now.ready = next->next_ready;
            take(next);
            to = &next->on->at;
        } else if (now.alive) {
            report_deadlock();
            break;
        } else {
            break;
        }
        fiber_switch(&scheduler, to);
    }
    take_none();
    return !now.failed;
}

/* After a failure the fibers of the block stand in the middle of the kernel. */
static void drop_fibers()
{
    for (fiber *f = idle; f; f = idle) {
        idle = f->next;
        fiber_destroy(f);
    }
    for (uint32_t i = 0; i < now.count; i++) {
        thread *t = &now.threads[i];
        bool suspended = t->state != FRESH && t->state != EXITED;
        if (suspended && t->on)
            fiber_destroy(t->on);
    }
}

cudaError_t run_launch(const launch &l)
{
    std::lock_guard<std::recursive_mutex> guard(execution_lock);
    if (lost() != cudaSuccess)
        return lost();
    running = &l;

    uint32_t i = 0;
    for (uint32_t z = 0; z < l.block.z; z++)
        for (uint32_t y = 0; y < l.block.y; y++)
            for (uint32_t x = 0; x < l.block.x; x++, i++) {
                now.threads[i].index = {x, y, z};
                now.threads[i].number = i;
            }
    shadow_begin_launch(l);
    bool good = true;
    for (uint32_t z = 0; good && z < l.grid.z; z++)
        for (uint32_t y = 0; good && y < l.grid.y; y++)
            for (uint32_t x = 0; good && x < l.grid.x; x++) {
                running_block = dim3(x, y, z);
                good = run_block(l);
            }
    running = nullptr;
    if (good)
        return cudaSuccess;
    drop_fibers();
    std::string place = failure_pc ? code_location(failure_pc) : "";
    if (!place.empty())
        failure_text += " at " + place;
    lose_device(failure,
                "kernel " + (l.name.empty() ? kernel_name(l.kernel) : l.name) + " " + failure_text);
    return failure;
}

} // namespace cuda_host

using namespace cuda_host;

int tc_cuda_host_barrier_wait(tc_cuda_host_barrier kind, int predicate, const char *file, int line)
{
    return wait_at_barrier(static_cast<uint8_t>(kind), predicate, {file, line});
}

uint64_t tc_cuda_host_warp(tc_cuda_host_exchange kind, unsigned mask, uint64_t value, int argument,
                           int width, const char *file, int line)
{
    return wait_in_warp(static_cast<uint8_t>(kind), mask, value, argument, width, {file, line});
}

uint3 tc_cuda_host_thread_index(void)
{
    return thread_index;
}

uint3 tc_cuda_host_block_index(void)
{
    return running_block;
}

dim3 tc_cuda_host_block_dim(void)
{
    return running->block;
}

dim3 tc_cuda_host_grid_dim(void)
{
    return running->grid;
}

unsigned tc_cuda_host_lane(void)
{
    return current ? current->number % 32 : 0;
}

void tc_cuda_host_trap(const char *what, const char *file, int line)
{
    fail_thread(cudaErrorLaunchFailure, "%s at %s:%d", what, base_name(file), line);
    abort();
}
