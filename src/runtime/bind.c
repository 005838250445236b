/* Plans bound to a store, and the frames that runs take from them. */
#include <stdint.h>
#include <string.h>

#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "runtime/stages.h"

/*
 * Frames
 */
static void free_frame(tc_session *session, const tc_bound_plan *bound, tc_frame *frame)
{
    for (int32_t i = 0; i < bound->plan->n_packs; i++)
        tc_packed_release(session->store, frame->packed[i]);
    tc_segments_frame_free(bound, frame);
    tc_free(frame->arena);
    tc_free(frame);
}

/* What the widest pack of a plan is made from. */
static size_t most_sources(const tc_plan *plan)
{
    size_t most = 1;
    for (int32_t i = 0; i < plan->n_packs; i++)
        if ((size_t)plan->packs[i].n_inputs > most)
            most = (size_t)plan->packs[i].n_inputs;
    return most;
}

/*
 * Memory of a frame: the plan's arena, the outputs that a stage passes on, extents.
 */
static size_t output_bytes(const tc_plan *plan, int32_t i)
{
    const tc_value_info *info = &plan->outputs[i];
    size_t size = (size_t)tc_shape_size(&info->shape) * tc_dtype_size(info->dtype);
    return tc_align_up(size, TC_ALIGNMENT); /* the planner has measured it */
}

static bool frame_bytes(const tc_entry *entry, const tc_plan *plan, size_t *bytes)
{
    *bytes = tc_align_up(plan->arena_bytes, TC_ALIGNMENT);
    for (int32_t i = 0; entry->kept && i < plan->program->n_fetches; i++)
        if (entry->kept[i] && !tc_add_size(*bytes, output_bytes(plan, i), bytes))
            return false;
    return tc_add_size(*bytes, 1 + (size_t)plan->n_extents * sizeof *plan->extents, bytes);
}

static void place_frame(const tc_entry *entry, const tc_plan *plan, tc_frame *frame)
{
    char *memory = frame->arena + tc_align_up(plan->arena_bytes, TC_ALIGNMENT);
    for (int32_t i = 0; entry->kept && i < plan->program->n_fetches; i++) {
        if (!entry->kept[i])
            continue;
        frame->outputs[i] = memory;
        memory += output_bytes(plan, i);
    }
    frame->extents = (int64_t *)(void *)memory;
    if (plan->n_extents > 0)
        memcpy(frame->extents, plan->extents, (size_t)plan->n_extents * sizeof *frame->extents);
}

static tc_status create_frame(tc_session *session, const tc_entry *entry,
                              const tc_bound_plan *bound, tc_frame **out)
{
    const tc_plan *plan = bound->plan;
    size_t bytes = SIZE_MAX;
    size_t n_feeds = (size_t)plan->program->n_feeds;
    size_t n_outputs = (size_t)plan->program->n_fetches;
    size_t n_packs = (size_t)plan->n_packs;
    size_t pointers = (size_t)plan->n_operands + 2 * n_feeds + 2 * n_outputs + n_packs;
    size_t n_sources = most_sources(plan);
    tc_frame *frame = tc_alloc_zero(1, sizeof *frame + n_sources * sizeof(tc_pack_source) +
                                           pointers * sizeof(void *));
    char *arena = frame_bytes(entry, plan, &bytes) ? tc_alloc_aligned(bytes, TC_ALIGNMENT) : NULL;
    if (!frame || !arena) {
        tc_free(frame);
        tc_free(arena);
        return tc_fail_memory(bytes, "the intermediate results of a run");
    }
    frame->arena = arena;
    frame->packed_fills = UINT64_MAX; /* nothing is packed yet */
    frame->pack_sources = (tc_pack_source *)(frame + 1);
    frame->operands = (void **)(frame->pack_sources + n_sources);
    frame->feeds = frame->operands + plan->n_operands;
    frame->outputs = frame->feeds + n_feeds;
    frame->pinned = (tc_tensor **)(frame->outputs + n_outputs);
    frame->created = frame->pinned + n_feeds;
    frame->packed = (tc_packed **)(frame->created + n_outputs);
    place_frame(entry, plan, frame);
    for (int32_t i = 0; i < plan->n_operands; i++) {
        if (plan->operands[i] < 0)
            continue;
        const tc_buffer *buffer = &plan->buffers[plan->operands[i]];
        if (buffer->device != 0)
            continue;
        if (buffer->place == TC_PLACE_ARENA)
            frame->operands[i] = arena + buffer->offset;
        else if (buffer->place == TC_PLACE_CONSTANT)
            frame->operands[i] =
                (char *)tc_tensor_data(plan->constants[buffer->index]) + buffer->offset;
    }
    if (plan->mixed) {
        tc_status status = tc_segments_frame_create(session, bound, frame);
        if (status != TC_OK) {
            free_frame(session, bound, frame);
            return status;
        }
    }
    *out = frame;
    return TC_OK;
}

/*
 * Binding
 */
/* Those of a stage have been filled before the run began, which holds the store. */
static tc_status bind_variables(tc_session *session, const tc_entry *entry, tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    bound->variables =
        tc_arena_array(&bound->arena, (size_t)plan->n_variables, sizeof *bound->variables);
    if (!bound->variables)
        return tc_fail_memory(bound->arena.bytes, "a plan");
    for (int32_t i = 0; i < plan->n_variables; i++)
        TC_TRY(tc_store_declare(session->store, plan->variables[i].name, plan->variables[i].dtype,
                                &plan->variables[i].shape, &bound->variables[i]));
    return entry->kept ? TC_OK
                       : tc_session_fill_variables(session, bound->variables, plan->n_variables);
}

static tc_place operand_place(const tc_plan *plan, int32_t operand)
{
    int32_t buffer = plan->operands[operand];
    return buffer < 0 ? TC_PLACE_NONE : plan->buffers[buffer].place;
}

static tc_patch patch_of(const tc_plan *plan, int32_t operand)
{
    const tc_buffer *buffer = &plan->buffers[plan->operands[operand]];
    return (tc_patch){operand, buffer->index, buffer->place, buffer->device, buffer->offset};
}

/*
 * Where variables are used
 */
static void find_uses(tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    tc_variable_use *uses = bound->uses;
    for (int32_t i = 0; i < plan->n_variables; i++)
        uses[i].written_at = -1;
    for (int32_t i = 0; i < plan->n_buffers; i++)
        if (plan->buffers[i].place == TC_PLACE_VARIABLE)
            uses[plan->buffers[i].index].places |= TC_PLACE_BIT(plan->buffers[i].device);
    for (int32_t i = plan->n_compute; i < plan->n_steps; i++) {
        const tc_step *step = &plan->steps[i];
        for (int32_t k = 0; k < step->n_outputs; k++) {
            int32_t buffer = plan->operands[step->first_output + k];
            if (buffer >= 0 && plan->buffers[buffer].place == TC_PLACE_VARIABLE)
                uses[plan->buffers[buffer].index].written_at = plan->buffers[buffer].device;
        }
    }
}

static tc_status bind_uses(tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    tc_arena *arena = &bound->arena;
    int32_t n_devices = plan->mixed ? plan->n_devices : 1;
    size_t n = (size_t)plan->n_variables;
    bound->uses = tc_arena_array(arena, n, sizeof *bound->uses);
    bound->devices = tc_arena_array(arena, (size_t)n_devices, sizeof *bound->devices);
    if (!bound->uses || !bound->devices)
        return tc_fail_memory(arena->bytes, "a plan");
    find_uses(bound);
    bound->n_devices = n_devices;
    for (int32_t d = 0; d < n_devices; d++) {
        tc_device_use *device = &bound->devices[d];
        device->variables = tc_arena_array(arena, n, sizeof *device->variables);
        if (!device->variables)
            return tc_fail_memory(arena->bytes, "a plan");
        for (int32_t i = 0; i < plan->n_variables; i++)
            if (bound->uses[i].places & TC_PLACE_BIT(d))
                device->variables[device->n_variables++] = bound->variables[i];
    }
    return TC_OK;
}

static tc_status bind_operands(tc_bound_plan *bound)
{
    const tc_plan *plan = bound->plan;
    bound->patches =
        tc_arena_array(&bound->arena, (size_t)plan->n_operands, sizeof *bound->patches);
    if (!bound->patches)
        return tc_fail_memory(bound->arena.bytes, "a plan");
    for (int32_t i = 0; i < plan->n_constants; i++)
        TC_TRY(tc_tensor_check(plan->constants[i]));
    for (int32_t i = 0; i < plan->n_operands; i++) {
        tc_place place = operand_place(plan, i);
        if (place == TC_PLACE_FEED || place == TC_PLACE_OUTPUT || place == TC_PLACE_VARIABLE)
            bound->patches[bound->n_patches++] = patch_of(plan, i);
    }
    bound->packed_patches = bound->patches + bound->n_patches;
    for (int32_t i = 0; i < plan->n_operands; i++)
        if (operand_place(plan, i) == TC_PLACE_PACKED)
            bound->packed_patches[bound->n_packed_patches++] = patch_of(plan, i);
    return TC_OK;
}

void tc_bound_plan_free(tc_session *session, tc_bound_plan *bound)
{
    while (bound->frames) {
        tc_frame *frame = bound->frames;
        bound->frames = frame->next;
        free_frame(session, bound, frame);
    }
    tc_unbind_segments(session, bound);
    tc_plan_release(bound->plan);
    tc_arena_free(&bound->arena);
    tc_free(bound);
}

tc_status tc_entry_check_shape(const tc_entry *entry, int32_t feed, const tc_shape *shape)
{
    const tc_shape *declared = &entry->feed_infos[feed].shape;
    if (tc_shape_compatible(declared, shape))
        return TC_OK;
    char wants[TC_SHAPE_TEXT_SIZE], has[TC_SHAPE_TEXT_SIZE];
    return tc_fail(TC_INVALID_ARGUMENT, "feed '%s' has shape %s, but the tensor is %s",
                   tc_graph_node_at(entry->graph, entry->feeds[feed].node)->name,
                   tc_shape_text(declared, wants), tc_shape_text(shape, has));
}

static tc_status bind_plan(tc_session *session, const tc_entry *entry, const tc_shape *shapes,
                           tc_bound_plan **out)
{
    tc_bound_plan *bound = tc_alloc_zero(1, sizeof *bound);
    if (!bound)
        return tc_fail_memory(sizeof *bound, "a plan");
    bound->shapes = tc_arena_array(&bound->arena, (size_t)entry->n_feeds, sizeof *bound->shapes);
    tc_status status =
        bound->shapes ? TC_OK : tc_fail_memory((size_t)entry->n_feeds * sizeof *shapes, "a plan");
    if (status == TC_OK && entry->n_feeds > 0)
        memcpy(bound->shapes, shapes, (size_t)entry->n_feeds * sizeof *shapes);
    for (int32_t i = 0; i < entry->n_feeds && status == TC_OK; i++)
        status = tc_entry_check_shape(entry, i, &shapes[i]);
    if (status == TC_OK)
        status = tc_plan_create(entry->program, shapes, &session->view.target,
                                session->memory_budget, &bound->plan);
    if (status == TC_OK && !entry->kept && bound->plan->n_extents > 0)
        status = tc_fail(TC_INTERNAL, "a shape that depends on elements was not given a stage");
    if (status == TC_OK)
        status = bind_variables(session, entry, bound);
    if (status == TC_OK)
        status = bind_operands(bound);
    if (status == TC_OK)
        status = bind_uses(bound);
    if (status == TC_OK && bound->plan->mixed)
        status = tc_bind_segments(session, bound);
    if (status != TC_OK) {
        tc_bound_plan_free(session, bound);
        return status;
    }
    atomic_fetch_add_explicit(&session->counters.plans, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&session->counters.fallbacks,
                              tc_runtime_fallbacks(session->runtime, bound->plan),
                              memory_order_relaxed);
    *out = bound;
    return TC_OK;
}

/*
 * Giving memory of devices back
 */
static bool trim_entry(tc_session *session, tc_entry *entry)
{
    bool freed = false;
    pthread_mutex_lock(&entry->lock);
    for (tc_bound_plan *bound = entry->plans; bound; bound = bound->next)
        while (bound->plan->mixed && bound->frames) {
            tc_frame *frame = bound->frames;
            bound->frames = frame->next;
            free_frame(session, bound, frame);
            freed = true;
        }
    pthread_mutex_unlock(&entry->lock);
    return freed;
}

/* The session is locked. */
static bool trim_session(tc_session *session)
{
    bool freed = false;
    for (tc_entry *entry = session->entries; entry; entry = entry->next) {
        freed |= trim_entry(session, entry);
        for (int32_t i = 0; entry->staged && i < entry->staged->stages.count; i++)
            freed |= trim_entry(session, entry->staged->entries[i]);
    }
    return freed;
}

bool tc_session_trim(tc_session *session)
{
    tc_runtime *runtime = session->runtime;
    pthread_mutex_lock(&session->lock);
    bool freed = trim_session(session);
    pthread_mutex_unlock(&session->lock);
    pthread_mutex_lock(&runtime->sessions_lock);
    for (tc_session *other = runtime->sessions; other; other = other->next) {
        /* One that compiles may go on for long, and its user's dump do anything. */
        if (other == session || pthread_mutex_trylock(&other->lock) != 0)
            continue;
        freed |= trim_session(other);
        pthread_mutex_unlock(&other->lock);
    }
    pthread_mutex_unlock(&runtime->sessions_lock);
    return freed;
}

/*
 * The cache of an entry
 */
static bool same_sizes(const tc_shape *a, const tc_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->dims[i].size != b->dims[i].size)
            return false;
    return true;
}

/* Shapes of the feeds, from an array or from tensors. */
typedef struct feed_shapes {
    const tc_shape *shapes;
    const tc_inputs *inputs;
} feed_shapes;

static const tc_shape *feed_shape(const feed_shapes *feeds, int32_t i)
{
    return feeds->shapes ? &feeds->shapes[i] : tc_tensor_shape(tc_input_tensor(feeds->inputs, i));
}

/* The plan for `feeds`, moved to the front; the entry's lock is held. */
static tc_bound_plan *find_plan(tc_entry *entry, const feed_shapes *feeds)
{
    for (tc_bound_plan **link = &entry->plans; *link; link = &(*link)->next) {
        tc_bound_plan *bound = *link;
        int32_t i = 0;
        while (i < entry->n_feeds && same_sizes(&bound->shapes[i], feed_shape(feeds, i)))
            i++;
        if (i < entry->n_feeds)
            continue;
        *link = bound->next;
        bound->next = entry->plans;
        entry->plans = bound;
        return bound;
    }
    return NULL;
}

/* Puts a new plan in front and unlinks the least recently used one beyond the limit, to be freed
 * when unused. */
static tc_bound_plan *insert_plan(tc_session *session, tc_entry *entry, tc_bound_plan *bound)
{
    bound->next = entry->plans;
    entry->plans = bound;
    if (++entry->n_plans <= session->plan_cache)
        return NULL;
    tc_bound_plan **link = &entry->plans;
    while ((*link)->next)
        link = &(*link)->next;
    tc_bound_plan *last = *link;
    *link = NULL;
    entry->n_plans--;
    last->evicted = true;
    atomic_fetch_add_explicit(&session->counters.evictions, 1, memory_order_relaxed);
    return last->users == 0 ? last : NULL;
}

static tc_status add_plan(tc_session *session, tc_entry *entry, const feed_shapes *feeds,
                          tc_bound_plan **out)
{
    tc_arena scratch = {0};
    tc_shape *shapes = tc_arena_array(&scratch, (size_t)entry->n_feeds, sizeof *shapes);
    if (!shapes)
        return tc_fail_memory((size_t)entry->n_feeds * sizeof *shapes, "feed shapes");
    for (int32_t i = 0; i < entry->n_feeds; i++)
        shapes[i] = *feed_shape(feeds, i);
    tc_bound_plan *bound = NULL;
    /* Without the entry's lock: initial values of variables run entries of their own. */
    tc_status status = bind_plan(session, entry, shapes, &bound);
    tc_arena_free(&scratch);
    TC_TRY(status);
    pthread_mutex_lock(&entry->lock);
    tc_bound_plan *unused = NULL;
    tc_bound_plan *other = find_plan(entry, feeds);
    if (other) {
        unused = bound;
        bound = other;
    } else {
        unused = insert_plan(session, entry, bound);
    }
    bound->users++;
    pthread_mutex_unlock(&entry->lock);
    if (unused)
        tc_bound_plan_free(session, unused);
    *out = bound;
    return TC_OK;
}

static tc_status enter(tc_session *session, tc_entry *entry, const feed_shapes *feeds,
                       tc_bound_plan **out, tc_frame **out_frame)
{
    pthread_mutex_lock(&entry->lock);
    tc_bound_plan *bound = find_plan(entry, feeds);
    tc_frame *frame = NULL;
    if (bound) {
        bound->users++;
        if (out_frame && (frame = bound->frames))
            bound->frames = frame->next;
    }
    pthread_mutex_unlock(&entry->lock);
    /* What other plans have kept for their next runs may be needed more now. */
    tc_status status = bound ? TC_OK : add_plan(session, entry, feeds, &bound);
    if (status == TC_RESOURCE_EXHAUSTED && tc_session_trim(session))
        status = add_plan(session, entry, feeds, &bound);
    TC_TRY(status);
    if (out_frame && !frame) {
        status = create_frame(session, entry, bound, &frame);
        if (status == TC_RESOURCE_EXHAUSTED && tc_session_trim(session))
            status = create_frame(session, entry, bound, &frame);
        if (status != TC_OK) {
            tc_plan_leave(session, entry, bound, NULL);
            return status;
        }
    }
    *out = bound;
    if (out_frame)
        *out_frame = frame;
    return TC_OK;
}

tc_status tc_plan_enter(tc_session *session, tc_entry *entry, const tc_shape *shapes,
                        tc_bound_plan **bound, tc_frame **frame)
{
    feed_shapes feeds = {.shapes = shapes};
    return enter(session, entry, &feeds, bound, frame);
}

tc_status tc_plan_enter_tensors(tc_session *session, tc_entry *entry, const tc_inputs *inputs,
                                tc_bound_plan **bound, tc_frame **frame)
{
    feed_shapes feeds = {.inputs = inputs};
    return enter(session, entry, &feeds, bound, frame);
}

void tc_plan_leave(tc_session *session, tc_entry *entry, tc_bound_plan *bound, tc_frame *frame)
{
    pthread_mutex_lock(&entry->lock);
    if (frame) {
        frame->next = bound->frames;
        bound->frames = frame;
    }
    bool last = --bound->users == 0 && bound->evicted;
    pthread_mutex_unlock(&entry->lock);
    if (last)
        tc_bound_plan_free(session, bound);
}
