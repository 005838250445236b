/* What plans use of devices, and the memory of frames there. */
#include <string.h>

#include "base/status.h"
#include "core/tensor.h"
#include "runtime/segments.h"

static tc_device *device_at(const tc_session *session, int32_t device)
{
    return &session->runtime->devices->list[device];
}

/*
 * Binding
 */

/* The device that the only input and output of a copy are on. */
static void ends_of_copy(const tc_plan *plan, const tc_step *step, int32_t *from, int32_t *to)
{
    *from = plan->buffers[plan->operands[step->first_input]].device;
    *to = plan->buffers[plan->operands[step->first_output]].device;
}

/* Copies of segment `s` with the CPU, one way or the other, appended to bound->copies. */
static int32_t list_copies(tc_bound_plan *bound, const tc_segment *segment, bool uploads,
                           int32_t *count)
{
    int32_t before = *count, from, to;
    for (int32_t i = 0; i < segment->n_steps; i++) {
        const tc_step *step = &bound->plan->steps[segment->first_step + i];
        if (step->kernel)
            continue;
        ends_of_copy(bound->plan, step, &from, &to);
        if (from != to && (uploads ? from : to) == 0)
            bound->copies[(*count)++] = segment->first_step + i;
    }
    return *count - before;
}

static bool finds_faults(const tc_plan *plan, const tc_segment *segment)
{
    for (int32_t i = 0; i < segment->n_steps; i++) {
        const tc_kernel *kernel = plan->steps[segment->first_step + i].kernel;
        if (kernel && kernel->fault)
            return true;
    }
    return false;
}

static void describe_segments(tc_bound_plan *bound, int32_t n_compute_segments)
{
    const tc_plan *plan = bound->plan;
    int32_t n_copies = 0;
    for (int32_t s = 0; s < plan->n_segments; s++) {
        const tc_segment *segment = &plan->segments[s];
        tc_segment_use *use = &bound->segments[s];
        if (segment->device == 0)
            continue;
        tc_device_use *device = &bound->devices[segment->device];
        use->begins = !device->works;
        device->works = true;
        use->faults = s < n_compute_segments && finds_faults(plan, segment);
        use->first_upload = n_copies;
        use->n_uploads = list_copies(bound, segment, true, &n_copies);
        use->first_download = n_copies;
        use->n_downloads = list_copies(bound, segment, false, &n_copies);
    }
    for (int32_t d = 1; d < plan->n_devices; d++) {
        tc_device_use *device = &bound->devices[d];
        device->n_queues = device->works;
    }
    for (int32_t i = 0; i < plan->n_regions; i++) {
        const tc_region *region = &plan->regions[i];
        tc_device_use *device = &bound->devices[plan->steps[region->first_step].device];
        int32_t lanes = region->n_lanes < TC_MAX_QUEUES ? region->n_lanes : TC_MAX_QUEUES;
        if (device->works && lanes > device->n_queues)
            device->n_queues = lanes;
    }
}

/* A device's kernels see its own faults alone: the commit may follow the compute part unasked only
 * where no other device finds any and nothing is committed elsewhere. */
static bool may_commit_behind(const tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    int32_t device = -1;
    for (int32_t s = plan->n_compute_segments; s < plan->n_segments; s++) {
        int32_t other = plan->segments[s].device;
        if (other == 0 || plan->segments[s].waits || bound->segments[s].n_uploads > 0 ||
            (device >= 0 && device != other))
            return false;
        device = other;
    }
    for (int32_t s = 0; s < plan->n_compute_segments; s++)
        if (bound->segments[s].faults && plan->segments[s].device != device)
            return false;
    return device >= 0;
}

static tc_status place_constants(tc_session *session, tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    for (int32_t i = 0; i < plan->n_buffers; i++) {
        const tc_buffer *buffer = &plan->buffers[i];
        if (buffer->place == TC_PLACE_CONSTANT && buffer->device != 0)
            TC_TRY(tc_store_place(session->store, plan->constants[buffer->index], buffer->device,
                                  &bound->placed[i]));
    }
    return TC_OK;
}

tc_status tc_bind_segments(tc_session *session, tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    tc_arena *arena = &bound->arena;
    int32_t n_compute_segments =
        plan->program->writes ? plan->n_compute_segments : plan->n_segments;
    bound->segments = tc_arena_array(arena, (size_t)plan->n_segments, sizeof *bound->segments);
    bound->copies = tc_arena_array(arena, (size_t)plan->n_steps, sizeof *bound->copies);
    bound->placed = tc_arena_array(arena, (size_t)plan->n_buffers, sizeof *bound->placed);
    if (!bound->segments || !bound->copies || !bound->placed)
        return tc_fail_memory(arena->bytes, "a plan");
    describe_segments(bound, n_compute_segments);
    bound->commits_behind = plan->program->writes && may_commit_behind(bound);
    return place_constants(session, bound);
}

void tc_unbind_segments(tc_session *session, tc_bound_plan *bound)
{
    for (int32_t i = 0; bound->placed && i < bound->plan->n_buffers; i++)
        tc_store_unplace(session->store, bound->placed[i]);
}

/*
 * Frames
 */
static tc_status pin(const tc_plan *plan, tc_device_frame *frames, int32_t index)
{
    tc_device_frame *own = &frames[index];
    tc_backend *backend = own->device->backend;
    size_t bytes = tc_align_up(plan->staging_bytes, TC_ALIGNMENT), states = 2 * TC_STATE_BYTES;
    for (int32_t i = 0; i < index; i++)
        if (frames[i].device && frames[i].device->backend == backend && frames[i].staging)
            own->staging = frames[i].staging;
    size_t room = states + (own->staging ? 0 : bytes);
    void *memory;
    TC_TRY(backend->pin(backend, room, &memory));
    own->pinned = memory;
    own->sent = memory;
    own->received = (tc_run_state *)(void *)(own->pinned + TC_STATE_BYTES);
    if (!own->staging)
        own->staging = own->pinned + states;
    return TC_OK;
}

static tc_status create_device(tc_session *session, const tc_bound_plan *bound,
                               tc_device_frame *frames, int32_t index)
{
    tc_device_frame *own = &frames[index];
    tc_device *device = device_at(session, index);
    tc_backend *backend = device->backend;
    size_t bytes = TC_STATE_BYTES;
    void *memory;
    own->device = device;
    TC_TRY(tc_device_check(device));
    if (!tc_add_size(bytes, bound->plan->devices[index].arena_bytes, &bytes))
        return tc_fail_memory(SIZE_MAX, "the intermediate results of a run");
    TC_TRY(tc_device_allocate(device, bytes, "the plan, for the intermediate results of a run,",
                              &memory));
    own->memory = memory;
    for (; own->n_queues < bound->devices[index].n_queues; own->n_queues++)
        TC_TRY(backend->queue_create(backend, device->index, &own->queues[own->n_queues]));
    return pin(bound->plan, frames, index);
}

/* Addresses that do not change. */
static void place_operands(const tc_bound_plan *bound, tc_frame *frame)
{
    const tc_plan *plan = bound->plan;
    for (int32_t i = 0; i < plan->n_operands; i++) {
        int32_t index = plan->operands[i];
        const tc_buffer *buffer = index < 0 ? NULL : &plan->buffers[index];
        if (!buffer || buffer->device == 0)
            continue;
        if (buffer->place == TC_PLACE_ARENA)
            frame->operands[i] =
                frame->segments->devices[buffer->device].memory + TC_STATE_BYTES + buffer->offset;
        else if (buffer->place == TC_PLACE_CONSTANT)
            frame->operands[i] = (char *)bound->placed[index]->memory + buffer->offset;
    }
}

tc_status tc_segments_frame_create(tc_session *session, const tc_bound_plan *bound, tc_frame *frame)
{
    const tc_plan *plan = bound->plan;
    size_t n_devices = (size_t)plan->n_devices, n_segments = (size_t)plan->n_segments;
    tc_segments_frame *own = tc_alloc_zero(1, sizeof *own + n_devices * sizeof *own->devices +
                                                  n_segments * sizeof *own->records);
    if (!own)
        return tc_fail_memory(sizeof *own, "a run");
    frame->segments = own;
    own->devices = (tc_device_frame *)(own + 1);
    own->records = (tc_segment_record *)(own->devices + n_devices);
    for (int32_t d = 1; d < plan->n_devices; d++)
        if (bound->devices[d].works)
            TC_TRY(create_device(session, bound, own->devices, d));
    place_operands(bound, frame);
    return TC_OK;
}

void tc_segments_forget_recordings(const tc_bound_plan *bound, tc_frame *frame)
{
    tc_segments_frame *own = frame->segments;
    for (int32_t s = 0; s < bound->plan->n_segments; s++) {
        tc_segment_record *record = &own->records[s];
        if (!record->recording)
            continue;
        tc_backend *backend = own->devices[bound->plan->segments[s].device].device->backend;
        backend->recording_destroy(backend, record->recording);
        record->recording = NULL;
    }
}

void tc_segments_frame_free(const tc_bound_plan *bound, tc_frame *frame)
{
    tc_segments_frame *own = frame->segments;
    if (!own)
        return;
    tc_segments_forget_recordings(bound, frame);
    for (int32_t d = 1; d < bound->plan->n_devices; d++) {
        tc_device_frame *used = &own->devices[d];
        for (int32_t i = 0; i < used->n_queues; i++)
            used->device->backend->queue_destroy(used->queues[i]);
    }
    for (int32_t d = 1; d < bound->plan->n_devices; d++) {
        tc_device_frame *used = &own->devices[d];
        if (used->pinned)
            used->device->backend->unpin(used->device->backend, used->pinned);
        if (used->memory)
            used->device->backend->release(used->device->backend, used->device->index,
                                           used->memory);
    }
    tc_free(own);
    frame->segments = NULL;
}
