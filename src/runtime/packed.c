/* Packed weights and invariants: made once per store, shared by content. */
#include <string.h>

#include "base/status.h"
#include "core/tensor.h"
#include "runtime/segments.h"

bool tc_packed_is_of(const tc_packed *packed, const tc_pack_source *sources, int32_t n_sources)
{
    if (packed->n_sources != n_sources)
        return false;
    for (int32_t i = 0; i < n_sources; i++)
        if (packed->sources[i].owner != sources[i].owner ||
            packed->sources[i].data != sources[i].data ||
            packed->sources[i].version != sources[i].version)
            return false;
    return true;
}

static bool same_pack(const tc_pack *a, const tc_pack *b)
{
    return a->kernel == b->kernel && a->device == b->device && (a->buffer < 0) == (b->buffer < 0) &&
           a->bytes == b->bytes && a->params_bytes == b->params_bytes &&
           (a->params_bytes == 0 || memcmp(a->params, b->params, a->params_bytes) == 0);
}

static const tc_device *device_of(const tc_store *store, const tc_pack *pack)
{
    return &store->runtime->devices->list[pack->device];
}

static tc_status allocate_blob(const tc_store *store, tc_packed *packed)
{
    const tc_pack *pack = packed->pack;
    size_t bytes = pack->bytes ? pack->bytes : 1;
    if (pack->device)
        return tc_device_allocate(device_of(store, pack), bytes, "what weights alone give",
                                  &packed->blob);
    packed->blob = tc_alloc_aligned(bytes, TC_ALIGNMENT);
    return packed->blob ? TC_OK : tc_fail_memory(bytes, "packed weights");
}

static void free_packed(const tc_store *store, tc_packed *packed)
{
    if (packed->blob && packed->pack->device) {
        const tc_device *device = device_of(store, packed->pack);
        device->backend->release(device->backend, device->index, packed->blob);
    } else {
        tc_free(packed->blob);
    }
    tc_arena_free(&packed->arena);
    tc_free(packed);
}

static tc_status run_here(const tc_pack *pack, const void *const *inputs, tc_pool *pool, void *blob)
{
    void *workspace =
        tc_alloc_aligned(pack->workspace_bytes ? pack->workspace_bytes : 1, TC_ALIGNMENT);
    if (!workspace)
        return tc_fail_memory(pack->workspace_bytes, "what is computed from weights alone");
    const tc_kernel_context context = {.workspace = workspace, .pool = pool};
    tc_status status = pack->kernel->run(pack->params, inputs, &blob, &context);
    tc_free(workspace);
    return status;
}

/* Absent inputs of an invariant have no data. */
static tc_status run_invariant(tc_store *store, tc_packed *packed, tc_pool *pool)
{
    const tc_pack *pack = packed->pack;
    const void **inputs = tc_arena_array(&packed->arena, (size_t)packed->n_sources, sizeof *inputs);
    if (!inputs)
        return tc_fail_memory((size_t)packed->n_sources * sizeof *inputs, "packed weights");
    for (int32_t i = 0; i < packed->n_sources; i++)
        inputs[i] = packed->sources[i].data;
    if (pack->kernel && pack->device == 0)
        return run_here(pack, inputs, pool, packed->blob);
    return tc_store_compute(store, pack, packed->sources[0].device, inputs, packed->blob);
}

static tc_status fill(tc_store *store, tc_packed *packed, const tc_pack *pack,
                      const tc_pack_source *sources, int32_t n_sources, tc_pool *pool)
{
    tc_arena *arena = &packed->arena;
    tc_pack *copy = tc_arena_memdup(arena, pack, sizeof *pack);
    void *params = tc_arena_memdup(arena, pack->params, pack->params_bytes);
    packed->sources = tc_arena_memdup(arena, sources, (size_t)n_sources * sizeof *sources);
    if (!copy || !params || !packed->sources)
        return tc_fail_memory(pack->bytes, "packed weights");
    copy->params = params;
    packed->pack = copy;
    packed->n_sources = n_sources;
    TC_TRY(allocate_blob(store, packed));
    if (pack->buffer < 0)
        return run_invariant(store, packed, pool);
    pack->kernel->pack(params, sources[0].data, packed->blob);
    return TC_OK;
}

static tc_status make(tc_store *store, const tc_pack *pack, const tc_pack_source *sources,
                      int32_t n_sources, tc_pool *pool, tc_packed **out)
{
    tc_packed *packed = tc_alloc_zero(1, sizeof *packed);
    if (!packed)
        return tc_fail_memory(sizeof *packed, "packed weights");
    tc_status status = fill(store, packed, pack, sources, n_sources, pool);
    if (status != TC_OK) {
        free_packed(store, packed);
        return status;
    }
    atomic_init(&packed->references, 1);
    for (int32_t i = 0; i < n_sources; i++)
        if (sources[i].base)
            atomic_fetch_add(&sources[i].base->references, 1);
    packed->next = store->packed;
    store->packed = packed;
    *out = packed;
    return TC_OK;
}

tc_status tc_store_pack(tc_store *store, const tc_pack *pack, const tc_pack_source *sources,
                        int32_t n_sources, tc_pool *pool, tc_packed **out, bool *made)
{
    tc_status status = TC_OK;
    pthread_mutex_lock(&store->table);
    tc_packed *packed = store->packed;
    while (packed &&
           !(same_pack(packed->pack, pack) && tc_packed_is_of(packed, sources, n_sources)))
        packed = packed->next;
    *made = !packed;
    if (packed)
        atomic_fetch_add(&packed->references, 1);
    else
        status = make(store, pack, sources, n_sources, pool, &packed);
    pthread_mutex_unlock(&store->table);
    *out = status == TC_OK ? packed : NULL;
    return status;
}

/* The table lock is held. */
static void release(tc_store *store, tc_packed *packed)
{
    if (atomic_fetch_sub(&packed->references, 1) != 1)
        return;
    tc_packed **link = &store->packed;
    while (*link != packed)
        link = &(*link)->next;
    *link = packed->next;
    for (int32_t i = 0; i < packed->n_sources; i++)
        if (packed->sources[i].base)
            release(store, packed->sources[i].base);
    free_packed(store, packed);
}

void tc_packed_release(tc_store *store, tc_packed *packed)
{
    if (!packed)
        return;
    pthread_mutex_lock(&store->table);
    release(store, packed);
    pthread_mutex_unlock(&store->table);
}

/*
 * Of a frame
 */
static tc_pack_source source_of(const tc_bound_plan *bound, const tc_frame *frame, int32_t index,
                                const tc_tensor **tensor)
{
    *tensor = NULL;
    if (index < 0)
        return (tc_pack_source){0};
    const tc_buffer *buffer = &bound->plan->buffers[index];
    const tc_variable *variable = NULL;
    if (buffer->place == TC_PLACE_PACKED) {
        tc_packed *base = frame->packed[buffer->index];
        return (tc_pack_source){.data = (const char *)base->blob + buffer->offset,
                                .owner = base,
                                .base = base,
                                .device = buffer->device};
    }
    const void *memory;
    if (buffer->place == TC_PLACE_VARIABLE) {
        variable = bound->variables[buffer->index];
        *tensor = variable->tensor;
        memory = tc_variable_memory(variable, buffer->device);
    } else {
        *tensor = bound->plan->constants[buffer->index];
        memory = buffer->device ? bound->placed[index]->memory : tc_tensor_data(*tensor);
    }
    const char *data = (const char *)memory + buffer->offset;
    return (tc_pack_source){.data = data,
                            .owner = variable ? (const void *)variable : data,
                            .version = variable ? variable->version : 0,
                            .device = buffer->device};
}

static tc_status refresh(tc_session *session, const tc_bound_plan *bound, tc_frame *frame,
                         int32_t index, bool *changed)
{
    tc_pack_source *sources = frame->pack_sources;
    const tc_plan *plan = bound->plan;
    const tc_pack *pack = &plan->packs[index];
    int32_t count = pack->buffer < 0 ? pack->n_inputs : 1;
    const tc_tensor *tensor = NULL;
    for (int32_t i = 0; i < count; i++) {
        int32_t buffer = pack->buffer < 0 ? plan->operands[pack->first_input + i] : pack->buffer;
        sources[i] = source_of(bound, frame, buffer, &tensor);
    }
    tc_packed *old = frame->packed[index];
    if (old && tc_packed_is_of(old, sources, count))
        return TC_OK;
    bool made;
    tc_status status = tc_store_pack(session->store, pack, sources, count, session->pool,
                                     &frame->packed[index], &made);
    /* After a failure there is none, so that the next run, which makes it, sets all operands. */
    tc_packed_release(session->store, old);
    if (status != TC_OK)
        return pack->buffer < 0 ? tc_run_fail_at(plan, pack->node, pack->kernel, status) : status;
    *changed = true;
    if (!made)
        return TC_OK;
    if (pack->buffer >= 0 && tensor)
        tc_tensor_forget(tensor); /* the packed form is what runs read from now on */
    atomic_fetch_add_explicit(&session->counters.packed_bytes, pack->bytes, memory_order_relaxed);
    return TC_OK;
}

tc_status tc_frame_pack(tc_session *session, const tc_bound_plan *bound, tc_frame *frame)
{
    const tc_plan *plan = bound->plan;
    const tc_store *store = session->store;
    /* Variables may get first contents now, but not those of this plan, which had one before. */
    uint64_t fills = atomic_load_explicit(&store->fills, memory_order_relaxed);
    if (frame->packed_step == store->step && frame->packed_fills == fills)
        return TC_OK;
    bool changed = false;
    for (int32_t i = 0; i < plan->n_packs; i++)
        TC_TRY(refresh(session, bound, frame, i, &changed));
    for (int32_t i = 0; changed && i < bound->n_packed_patches; i++) {
        const tc_patch *patch = &bound->packed_patches[i];
        frame->operands[patch->operand] = (char *)frame->packed[patch->index]->blob + patch->offset;
    }
    /* Even where an address is the same the memory may be another. */
    if (changed && plan->mixed)
        tc_segments_forget_recordings(bound, frame);
    frame->packed_step = store->step;
    frame->packed_fills = fills;
    return TC_OK;
}
