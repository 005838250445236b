/* Running plans with devices. */
#include "runtime/segments.h"

#include <string.h>

#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "runtime/numerics.h"
#include "runtime/profile.h"

/* Tries at recording a segment, after which it runs step by step for good. */
#define MOST_ATTEMPTS 3

/* Copies of the host are cut into blocks for the threads. */
#define COPY_GRAIN ((int64_t)1 << 20)

static tc_device_frame *frame_of(const tc_run *r, int32_t segment)
{
    return &r->frame->segments->devices[r->plan->segments[segment].device];
}

static bool is_commit(const tc_run *r, int32_t step)
{
    return r->plan->program->writes && step >= r->plan->n_compute;
}

/* Looked at, steps run one after the other, each waited for. */
static bool is_observed(const tc_run *r, int32_t segment)
{
    return r->profile ||
           (r->session->check_numerics && !is_commit(r, r->plan->segments[segment].first_step));
}

/*
 * Copies of the host, to and from pinned memory
 */
typedef struct host_copy {
    char *to;
    const char *from;
} host_copy;

static void copy_block(void *argument, int64_t begin, int64_t end, int worker)
{
    const host_copy *c = argument;
    (void)worker;
    memcpy(c->to + begin, c->from + begin, (size_t)(end - begin));
}

static void copy_host(const tc_run *r, void *to, const void *from, size_t bytes)
{
    host_copy c = {to, from};
    if (bytes > 0)
        tc_parallel_for(r->context.pool, (int64_t)bytes, COPY_GRAIN, copy_block, &c);
}

static void stage_uploads(const tc_run *r, int32_t segment)
{
    const tc_segment_use *use = &r->bound->segments[segment];
    for (int32_t i = 0; i < use->n_uploads; i++) {
        const tc_step *step = &r->plan->steps[r->bound->copies[use->first_upload + i]];
        copy_host(r, frame_of(r, segment)->staging + step->staging_offset,
                  r->frame->operands[step->first_input], step->copy_bytes);
    }
}

static void land_downloads(const tc_run *r, int32_t segment)
{
    const tc_segment_use *use = &r->bound->segments[segment];
    for (int32_t i = 0; i < use->n_downloads; i++) {
        const tc_step *step = &r->plan->steps[r->bound->copies[use->first_download + i]];
        copy_host(r, r->frame->operands[step->first_output],
                  frame_of(r, segment)->staging + step->staging_offset, step->copy_bytes);
    }
}

/*
 * Waiting
 */

/* The fault that came first in the order of steps, as if one device did everything. */
static const tc_fault *first_fault(const tc_run *r)
{
    const tc_fault *first = NULL;
    for (int32_t d = 1; d < r->bound->n_devices; d++) {
        const tc_run_state *state = r->frame->segments->devices[d].received;
        if (state && state->fault.place != 0 && (!first || state->fault.place < first->place))
            first = &state->fault;
    }
    return first;
}

static tc_status check_faults(const tc_run *r)
{
    const tc_fault *fault = first_fault(r);
    if (!fault)
        return TC_OK;
    int32_t index = fault->place - 1;
    if (index < 0 || index >= r->plan->n_steps || !r->plan->steps[index].kernel ||
        !r->plan->steps[index].kernel->fault)
        return tc_fail(TC_INTERNAL, "a device tells of a fault at step %d, which finds none",
                       (int)index);
    const tc_step *step = &r->plan->steps[index];
    tc_status status = step->kernel->fault(step->params, fault);
    if (status == TC_OK)
        status = tc_fail(TC_INTERNAL, "the kernel %s takes the fault %d for none",
                         step->kernel->symbol, (int)fault->code);
    return tc_run_fail_at(r->plan, step->node, step->kernel, status);
}

/* All queues of the busy devices; of several failures the first is told. */
static tc_status wait_for_devices(const tc_run *r)
{
    tc_segments_frame *own = r->frame->segments;
    tc_status status = TC_OK;
    for (int32_t d = 1; d < r->bound->n_devices; d++) {
        if (!(own->busy & TC_PLACE_BIT(d)))
            continue;
        char message[TC_ERROR_MESSAGE_SIZE];
        if (status != TC_OK)
            (void)tc_error_take(message, sizeof message);
        tc_device_frame *device = &own->devices[d];
        tc_status waited = tc_device_wait(device->device, device->queues[0]);
        if (status != TC_OK)
            (void)tc_fail_saved(status, message);
        else
            status = waited;
    }
    own->busy = 0;
    return status;
}

tc_status tc_segments_settle(tc_run *r)
{
    tc_segments_frame *own = r->frame->segments;
    TC_TRY(wait_for_devices(r));
    TC_TRY(check_faults(r));
    for (; own->landed < own->given; own->landed++)
        land_downloads(r, own->landed);
    return TC_OK;
}

/* Lanes too: one that failed to be tied to the others works by itself. */
static void wait_for_lanes(const tc_run *r)
{
    tc_segments_frame *own = r->frame->segments;
    for (int32_t d = 1; d < r->bound->n_devices; d++)
        for (int32_t i = 1; own->busy & TC_PLACE_BIT(d) && i < own->devices[d].n_queues; i++)
            (void)tc_device_wait(own->devices[d].device, own->devices[d].queues[i]);
}

tc_status tc_segments_abandon(tc_run *r, tc_status status)
{
    char message[TC_ERROR_MESSAGE_SIZE];
    if (!tc_segments_are_busy(r))
        return status;
    (void)tc_error_take(message, sizeof message);
    wait_for_lanes(r);
    /* What is under way came before what failed. */
    if (wait_for_devices(r) == TC_OK) {
        tc_status fault = check_faults(r);
        if (fault != TC_OK)
            return fault;
    }
    return tc_fail_saved(status, message);
}

/*
 * Giving work to queues
 */
static tc_status give_copy(const tc_run *r, const tc_device_frame *own, tc_queue *queue,
                           int32_t index)
{
    const tc_plan *plan = r->plan;
    const tc_step *step = &plan->steps[index];
    const tc_backend *backend = own->device->backend;
    void *to = r->frame->operands[step->first_output];
    const void *from = r->frame->operands[step->first_input];
    int32_t to_device = plan->buffers[plan->operands[step->first_output]].device;
    int32_t from_device = plan->buffers[plan->operands[step->first_input]].device;
    if (step->copy_bytes == 0)
        return TC_OK;
    if (to_device == from_device && is_commit(r, index))
        return backend->copy_unless_fault(queue, to, from, step->copy_bytes,
                                          (const tc_run_state *)(const void *)own->memory);
    const tc_device *devices = r->session->view.devices->list; /* one may do nothing but hold it */
    int32_t to_place = TC_DEVICE_HOST, from_place = TC_DEVICE_HOST;
    if (to_device == 0)
        to = own->staging + step->staging_offset;
    else
        to_place = devices[to_device].index;
    if (from_device == 0)
        from = own->staging + step->staging_offset;
    else
        from_place = devices[from_device].index;
    return backend->copy(queue, to, to_place, from, from_place, step->copy_bytes);
}

static tc_status give_step(const tc_run *r, const tc_device_frame *own, tc_queue *queue,
                           int32_t index)
{
    const tc_step *step = &r->plan->steps[index];
    tc_status status;
    if (step->kernel) {
        const tc_kernel_context context = {
            .workspace = step->workspace_bytes
                             ? own->memory + TC_STATE_BYTES + step->workspace_offset
                             : NULL,
            .queue = queue,
            .state = (tc_run_state *)(void *)own->memory,
            .place = index + 1,
        };
        void **operands = r->frame->operands;
        status =
            step->kernel->run(step->params, (const void *const *)(operands + step->first_input),
                              operands + step->first_output, &context);
    } else {
        status = give_copy(r, own, queue, index);
    }
    if (status != TC_OK)
        return tc_run_fail_at(r->plan, step->node, step->kernel, status);
    r->frame->segments->committed += is_commit(r, index);
    return TC_OK;
}

/* Lanes begin when what is before them has run, and what is after them when they have. */
static tc_status tie_lanes(const tc_device_frame *own, bool begin)
{
    const tc_backend *backend = own->device->backend;
    for (int32_t i = 1; i < own->n_queues; i++)
        TC_TRY(begin ? backend->order(own->queues[i], own->queues[0])
                     : backend->order(own->queues[0], own->queues[i]));
    return TC_OK;
}

static tc_status give_steps(const tc_run *r, const tc_device_frame *own, int32_t segment, bool asks)
{
    const tc_segment *s = &r->plan->segments[segment];
    int32_t region = -1;
    for (int32_t i = s->first_step; i < s->first_step + s->n_steps; i++) {
        const tc_step *step = &r->plan->steps[i];
        if (asks)
            TC_TRY(tc_run_check_stop(r));
        if (step->region != region && region >= 0)
            TC_TRY(tie_lanes(own, false));
        if (step->region != region && step->region >= 0)
            TC_TRY(tie_lanes(own, true));
        region = step->region;
        int32_t lane = region >= 0 ? step->lane % own->n_queues : 0;
        TC_TRY(give_step(r, own, own->queues[lane], i));
    }
    return region >= 0 ? tie_lanes(own, false) : TC_OK;
}

static tc_status give_state(const tc_device_frame *own)
{
    return own->device->backend->copy(own->queues[0], own->memory, own->device->index, own->sent,
                                      TC_DEVICE_HOST, sizeof *own->sent);
}

static tc_status ask_state(const tc_device_frame *own)
{
    return own->device->backend->copy(own->queues[0], own->received, TC_DEVICE_HOST, own->memory,
                                      own->device->index, sizeof *own->received);
}

/* All of a segment: at once, or into a recording. */
static tc_status give_segment(const tc_run *r, int32_t segment, bool asks)
{
    const tc_device_frame *own = frame_of(r, segment);
    const tc_segment_use *use = &r->bound->segments[segment];
    TC_TRY(own->device->backend->select(own->queues[0]));
    if (use->begins)
        TC_TRY(give_state(own));
    TC_TRY(give_steps(r, own, segment, asks));
    return use->faults ? ask_state(own) : TC_OK;
}

/*
 * Recordings
 */

/* Leaves record->recording NULL where it fails, which is then tried again with the next run. */
static tc_status make_recording(const tc_run *r, int32_t segment)
{
    const tc_device_frame *own = frame_of(r, segment);
    tc_backend *backend = own->device->backend;
    tc_segment_record *record = &r->frame->segments->records[segment];
    tc_recording *recording = NULL;
    char message[TC_ERROR_MESSAGE_SIZE];
    tc_status status = backend->record_begin(own->queues[0]);
    if (status == TC_OK) {
        status = give_segment(r, segment, false);
        if (status != TC_OK)
            (void)tc_error_take(message, sizeof message);
        tc_status ended = backend->record_end(own->queues[0], &recording);
        if (status != TC_OK)
            (void)tc_fail_saved(status, message);
        else
            status = ended;
    }
    if (status == TC_OK) {
        record->recording = recording;
        atomic_fetch_add_explicit(&r->session->counters.recordings, 1, memory_order_relaxed);
        return TC_OK;
    }
    if (recording)
        backend->recording_destroy(backend, recording);
    record->attempts = status == TC_UNIMPLEMENTED ? MOST_ATTEMPTS + 1 : record->attempts + 1;
    return status;
}

static tc_status replay(const tc_run *r, int32_t segment)
{
    const tc_device_frame *own = frame_of(r, segment);
    TC_TRY(own->device->backend->replay(own->queues[0],
                                        r->frame->segments->records[segment].recording));
    r->frame->segments->committed += is_commit(r, r->plan->segments[segment].first_step);
    atomic_fetch_add_explicit(&r->session->counters.replays, 1, memory_order_relaxed);
    return TC_OK;
}

/*
 * Segments
 */

/* Outputs are brought to the host to be looked at. */
static tc_status check_numerics(const tc_run *r, const tc_device_frame *own, const tc_step *step)
{
    for (int32_t i = 0; step->kernel && step->node >= 0 && i < step->n_outputs; i++) {
        int32_t buffer = r->plan->operands[step->first_output + i];
        if (buffer < 0)
            continue;
        const tc_value_info *info = &r->plan->buffers[buffer].info;
        size_t bytes = (size_t)tc_shape_size(&info->shape) * tc_dtype_size(info->dtype);
        void *data = bytes > 0 ? tc_alloc(bytes) : NULL;
        if (bytes == 0)
            continue;
        if (!data)
            return tc_fail_memory(bytes, "a look at what a device has computed");
        tc_status status = own->device->backend->copy(own->queues[0], data, TC_DEVICE_HOST,
                                                      r->frame->operands[step->first_output + i],
                                                      own->device->index, bytes);
        if (status == TC_OK)
            status = tc_device_wait(own->device, own->queues[0]);
        if (status == TC_OK)
            status = tc_check_output_numerics(r->plan, step, i, data, r->frame->extents);
        tc_free(data);
        TC_TRY(status);
    }
    return TC_OK;
}

static tc_status observe_step(const tc_run *r, const tc_device_frame *own, int32_t index)
{
    const tc_step *step = &r->plan->steps[index];
    bool commits = is_commit(r, index);
    if (!commits)
        TC_TRY(tc_run_check_stop(r));
    int64_t start = r->profile ? tc_clock_ns() : 0;
    TC_TRY(give_step(r, own, own->queues[0], index));
    TC_TRY(tc_device_wait(own->device, own->queues[0]));
    if (r->profile)
        tc_profile_record(r->profile, index, start, tc_clock_ns());
    if (!r->session->check_numerics || commits)
        return TC_OK;
    if (step->kernel && step->kernel->fault) {
        TC_TRY(ask_state(own));
        TC_TRY(tc_device_wait(own->device, own->queues[0]));
        TC_TRY(check_faults(r));
    }
    return check_numerics(r, own, step);
}

static tc_status observe_segment(const tc_run *r, int32_t segment)
{
    const tc_segment *s = &r->plan->segments[segment];
    const tc_device_frame *own = frame_of(r, segment);
    TC_TRY(own->device->backend->select(own->queues[0]));
    if (r->bound->segments[segment].begins)
        TC_TRY(give_state(own));
    for (int32_t i = s->first_step; i < s->first_step + s->n_steps; i++)
        TC_TRY(observe_step(r, own, i));
    return r->bound->segments[segment].faults ? ask_state(own) : TC_OK;
}

/* Before it is recorded a segment runs once as it is: libraries that kernels use get ready. */
static tc_status run_on_device(const tc_run *r, int32_t segment)
{
    tc_segment_record *record = &r->frame->segments->records[segment];
    if (is_observed(r, segment))
        return observe_segment(r, segment);
    if (record->recording)
        return replay(r, segment);
    if (record->attempts > 0 && record->attempts <= MOST_ATTEMPTS &&
        make_recording(r, segment) == TC_OK)
        return replay(r, segment);
    TC_TRY(give_segment(r, segment, tc_run_may_stop(r)));
    if (record->attempts == 0)
        record->attempts = 1;
    return TC_OK;
}

/* `segment` of a device. What is given to it may be in part, when it fails. */
static tc_status give(tc_run *r, int32_t segment)
{
    tc_segments_frame *own = r->frame->segments;
    stage_uploads(r, segment);
    own->busy |= TC_PLACE_BIT(r->plan->segments[segment].device);
    tc_status status = run_on_device(r, segment);
    if (status == TC_OK)
        own->given = segment + 1;
    return status;
}

static tc_status begin(const tc_run *r)
{
    tc_segments_frame *own = r->frame->segments;
    own->busy = 0;
    own->given = own->landed = 0;
    for (int32_t d = 1; d < r->bound->n_devices; d++) {
        tc_device_frame *device = &own->devices[d];
        if (!device->device)
            continue;
        TC_TRY(tc_device_check(device->device));
        *device->sent = (tc_run_state){
            .seed = r->context.seed, .step = r->context.step, .loop_index = r->context.loop_index};
        device->received->fault.place = 0;
    }
    return TC_OK;
}

static tc_status compute_segment(tc_run *r, int32_t index)
{
    const tc_segment *segment = &r->plan->segments[index];
    if (segment->waits && r->frame->segments->busy)
        TC_TRY(tc_segments_settle(r));
    if (tc_run_may_stop(r))
        TC_TRY(tc_run_check_stop(r));
    if (segment->device != 0)
        return give(r, index);
    return tc_run_host_steps(r, segment->first_step, segment->first_step + segment->n_steps);
}

/* What asks, or looks at steps, has to wait before anything is committed; so has a stage, whose
 * results the host looks at. */
static bool commits_behind(const tc_run *r)
{
    return r->bound->commits_behind && !tc_run_may_stop(r) && !r->profile &&
           !r->session->check_numerics && !r->staged;
}

static tc_status compute(tc_run *r)
{
    const tc_plan *plan = r->plan;
    int32_t end = plan->program->writes ? plan->n_compute_segments : plan->n_segments;
    TC_TRY(begin(r));
    for (int32_t s = 0; s < end; s++)
        TC_TRY(compute_segment(r, s));
    return commits_behind(r) ? TC_OK : tc_segments_settle(r);
}

tc_status tc_segments_compute(tc_run *r)
{
    tc_status status = compute(r);
    return status == TC_OK ? TC_OK : tc_segments_abandon(r, status);
}

/*
 * Committing: recorded before anything is given, so that a device gets all of its part or nothing.
 */
tc_status tc_segments_prepare_commit(tc_run *r)
{
    tc_segments_frame *own = r->frame->segments;
    for (int32_t s = r->plan->n_compute_segments; s < r->plan->n_segments; s++) {
        tc_segment_record *record = &own->records[s];
        if (r->plan->segments[s].device == 0 || record->recording || is_observed(r, s))
            continue;
        tc_status status =
            record->attempts > MOST_ATTEMPTS ? TC_UNIMPLEMENTED : make_recording(r, s);
        if (status != TC_UNIMPLEMENTED) {
            record->attempts = 0;
            TC_TRY(status);
        }
    }
    return TC_OK;
}

static tc_status commit_segment(tc_run *r, int32_t index)
{
    const tc_segment *segment = &r->plan->segments[index];
    tc_segments_frame *own = r->frame->segments;
    /* What the CPU commits cannot be taken back when a device then fails. */
    if (own->busy && (segment->waits || segment->device == 0))
        TC_TRY(tc_segments_settle(r));
    if (segment->device != 0)
        return give(r, index);
    tc_run_host_commit(r, segment->first_step, segment->first_step + segment->n_steps);
    return TC_OK;
}

static void lose_committing(const tc_run *r)
{
    for (int32_t s = r->plan->n_compute_segments; s < r->plan->n_segments; s++)
        if (r->plan->segments[s].device != 0)
            atomic_store_explicit(&frame_of(r, s)->device->lost, true, memory_order_relaxed);
}

tc_status tc_segments_commit(tc_run *r)
{
    const tc_plan *plan = r->plan;
    tc_status status = TC_OK;
    r->frame->segments->committed = 0;
    for (int32_t s = plan->n_compute_segments; s < plan->n_segments && status == TC_OK; s++)
        status = commit_segment(r, s);
    status = status == TC_OK ? tc_segments_settle(r) : tc_segments_abandon(r, status);
    /* Behind a fault devices commit nothing. Otherwise some part may be done and some not. */
    if (status != TC_OK && r->frame->segments->committed > 0 && !first_fault(r))
        lose_committing(r);
    return status;
}
