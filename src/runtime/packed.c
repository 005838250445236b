/* Packed weights and invariants: made once per store, shared by content. */
#include <string.h>

#include "base/status.h"
#include "core/tensor.h"
#include "runtime/run.h"

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
    return a->kernel == b->kernel && (a->buffer < 0) == (b->buffer < 0) && a->bytes == b->bytes &&
           a->params_bytes == b->params_bytes &&
           (a->params_bytes == 0 || memcmp(a->params, b->params, a->params_bytes) == 0);
}

static void free_packed(tc_packed *packed)
{
    tc_free(packed->blob);
    tc_arena_free(&packed->arena);
    tc_free(packed);
}

/* Absent inputs of an invariant have no data. */
static tc_status run_invariant(const tc_pack *pack, const tc_pack_source *sources,
                               int32_t n_sources, tc_pool *pool, tc_arena *arena, void *blob)
{
    const void **inputs = tc_arena_array(arena, (size_t)n_sources, sizeof *inputs);
    void *workspace =
        tc_alloc_aligned(pack->workspace_bytes ? pack->workspace_bytes : 1, TC_ALIGNMENT);
    tc_status status = TC_OK;
    if (inputs && workspace) {
        for (int32_t i = 0; i < n_sources; i++)
            inputs[i] = sources[i].data;
        const tc_kernel_context context = {.workspace = workspace, .pool = pool};
        status = pack->kernel->run(pack->params, inputs, &blob, &context);
    } else {
        status = tc_fail_memory(pack->workspace_bytes, "what is computed from weights alone");
    }
    tc_free(workspace);
    return status;
}

static tc_status fill(tc_packed *packed, const tc_pack *pack, const tc_pack_source *sources,
                      int32_t n_sources, tc_pool *pool)
{
    tc_arena *arena = &packed->arena;
    tc_pack *copy = tc_arena_memdup(arena, pack, sizeof *pack);
    void *params = tc_arena_memdup(arena, pack->params, pack->params_bytes);
    packed->sources = tc_arena_memdup(arena, sources, (size_t)n_sources * sizeof *sources);
    packed->blob = tc_alloc_aligned(pack->bytes ? pack->bytes : 1, TC_ALIGNMENT);
    if (!copy || !params || !packed->sources || !packed->blob)
        return tc_fail_memory(pack->bytes, "packed weights");
    copy->params = params;
    packed->pack = copy;
    packed->n_sources = n_sources;
    if (pack->buffer < 0)
        return run_invariant(pack, sources, n_sources, pool, arena, packed->blob);
    pack->kernel->pack(params, sources[0].data, packed->blob);
    return TC_OK;
}

static tc_status make(tc_store *store, const tc_pack *pack, const tc_pack_source *sources,
                      int32_t n_sources, tc_pool *pool, tc_packed **out)
{
    tc_packed *packed = tc_alloc_zero(1, sizeof *packed);
    if (!packed)
        return tc_fail_memory(sizeof *packed, "packed weights");
    tc_status status = fill(packed, pack, sources, n_sources, pool);
    if (status != TC_OK) {
        free_packed(packed);
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
    free_packed(packed);
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
        return (tc_pack_source){
            .data = (const char *)base->blob + buffer->offset, .owner = base, .base = base};
    }
    if (buffer->place == TC_PLACE_VARIABLE) {
        variable = bound->variables[buffer->index];
        *tensor = variable->tensor;
    } else {
        *tensor = bound->plan->constants[buffer->index];
    }
    const char *data = (const char *)tc_tensor_data(*tensor) + buffer->offset;
    return (tc_pack_source){.data = data,
                            .owner = variable ? (const void *)variable : data,
                            .version = variable ? variable->version : 0};
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
        const tc_buffer *buffer = &plan->buffers[plan->operands[patch->operand]];
        frame->operands[patch->operand] =
            (char *)frame->packed[patch->index]->blob + buffer->offset;
    }
    frame->packed_step = store->step;
    frame->packed_fills = fills;
    return TC_OK;
}
