/* The loop over bound kernels. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/status.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "runtime/cancellation.h"
#include "runtime/deadline.h"
#include "runtime/numerics.h"
#include "runtime/profile.h"
#include "runtime/segments.h"
#include "runtime/stages.h"

typedef tc_run run;

/*
 * Checks
 */
tc_status tc_run_limits_read(const tc_run_options *options, tc_run_limits *limits)
{
    *limits = (tc_run_limits){0};
    if (!options)
        return TC_OK;
    TC_OPTIONS(tc_run_options, o, options);
    if (o.timeout_us < 0)
        return tc_fail(TC_INVALID_ARGUMENT, "run: timeout_us is negative");
    limits->cancellation = o.cancellation;
    limits->profile = o.profile;
    limits->deadline_ns = tc_deadline_after(o.timeout_us);
    return TC_OK;
}

tc_status tc_entry_check(const tc_session *session, const tc_entry *entry, const tc_inputs *inputs,
                         tc_tensor *const *outputs)
{
    if (entry->n_fetches > 0 && !outputs)
        return tc_fail(TC_INVALID_ARGUMENT, "run: %d fetches, but outputs is NULL",
                       entry->n_fetches);
    for (int32_t i = 0; i < entry->n_feeds; i++) {
        tc_dtype wanted = entry->feed_infos[i].dtype;
        const tc_tensor *tensor = tc_input_tensor(inputs, i);
        if (tensor && tc_tensor_dtype(tensor) == wanted)
            continue;
        const char *name = tc_graph_node_at(session->graph, entry->feeds[i].node)->name;
        if (!tensor)
            return tc_fail(TC_INVALID_ARGUMENT, "feed '%s': the tensor is NULL", name);
        return tc_fail(TC_INVALID_ARGUMENT, "feed '%s' wants %s, but the tensor is %s", name,
                       tc_dtype_name(wanted), tc_dtype_name(tc_tensor_dtype(tensor)));
    }
    return TC_OK;
}

static bool overlap(const tc_tensor *a, const tc_tensor *b)
{
    uintptr_t a0 = (uintptr_t)tc_tensor_data(a), b0 = (uintptr_t)tc_tensor_data(b);
    return a0 < b0 + tc_tensor_bytes(b) && b0 < a0 + tc_tensor_bytes(a);
}

tc_status tc_run_check_output(const char *name, const tc_value_info *info,
                              tc_tensor *const *outputs, int32_t i, tc_tensor *const *feeds,
                              int32_t n_feeds)
{
    const tc_tensor *output = outputs[i];
    if (tc_tensor_dtype(output) != info->dtype ||
        !tc_shape_compatible(tc_tensor_shape(output), &info->shape)) {
        char has[TC_SHAPE_TEXT_SIZE], is[TC_SHAPE_TEXT_SIZE];
        return tc_fail(
            TC_INVALID_ARGUMENT, "output %d ('%s') is %s %s, but the given tensor is %s %s", i,
            name, tc_dtype_name(info->dtype), tc_shape_text(&info->shape, is),
            tc_dtype_name(tc_tensor_dtype(output)), tc_shape_text(tc_tensor_shape(output), has));
    }
    if (tc_tensor_is_read_only(output))
        return tc_fail(TC_INVALID_ARGUMENT, "output %d ('%s'): the given tensor is read-only", i,
                       name);
    for (int32_t j = 0; j < n_feeds; j++)
        if (overlap(output, feeds[j]))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "output %d ('%s') shares memory with the tensor of feed %d", i, name, j);
    for (int32_t j = 0; j < i; j++)
        if (outputs[j] && overlap(output, outputs[j]))
            return tc_fail(TC_INVALID_ARGUMENT, "outputs %d and %d share memory", j, i);
    return TC_OK;
}

tc_status tc_run_fail_stopped(const tc_run *r)
{
    if (r->cancellation && atomic_load_explicit(&r->cancellation->cancelled, memory_order_relaxed))
        return tc_fail(TC_CANCELLED, "the run was cancelled; no update was applied");
    return tc_fail(TC_DEADLINE_EXCEEDED, "the run missed its deadline; no update was applied");
}

/* Before and after the steps, once each, where a look at the clock is cheap. */
static tc_status check_stop_exactly(run *r)
{
    if (r->deadline.at_ns != 0 && tc_clock_ns() >= r->deadline.at_ns)
        atomic_store_explicit(&r->deadline.passed, true, memory_order_relaxed);
    return tc_run_check_stop(r);
}

/*
 * Steps
 */
tc_status tc_run_fail_at(const tc_plan *plan, int32_t node, const tc_kernel *kernel,
                         tc_status status)
{
    char where[512];
    if (node < 0)
        return status;
    tc_node_describe(tc_graph_node_at(plan->program->graph, node), where, sizeof where);
    if (tc_error_status() != status) /* a kernel of the user's that did not call tc_kernel_fail */
        return tc_fail(status, "%s: the kernel '%s' fails without a reason", where,
                       kernel ? kernel->symbol : "copy");
    return tc_fail_prefix(status, "%s: ", where);
}

static tc_status fail_step(const run *r, const tc_step *step, tc_status status)
{
    return tc_run_fail_at(r->plan, step->node, step->kernel, status);
}

static inline tc_status run_step(const run *r, tc_kernel_context *context, const tc_step *step)
{
    void **operands = r->frame->operands;
    if (!step->kernel) {
        if (step->copy_bytes > 0)
            memcpy(operands[step->first_output], operands[step->first_input], step->copy_bytes);
        return TC_OK;
    }
    context->workspace = step->workspace_bytes ? r->frame->arena + step->workspace_offset : NULL;
    context->packed = step->pack >= 0 ? r->frame->packed[step->pack]->blob : NULL;
    context->extents = step->extents ? r->frame->extents + step->extents - 1 : NULL;
    return step->kernel->run(step->params, (const void *const *)(operands + step->first_input),
                             operands + step->first_output, context);
}

/* Steps that are looked at: timed, or checked for NaN and Inf. One reading of the clock per step,
 * the end of which is the beginning of the next. */
static tc_status observe_steps(const run *r, tc_kernel_context *context, int32_t *at, int32_t end)
{
    const tc_step *steps = r->plan->steps;
    int64_t start = r->profile ? tc_clock_ns() : 0;
    for (; *at < end; ++*at) {
        TC_TRY(tc_run_check_stop(r));
        tc_status status = run_step(r, context, &steps[*at]);
        if (r->profile) {
            int64_t now = tc_clock_ns();
            tc_profile_record(r->profile, *at, start, now);
            start = now;
        }
        if (status != TC_OK)
            return fail_step(r, &steps[*at], status);
        if (r->session->check_numerics)
            TC_TRY(tc_check_step_numerics(r->plan, &steps[*at], r->frame->operands,
                                          r->frame->extents));
    }
    return TC_OK;
}

/* Steps from *at to before `end`; *at is left at the one that failed. */
static tc_status run_steps(const run *r, tc_kernel_context *context, int32_t *at, int32_t end)
{
    if (r->profile || r->session->check_numerics)
        return observe_steps(r, context, at, end);
    const tc_step *steps = r->plan->steps;
    bool asks = tc_run_may_stop(r);
    for (int32_t i = *at; i < end; i++) {
        tc_status status = asks ? tc_run_check_stop(r) : TC_OK;
        if (status == TC_OK) {
            status = run_step(r, context, &steps[i]);
            if (status == TC_OK)
                continue;
            status = fail_step(r, &steps[i], status);
        }
        *at = i;
        return status;
    }
    *at = end;
    return TC_OK;
}

/*
 * Regions: lanes beside each other, each with a context of its own and without the pool, which
 * their loop has. Of failures in several lanes the first in the order of steps counts, as if they
 * had run one after the other.
 */
typedef struct lanes {
    const run *r;
    const tc_region *region;
    pthread_mutex_t lock; /* of what follows */
    tc_status status;
    int32_t failed; /* step */
    char message[TC_ERROR_MESSAGE_SIZE];
} lanes;

static void run_lane(void *argument, int64_t lane, int64_t end, int worker)
{
    lanes *l = argument;
    tc_kernel_context context = l->r->context;
    (void)end; /* lanes are claimed one by one */
    (void)worker;
    context.pool = NULL;
    int32_t at = l->region->lane_begin[lane];
    tc_status status = run_steps(l->r, &context, &at, l->region->lane_begin[lane + 1]);
    if (status == TC_OK)
        return;
    pthread_mutex_lock(&l->lock);
    if (l->status == TC_OK || at < l->failed) {
        l->status = status;
        l->failed = at;
        (void)tc_error_take(l->message, sizeof l->message);
    }
    pthread_mutex_unlock(&l->lock);
}

static tc_status run_region(const run *r, const tc_region *region)
{
    lanes l; /* but for the message */
    l.r = r;
    l.region = region;
    l.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    l.status = TC_OK;
    tc_parallel_for(r->context.pool, region->n_lanes, 1, run_lane, &l);
    return l.status == TC_OK ? TC_OK : tc_fail_saved(l.status, l.message);
}

tc_status tc_run_host_steps(tc_run *r, int32_t begin, int32_t end)
{
    int32_t at = begin;
    /* The first step with NaN or Inf is named: one after the other. */
    int32_t n_regions = r->session->check_numerics ? 0 : r->plan->n_regions;
    for (int32_t i = 0; i < n_regions; i++) {
        const tc_region *region = &r->plan->regions[i];
        if (region->first_step < begin)
            continue;
        if (region->first_step >= end)
            break;
        TC_TRY(run_steps(r, &r->context, &at, region->first_step));
        TC_TRY(run_region(r, region));
        at += region->n_steps;
    }
    return run_steps(r, &r->context, &at, end);
}

void tc_run_host_commit(tc_run *r, int32_t begin, int32_t end)
{
    int64_t start = r->profile ? tc_clock_ns() : 0;
    for (int32_t i = begin; i < end; i++) {
        (void)run_step(r, &r->context, &r->plan->steps[i]);
        if (r->profile) {
            int64_t now = tc_clock_ns();
            tc_profile_record(r->profile, i, start, now);
            start = now;
        }
    }
}

/*
 * Locks of the store
 */
typedef enum store_lock { LOCK_READER, LOCK_WRITER, LOCK_COMMIT } store_lock;

/* True when the lock is taken, false when it could not be until `until`; NULL: waits for ever. */
static bool lock_until(tc_store *store, store_lock which, const struct timespec *until)
{
    int error;
    if (which == LOCK_WRITER)
        error = until ? pthread_mutex_timedlock(&store->writer, until)
                      : pthread_mutex_lock(&store->writer);
    else if (which == LOCK_READER)
        error = until ? pthread_rwlock_timedrdlock(&store->lock, until)
                      : pthread_rwlock_rdlock(&store->lock);
    else
        error = until ? pthread_rwlock_timedwrlock(&store->lock, until)
                      : pthread_rwlock_wrlock(&store->lock);
    return error == 0;
}

/*
 * Waits for other runs and visits, but no longer than to the deadline or a cancellation. Nobody
 * wakes it for that, and the clock of the wait may be set back or forth, so it asks now and then. A
 * commit does not: the readers that it holds off would overtake it each time.
 */
static tc_status lock_store(run *r, store_lock which)
{
    tc_store *store = r->session->store;
    bool asks = which != LOCK_COMMIT;
    int64_t longest = r->cancellation ? 10000000 : 1000000000;
    while (tc_run_may_stop(r)) {
        TC_TRY(check_stop_exactly(r));
        if (!asks && r->deadline.at_ns == 0)
            break;
        int64_t left = r->deadline.at_ns != 0 ? r->deadline.at_ns - tc_clock_ns() : longest;
        left = asks && left > longest ? longest : left < 0 ? 0 : left;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += left / 1000000000;
        until.tv_nsec += left % 1000000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (lock_until(store, which, &until))
            return TC_OK;
    }
    (void)lock_until(store, which, NULL);
    return TC_OK;
}

/* Readers that are there would wait for the device as well as for the commit, were that to follow
 * at once. */
static tc_status lock_commit(run *r)
{
    if (tc_segments_are_busy(r)) {
        if (pthread_rwlock_trywrlock(&r->session->store->lock) == 0)
            return TC_OK;
        TC_TRY(tc_segments_settle(r));
    }
    return lock_store(r, LOCK_COMMIT);
}

/* With the lock taken the CPU's part cannot fail: nothing is asked, and write kernels and copies
 * return TC_OK. */
static tc_status commit(run *r)
{
    tc_store *store = r->session->store;
    bool devices = r->plan->mixed;
    tc_status status = TC_OK;
    if (devices)
        TC_TRY(tc_segments_prepare_commit(r));
    TC_TRY(lock_commit(r));
    if (devices)
        status = tc_segments_commit(r);
    else
        tc_run_host_commit(r, r->plan->n_compute, r->plan->n_steps);
    for (int32_t i = 0; i < r->plan->n_variables && status == TC_OK; i++) {
        int32_t at = r->bound->uses[i].written_at;
        if (!r->plan->variables[i].written)
            continue;
        r->bound->variables[i]->version++;
        if (at >= 0)
            atomic_store_explicit(&r->bound->variables[i]->places, TC_PLACE_BIT(at),
                                  memory_order_release);
    }
    store->step += status == TC_OK;
    pthread_rwlock_unlock(&store->lock);
    if (status == TC_OK)
        atomic_fetch_add_explicit(&r->session->counters.commits, 1, memory_order_relaxed);
    return status;
}

/* Contents of variables to where they are used. Memory of their own, on the CPU, for those that lie
 * in a file. */
static tc_status prepare_variables(const run *r)
{
    tc_store *store = r->session->store;
    const tc_bound_plan *bound = r->bound;
    for (int32_t d = 0; d < bound->n_devices; d++) {
        const tc_device_use *use = &bound->devices[d];
        tc_status status = tc_store_move(store, use->variables, use->n_variables, d);
        if (status == TC_RESOURCE_EXHAUSTED && tc_session_trim(r->session))
            status = tc_store_move(store, use->variables, use->n_variables, d);
        TC_TRY(status);
    }
    for (int32_t i = 0; i < r->plan->n_variables; i++)
        if (bound->uses[i].places & TC_PLACE_BIT(0) && bound->variables[i]->mapped)
            TC_TRY(tc_store_prepare(store, bound->variables[i], bound->uses[i].written_at == 0));
    return TC_OK;
}

static tc_status patch_operands(run *r)
{
    tc_frame *frame = r->frame;
    bool moved = false;
    TC_TRY(prepare_variables(r));
    if (r->plan->n_packs > 0) {
        tc_status status = tc_frame_pack(r->session, r->bound, frame);
        if (status == TC_RESOURCE_EXHAUSTED && tc_session_trim(r->session))
            status = tc_frame_pack(r->session, r->bound, frame);
        TC_TRY(status);
    }
    for (int32_t i = 0; i < r->bound->n_patches; i++) {
        const tc_patch *patch = &r->bound->patches[i];
        void *base;
        if (patch->place == TC_PLACE_FEED)
            base = frame->feeds[patch->index];
        else if (patch->place == TC_PLACE_OUTPUT)
            base = frame->outputs[patch->index];
        else
            base = tc_variable_memory(r->bound->variables[patch->index], patch->device);
        void *operand = (void *)((uintptr_t)base + patch->offset);
        moved |= patch->device != 0 && frame->operands[patch->operand] != operand;
        frame->operands[patch->operand] = operand;
    }
    if (moved)
        tc_segments_forget_recordings(r->bound, frame);
    return TC_OK;
}

tc_status tc_run_compute(tc_run *r)
{
    TC_TRY(patch_operands(r));
    if (r->plan->mixed)
        return tc_segments_compute(r);
    /* Without writes there is nothing to commit. */
    bool writes = r->plan->program->writes;
    return tc_run_host_steps(r, 0, writes ? r->plan->n_compute : r->plan->n_steps);
}

tc_status tc_run_finish(tc_run *r)
{
    if (r->plan->program->writes) {
        tc_status status = commit(r);
        return status == TC_OK || !r->plan->mixed ? status : tc_segments_abandon(r, status);
    }
    return tc_run_may_stop(r) ? check_stop_exactly(r) : TC_OK;
}

/* With the locks of the store held: the whole run. */
static tc_status run_locked(run *r)
{
    r->context.step = r->session->store->step;
    if (r->staged)
        return tc_staged_compute(r);
    TC_TRY(tc_run_compute(r));
    return tc_run_finish(r);
}

static tc_status run_with_state(run *r, bool writes)
{
    tc_store *store = r->session->store;
    TC_TRY(lock_store(r, writes ? LOCK_WRITER : LOCK_READER));
    tc_status status = run_locked(r);
    if (writes)
        pthread_mutex_unlock(&store->writer);
    else
        pthread_rwlock_unlock(&store->lock);
    return status;
}

tc_status tc_run_guarded(tc_run *r, bool writes)
{
    if (r->deadline.at_ns == 0)
        return run_with_state(r, writes);
    tc_watch *watch = &r->session->runtime->watch;
    TC_TRY(tc_watch_add(watch, &r->deadline));
    tc_status status = run_with_state(r, writes);
    tc_watch_remove(watch, &r->deadline);
    return status;
}

void tc_run_count(const tc_run *r, size_t copied_bytes, size_t transferred_bytes)
{
    atomic_fetch_add_explicit(&r->session->counters.runs, 1, memory_order_relaxed);
    if (copied_bytes > 0)
        atomic_fetch_add_explicit(&r->session->counters.copied_bytes, copied_bytes,
                                  memory_order_relaxed);
    if (transferred_bytes > 0)
        atomic_fetch_add_explicit(&r->session->counters.transferred_bytes, transferred_bytes,
                                  memory_order_relaxed);
}

/*
 * Runs
 */
static tc_status bind_outputs(run *r, tc_tensor *const *outputs)
{
    for (int32_t i = 0; i < r->entry->n_fetches; i++) {
        tc_tensor *output = outputs[i];
        if (output) {
            const char *name = tc_graph_node_at(r->session->graph, r->entry->fetches[i].node)->name;
            TC_TRY(tc_run_check_output(name, &r->plan->outputs[i], outputs, i, r->frame->pinned,
                                       r->entry->n_feeds));
        } else {
            const tc_value_info *info = &r->plan->outputs[i];
            TC_TRY(tc_tensor_create(info->dtype, info->shape, &r->frame->created[i]));
            output = r->frame->created[i];
        }
        r->frame->outputs[i] = tc_tensor_data(output);
    }
    return TC_OK;
}

static tc_status run_frame(run *r, const tc_inputs *inputs, tc_tensor **outputs)
{
    tc_frame *frame = r->frame;
    for (int32_t i = 0; i < r->entry->n_feeds; i++) {
        frame->pinned[i] = tc_tensor_retain(tc_input_tensor(inputs, i));
        frame->feeds[i] = tc_tensor_data(frame->pinned[i]);
    }
    tc_status status = bind_outputs(r, outputs);
    if (status == TC_OK && r->profile)
        status = tc_profile_begin(r->profile, r->bound->plan, 0);
    if (status == TC_OK)
        status = tc_run_guarded(r, r->plan->program->writes);
    for (int32_t i = 0; i < r->entry->n_feeds; i++)
        tc_tensor_release(frame->pinned[i]);
    for (int32_t i = 0; i < r->entry->n_fetches; i++) {
        if (status != TC_OK)
            tc_tensor_release(frame->created[i]);
        else if (frame->created[i])
            outputs[i] = frame->created[i];
        frame->created[i] = NULL;
    }
    return status;
}

/* Field by field: zeroing all of it first is a large part of a small run. The rest is set as the
 * run goes on. */
static inline void begin(run *r, tc_session *session, tc_entry *entry)
{
    r->session = session;
    r->entry = entry;
    r->cancellation = NULL;
    r->profile = NULL;
    r->deadline.at_ns = 0;
    atomic_init(&r->deadline.passed, false);
    r->context.seed = tc_graph_seed(session->graph);
    r->context.step = 0;
    r->context.loop_index = 0;
    r->context.pool = session->pool;
    r->context.extents = NULL;
    r->staged = NULL;
}

tc_status tc_entry_run(tc_session *session, tc_entry *entry, const tc_inputs *inputs,
                       tc_tensor **outputs, const tc_run_limits *limits)
{
    run r;
    begin(&r, session, entry);
    r.cancellation = limits->cancellation;
    r.profile = limits->profile;
    r.deadline.at_ns = limits->deadline_ns;
    TC_TRY(tc_entry_check(session, entry, inputs, outputs));
    if (entry->staged)
        return tc_staged_run_all(&r, inputs, outputs);
    TC_TRY(tc_plan_enter_tensors(session, entry, inputs, &r.bound, &r.frame));
    r.plan = r.bound->plan;
    tc_status status = run_frame(&r, inputs, outputs);
    size_t copied_bytes = r.plan->copied_bytes, transferred_bytes = r.plan->transferred_bytes;
    tc_plan_leave(session, entry, r.bound, r.frame);
    if (status == TC_OK)
        tc_run_count(&r, copied_bytes, transferred_bytes);
    return status;
}

tc_status tc_entry_run_initial(tc_session *session, tc_entry *entry, tc_tensor **outputs)
{
    run r;
    begin(&r, session, entry);
    if (entry->staged)
        return tc_staged_run_initial(&r, outputs);
    TC_TRY(tc_plan_enter(session, entry, NULL, &r.bound, &r.frame));
    r.plan = r.bound->plan;
    tc_status status = TC_OK;
    for (int32_t i = 0; i < entry->n_fetches && status == TC_OK; i++) {
        outputs[i] = NULL;
        status = tc_tensor_create(r.plan->outputs[i].dtype, r.plan->outputs[i].shape, &outputs[i]);
        r.frame->outputs[i] = tc_tensor_data(outputs[i]);
    }
    if (status == TC_OK) {
        /* Other variables may be read, by initial values that depend on them. */
        pthread_rwlock_rdlock(&session->store->lock);
        status = tc_run_compute(&r);
        pthread_rwlock_unlock(&session->store->lock);
    }
    for (int32_t i = 0; i < entry->n_fetches && status != TC_OK; i++) {
        tc_tensor_release(outputs[i]);
        outputs[i] = NULL;
    }
    tc_plan_leave(session, entry, r.bound, r.frame);
    return status;
}
