#include "runtime/async.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"
#include "runtime/profile.h"
#include "runtime/session.h"

/* Completions kept for the next starts; more are freed. */
#define KEPT_COMPLETIONS 256

struct tc_completion {
    tc_runtime *runtime; /* retained */
    tc_completion *next;
    int references;      /* by the caller and the queue; guarded by the lock */
    pthread_cond_t over; /* with the lock */
    atomic_bool done;    /* status and message are final */
    tc_status status;
    char message[TC_ERROR_MESSAGE_SIZE];

    tc_callable *callable; /* retained until the run is over, as are the inputs */
    tc_tensor **inputs;
    size_t n_inputs;
    size_t capacity;
    tc_tensor **outputs;
    tc_run_limits limits;
    tc_completion_function function;
    void *context;
};

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void tc_async_init(tc_async *async)
{
    pthread_mutex_init(&async->lock, NULL);
    init_condition(&async->work);
}

/*
 * Completions
 */
static void free_completion(tc_completion *completion)
{
    pthread_cond_destroy(&completion->over);
    tc_free(completion->inputs);
    tc_free(completion);
}

static tc_completion *take_unused(tc_async *async)
{
    pthread_mutex_lock(&async->lock);
    tc_completion *completion = async->unused;
    if (completion) {
        async->unused = completion->next;
        async->n_unused--;
    }
    pthread_mutex_unlock(&async->lock);
    return completion;
}

/* Back among the unused ones; the caller's was the last reference. */
static void recycle(tc_completion *completion)
{
    tc_runtime *runtime = completion->runtime;
    tc_async *async = &runtime->async;
    pthread_mutex_lock(&async->lock);
    bool keep = async->n_unused < KEPT_COMPLETIONS;
    if (keep) {
        completion->next = async->unused;
        async->unused = completion;
        async->n_unused++;
    }
    pthread_mutex_unlock(&async->lock);
    if (!keep)
        free_completion(completion);
    tc_runtime_release(runtime);
}

/* A completion with room for `n_inputs`, with one reference to it and one to the runtime. */
static tc_status make_completion(tc_runtime *runtime, size_t n_inputs, tc_completion **out)
{
    tc_completion *completion = take_unused(&runtime->async);
    if (!completion) {
        completion = tc_alloc_zero(1, sizeof *completion);
        if (!completion)
            return tc_fail_memory(sizeof *completion, "an asynchronous run");
        init_condition(&completion->over);
    }
    completion->runtime = tc_runtime_retain(runtime);
    completion->next = NULL;
    completion->references = 1;
    atomic_store_explicit(&completion->done, false, memory_order_relaxed);
    if (n_inputs > completion->capacity) {
        tc_free(completion->inputs);
        completion->capacity = 0;
        completion->inputs = tc_alloc_zero(n_inputs, sizeof(tc_tensor *));
        if (!completion->inputs) {
            recycle(completion);
            return tc_fail_memory(n_inputs * sizeof(tc_tensor *), "an asynchronous run");
        }
        completion->capacity = n_inputs;
    }
    *out = completion;
    return TC_OK;
}

static void drop_reference(tc_completion *completion)
{
    tc_async *async = &completion->runtime->async;
    pthread_mutex_lock(&async->lock);
    bool last = --completion->references == 0;
    pthread_mutex_unlock(&async->lock);
    if (last)
        recycle(completion);
}

void tc_completion_release(tc_completion *completion)
{
    if (completion)
        drop_reference(completion);
}

/*
 * The thread
 */

/* Tells who waits. From then on the completion belongs to its owner, if there is one: the queue's
 * reference goes in the same moment, so that an owner who waits is the last to let go. */
static void finish(tc_completion *completion)
{
    tc_async *async = &completion->runtime->async;
    pthread_mutex_lock(&async->lock);
    atomic_store_explicit(&completion->done, true, memory_order_release);
    bool last = --completion->references == 0;
    if (!last)
        pthread_cond_broadcast(&completion->over);
    pthread_mutex_unlock(&async->lock);
    if (last)
        recycle(completion);
}

static void execute(tc_completion *completion)
{
    tc_callable *callable = completion->callable;
    const tc_inputs inputs = {.tensors = completion->inputs};
    completion->status = tc_entry_run(callable->session, callable->entry, &inputs,
                                      completion->outputs, &completion->limits);
    completion->message[0] = '\0';
    if (completion->status != TC_OK)
        (void)tc_error_take(completion->message, sizeof completion->message);
    for (size_t i = 0; i < completion->n_inputs; i++)
        tc_tensor_release(completion->inputs[i]);
    if (completion->function)
        completion->function(completion->context, completion->status, completion->message);
    tc_callable_release(callable);
    finish(completion);
}

static void *async_main(void *argument)
{
    tc_runtime *runtime = argument;
    tc_async *async = &runtime->async;
    for (;;) {
        pthread_mutex_lock(&async->lock);
        while (!async->first && !async->stop && !async->orphaned)
            pthread_cond_wait(&async->work, &async->lock);
        tc_completion *next = async->first;
        bool orphaned = async->orphaned;
        if (next) {
            async->first = next->next;
            if (!async->first)
                async->last = NULL;
        }
        pthread_mutex_unlock(&async->lock);
        if (next) {
            execute(next);
            continue;
        }
        if (orphaned) {
            pthread_detach(pthread_self());
            async->started = false; /* there is nobody left to join */
            tc_runtime_destroy(runtime);
        }
        return NULL;
    }
}

static tc_status enqueue(tc_async *async, tc_runtime *runtime, tc_completion *completion)
{
    tc_status status = TC_OK;
    pthread_mutex_lock(&async->lock);
    if (!async->started) {
        async->process = getpid();
        status = tc_thread_start("tensorc-async", async_main, runtime, &async->thread);
        async->started = status == TC_OK;
    }
    if (status == TC_OK) {
        if (async->last)
            async->last->next = completion;
        else
            async->first = completion;
        async->last = completion;
        pthread_cond_signal(&async->work);
    }
    pthread_mutex_unlock(&async->lock);
    return status;
}

static bool is_own_thread(tc_async *async)
{
    pthread_mutex_lock(&async->lock);
    bool own = async->started && pthread_equal(async->thread, pthread_self());
    pthread_mutex_unlock(&async->lock);
    return own;
}

bool tc_async_leave(tc_async *async)
{
    bool own = is_own_thread(async);
    if (own)
        async->orphaned = true; /* read by this thread alone from here on */
    return own;
}

void tc_async_destroy(tc_async *async)
{
    pthread_mutex_lock(&async->lock);
    async->stop = true;
    pthread_cond_signal(&async->work);
    pthread_mutex_unlock(&async->lock);
    if (async->started && async->process == getpid())
        pthread_join(async->thread, NULL);
    while (async->unused) {
        tc_completion *next = async->unused->next;
        free_completion(async->unused);
        async->unused = next;
    }
    pthread_cond_destroy(&async->work);
    pthread_mutex_destroy(&async->lock);
}

/*
 * Starting and waiting
 */
tc_status tc_callable_start(tc_callable *callable, tc_tensor *const *inputs, tc_tensor **outputs,
                            const tc_run_options *options, tc_completion_function done,
                            void *context, tc_completion **out)
{
    if (out)
        *out = NULL;
    if (!callable)
        return tc_fail(TC_INVALID_ARGUMENT, "start: callable is NULL");
    tc_runtime *runtime = callable->session->runtime;
    size_t n_inputs = (size_t)callable->entry->n_feeds;
    const tc_inputs row = {.tensors = inputs};
    tc_run_limits limits;
    TC_TRY(tc_run_limits_read(options, &limits));
    TC_TRY(tc_entry_check(callable->session, callable->entry, &row, outputs));
    tc_completion *completion = NULL;
    TC_TRY(make_completion(runtime, n_inputs, &completion));
    completion->callable = tc_callable_retain(callable);
    completion->n_inputs = n_inputs;
    for (size_t i = 0; i < n_inputs; i++)
        completion->inputs[i] = tc_tensor_retain(inputs[i]);
    completion->outputs = outputs;
    completion->limits = limits;
    completion->function = done;
    completion->context = context;
    completion->references = out ? 2 : 1;
    if (out)
        *out = completion; /* before the run may be over */
    tc_status status = enqueue(&runtime->async, runtime, completion);
    if (status != TC_OK) {
        for (size_t i = 0; i < n_inputs; i++)
            tc_tensor_release(completion->inputs[i]);
        tc_callable_release(callable);
        recycle(completion);
        if (out)
            *out = NULL;
    }
    return status;
}

bool tc_completion_is_done(const tc_completion *completion)
{
    return completion && atomic_load_explicit(&completion->done, memory_order_acquire);
}

static tc_status wait_until_done(tc_completion *completion, int64_t timeout_us)
{
    tc_async *async = &completion->runtime->async;
    int64_t deadline_ns = tc_deadline_after(timeout_us);
    struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    int error = 0;
    pthread_mutex_lock(&async->lock);
    while (!tc_completion_is_done(completion) && error == 0)
        error = timeout_us > 0 ? pthread_cond_timedwait(&completion->over, &async->lock, &until)
                               : pthread_cond_wait(&completion->over, &async->lock);
    bool done = tc_completion_is_done(completion);
    pthread_mutex_unlock(&async->lock);
    return done ? TC_OK
                : tc_fail(TC_DEADLINE_EXCEEDED,
                          "wait: the run was not over after %lld microseconds; it goes on",
                          (long long)timeout_us);
}

tc_status tc_completion_wait(tc_completion *completion, int64_t timeout_us)
{
    if (!completion)
        return tc_fail(TC_INVALID_ARGUMENT, "wait: completion is NULL");
    if (timeout_us < 0)
        return tc_fail(TC_INVALID_ARGUMENT, "wait: timeout_us is negative");
    if (!tc_completion_is_done(completion)) {
        if (is_own_thread(&completion->runtime->async))
            return tc_fail(TC_FAILED_PRECONDITION,
                           "wait: this is the thread that asynchronous runs go on; call it from "
                           "another one than that of a completion function");
        TC_TRY(wait_until_done(completion, timeout_us));
    }
    return completion->status == TC_OK ? TC_OK
                                       : tc_fail_saved(completion->status, completion->message);
}
