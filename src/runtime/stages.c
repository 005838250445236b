#include "runtime/stages.h"

#include <string.h>

#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "runtime/profile.h"

/* Two dimensions of feeds with one name, which must be of one size. */
typedef struct tc_shared_dim {
    int32_t feed, dim;
    int32_t other, other_dim;
} tc_shared_dim;

/* One stage of a run. */
typedef struct stage_run {
    tc_bound_plan *bound; /* NULL: not entered */
    tc_frame *frame;
    tc_shape *feeds;   /* shapes */
    tc_shape *fetches; /* actual shapes, once it has run */
} stage_run;

/* What a run has beside the frames of its stages; kept for the next one. */
struct tc_staged_run {
    tc_staged_run *next;
    stage_run *stages;
    tc_tensor **pinned;  /* per feed of the whole request */
    tc_tensor **created; /* per fetch: tensors that the caller did not give */
    tc_tensor **outputs; /* per fetch: those it gave; of the run under way */
    tc_arena arena;
};

/*
 * Making stages
 */
static tc_status find_shared_dims(const tc_entry *entry, tc_staged *staged, tc_arena *arena)
{
    size_t room = (size_t)entry->n_feeds * TC_MAX_RANK, n_names = 0;
    tc_shared_dim *named = tc_arena_array(arena, room, sizeof *named); /* the first of each name */
    staged->dims = tc_arena_array(arena, room, sizeof *staged->dims);
    if (!named || !staged->dims)
        return tc_fail_memory(room * sizeof *named, "a program");
    for (int32_t i = 0; i < entry->n_feeds; i++) {
        const tc_shape *shape = &entry->feed_infos[i].shape;
        for (int32_t d = 0; d < shape->rank; d++) {
            const char *name = shape->dims[d].name; /* equal names are equal pointers */
            size_t k = 0;
            while (name && k < n_names &&
                   entry->feed_infos[named[k].feed].shape.dims[named[k].dim].name != name)
                k++;
            if (name && k < n_names)
                staged->dims[staged->n_dims++] = (tc_shared_dim){named[k].feed, named[k].dim, i, d};
            else if (name)
                named[n_names++] = (tc_shared_dim){.feed = i, .dim = d};
        }
    }
    return TC_OK;
}

static tc_status fill_stage(tc_session *session, const tc_program_request *request,
                            const tc_staged *staged, const tc_stage *stage, tc_entry *entry)
{
    const tc_graph *graph = staged->stages.whole->graph;
    entry->graph = graph;
    entry->feeds = stage->feeds;
    entry->fetches = stage->fetches;
    entry->targets = stage->targets;
    entry->n_feeds = stage->n_feeds;
    entry->n_fetches = stage->n_fetches;
    entry->n_targets = stage->n_targets;
    entry->mode = staged->stages.mode;
    entry->kept = tc_arena_array(&entry->arena, (size_t)stage->n_fetches + 1, sizeof *entry->kept);
    entry->feed_infos =
        tc_arena_array(&entry->arena, (size_t)stage->n_feeds, sizeof *entry->feed_infos);
    if (!entry->kept || !entry->feed_infos)
        return tc_fail_memory(entry->arena.bytes, "a program");
    for (int32_t i = 0; i < stage->n_feeds; i++)
        entry->feed_infos[i] = *tc_edge_info(graph, stage->feeds[i]);
    for (int32_t i = 0; i < stage->n_fetches; i++) {
        const tc_node *node = tc_graph_node_at(graph, stage->fetches[i].node);
        entry->kept[i] = stage->to[i].user < 0 || node->attrs.op->bound != NULL;
    }
    tc_program_request wanted = *request;
    wanted.feeds = entry->feeds;
    wanted.fetches = entry->fetches;
    wanted.targets = entry->targets;
    wanted.n_feeds = entry->n_feeds;
    wanted.n_fetches = entry->n_fetches;
    wanted.n_targets = entry->n_targets;
    wanted.mode = entry->mode;
    return tc_program_create(graph, &wanted, &session->view.target, &entry->program);
}

static tc_status create_stages(tc_session *session, tc_entry *entry,
                               const tc_program_request *request, tc_staged *staged)
{
    int32_t count = staged->stages.count;
    staged->entries = tc_arena_array(&entry->arena, (size_t)count, sizeof *staged->entries);
    if (!staged->entries)
        return tc_fail_memory(entry->arena.bytes, "a program");
    TC_TRY(find_shared_dims(entry, staged, &entry->arena));
    for (int32_t i = 0; i < count; i++) {
        tc_entry *stage = tc_alloc_zero(1, sizeof *stage);
        if (!stage)
            return tc_fail_memory(sizeof *stage, "a program");
        pthread_mutex_init(&stage->lock, NULL);
        staged->entries[i] = stage;
        TC_TRY(fill_stage(session, request, staged, &staged->stages.list[i], stage));
    }
    return TC_OK;
}

tc_status tc_staged_create(tc_session *session, tc_entry *entry, const tc_program_request *request)
{
    tc_stages stages;
    TC_TRY(
        tc_stages_create(session->graph, request, &session->view.target, &entry->arena, &stages));
    if (stages.count == 0)
        return TC_OK;
    /* Freed with the entry, also when this fails; so is the program. */
    entry->program = stages.whole;
    tc_staged *staged = tc_arena_array(&entry->arena, 1, sizeof *staged);
    if (!staged)
        return tc_fail_memory(sizeof *staged, "a program");
    staged->stages = stages;
    entry->staged = staged;
    return create_stages(session, entry, request, staged);
}

static void free_run(tc_staged_run *s)
{
    tc_arena arena = s->arena;
    tc_arena_free(&arena);
}

void tc_staged_free(tc_session *session, tc_staged *staged)
{
    if (!staged)
        return;
    while (staged->free) {
        tc_staged_run *s = staged->free;
        staged->free = s->next;
        free_run(s);
    }
    for (int32_t i = 0; staged->entries && i < staged->stages.count; i++)
        if (staged->entries[i])
            tc_entry_free(session, staged->entries[i]);
}

/*
 * Looking at plans
 */
tc_status tc_staged_enter_first(tc_session *session, tc_entry **entry, const tc_shape *shapes,
                                tc_bound_plan **bound)
{
    tc_entry *whole = *entry;
    if (!whole->staged)
        return tc_plan_enter(session, whole, shapes, bound, NULL);
    for (int32_t i = 0; i < whole->n_feeds; i++)
        TC_TRY(tc_entry_check_shape(whole, i, &shapes[i]));
    const tc_stage *stage = &whole->staged->stages.list[0];
    tc_arena arena = {0};
    tc_shape *first = tc_arena_array(&arena, (size_t)stage->n_feeds, sizeof *first);
    for (int32_t i = 0; first && i < stage->n_feeds; i++)
        first[i] = shapes[stage->from[i].user];
    *entry = whole->staged->entries[0];
    tc_status status = first ? tc_plan_enter(session, *entry, first, bound, NULL)
                             : tc_fail_memory(arena.bytes, "feed shapes");
    tc_arena_free(&arena);
    return status;
}

/* The plan that was used last, NULL when there is none. */
static tc_bound_plan *enter_latest(tc_entry *entry)
{
    pthread_mutex_lock(&entry->lock);
    tc_bound_plan *bound = entry->plans;
    if (bound)
        bound->users++;
    pthread_mutex_unlock(&entry->lock);
    return bound;
}

tc_status tc_staged_print_rest(tc_session *session, const tc_entry *entry, FILE *file)
{
    tc_status status = TC_OK;
    for (int32_t i = 1; entry->staged && i < entry->staged->stages.count && status == TC_OK; i++) {
        tc_entry *stage = entry->staged->entries[i];
        tc_bound_plan *bound = enter_latest(stage);
        int printed = fprintf(file, "stage %d%s\n", (int)i + 1,
                              bound ? ", for the sizes of its last run"
                                    : ": planned when a run knows its sizes");
        if (printed < 0)
            status = tc_fail(TC_UNAVAILABLE, "the plan could not be written to the file");
        else if (bound)
            status = tc_plan_print(bound->plan, TC_DUMP_TEXT, file);
        if (bound)
            tc_plan_leave(session, stage, bound, NULL);
    }
    return status;
}

/*
 * Before a run
 */

/* Gives content to the variables of all stages, which a run could not do with the store locked. */
static tc_status fill_variables(tc_session *session, tc_staged *staged)
{
    if (atomic_load_explicit(&staged->filled, memory_order_acquire))
        return TC_OK;
    const tc_graph *graph = staged->stages.whole->graph;
    tc_arena arena = {0};
    tc_variable **variables = tc_arena_array(&arena, graph->nodes.count, sizeof *variables);
    tc_status status = variables ? TC_OK : tc_fail_memory(arena.bytes, "variables");
    int32_t count = 0;
    for (size_t i = 0; i < graph->nodes.count && status == TC_OK; i++) {
        const tc_node *node = graph->nodes.data[i];
        if (tc_node_is(node, "variable"))
            status = tc_store_declare(session->store, node->name, node->outputs[0].dtype,
                                      &node->outputs[0].shape, &variables[count++]);
    }
    if (status == TC_OK)
        status = tc_session_fill_variables(session, variables, count);
    tc_arena_free(&arena);
    atomic_store_explicit(&staged->filled, status == TC_OK, memory_order_release);
    return status;
}

static tc_status create_run(const tc_entry *entry, tc_staged_run **out)
{
    const tc_stages *stages = &entry->staged->stages;
    tc_arena arena = {0};
    tc_staged_run *s = tc_arena_array(&arena, 1, sizeof *s);
    if (s) {
        s->stages = tc_arena_array(&arena, (size_t)stages->count, sizeof *s->stages);
        s->pinned = tc_arena_array(&arena, (size_t)entry->n_feeds, sizeof *s->pinned);
        s->created = tc_arena_array(&arena, (size_t)entry->n_fetches, sizeof *s->created);
        s->outputs = tc_arena_array(&arena, (size_t)entry->n_fetches, sizeof *s->outputs);
    }
    bool made = s && s->stages && s->pinned && s->created && s->outputs;
    for (int32_t i = 0; i < stages->count && made; i++) {
        const tc_stage *stage = &stages->list[i];
        s->stages[i].feeds = tc_arena_array(&arena, (size_t)stage->n_feeds, sizeof(tc_shape));
        s->stages[i].fetches = tc_arena_array(&arena, (size_t)stage->n_fetches, sizeof(tc_shape));
        made = s->stages[i].feeds && s->stages[i].fetches;
    }
    if (!made) {
        tc_status status = tc_fail_memory(arena.bytes, "a run");
        tc_arena_free(&arena);
        return status;
    }
    s->arena = arena;
    *out = s;
    return TC_OK;
}

static tc_status take_run(tc_entry *entry, tc_staged_run **out)
{
    pthread_mutex_lock(&entry->lock);
    tc_staged_run *s = *out = entry->staged->free;
    if (s)
        entry->staged->free = s->next;
    pthread_mutex_unlock(&entry->lock);
    return s ? TC_OK : create_run(entry, out);
}

static void give_back(tc_session *session, tc_entry *entry, tc_staged_run *s)
{
    for (int32_t i = 0; i < entry->staged->stages.count; i++) {
        if (s->stages[i].bound)
            tc_plan_leave(session, entry->staged->entries[i], s->stages[i].bound,
                          s->stages[i].frame);
        s->stages[i].bound = NULL;
        s->stages[i].frame = NULL;
    }
    for (int32_t i = 0; i < entry->n_feeds; i++) {
        tc_tensor_release(s->pinned[i]);
        s->pinned[i] = NULL;
    }
    for (int32_t i = 0; i < entry->n_fetches; i++)
        s->created[i] = s->outputs[i] = NULL;
    pthread_mutex_lock(&entry->lock);
    s->next = entry->staged->free;
    entry->staged->free = s;
    pthread_mutex_unlock(&entry->lock);
}

static const char *fetch_name(const tc_entry *entry, int32_t i)
{
    return tc_graph_node_at(entry->graph, entry->fetches[i].node)->name;
}

/* What is wrong with feeds and given outputs, as far as it is known before anything runs. */
static tc_status check_tensors(const tc_entry *entry, const tc_staged_run *s)
{
    const tc_staged *staged = entry->staged;
    for (int32_t i = 0; i < entry->n_feeds; i++)
        TC_TRY(tc_entry_check_shape(entry, i, tc_tensor_shape(s->pinned[i])));
    for (int32_t i = 0; i < staged->n_dims; i++) {
        const tc_shared_dim *d = &staged->dims[i];
        int64_t size = tc_tensor_shape(s->pinned[d->feed])->dims[d->dim].size;
        int64_t other = tc_tensor_shape(s->pinned[d->other])->dims[d->other_dim].size;
        if (size != other)
            return tc_fail(
                TC_INVALID_ARGUMENT,
                "feeds '%s' and '%s' disagree on dimension '%s': it is %lld in the first "
                "and %lld in the second",
                tc_graph_node_at(entry->graph, entry->feeds[d->feed].node)->name,
                tc_graph_node_at(entry->graph, entry->feeds[d->other].node)->name,
                entry->feed_infos[d->feed].shape.dims[d->dim].name, (long long)size,
                (long long)other);
    }
    for (int32_t i = 0; i < entry->n_fetches; i++)
        if (s->outputs[i])
            TC_TRY(tc_run_check_output(fetch_name(entry, i),
                                       tc_edge_info(entry->graph, entry->fetches[i]), s->outputs, i,
                                       s->pinned, entry->n_feeds));
    return TC_OK;
}

/*
 * One stage
 */
static tc_status enter_stage(tc_run *r, const tc_entry *entry, int32_t index)
{
    tc_staged_run *s = r->staged;
    const tc_stage *stage = &entry->staged->stages.list[index];
    stage_run *own = &s->stages[index];
    for (int32_t i = 0; i < stage->n_feeds; i++) {
        const tc_stage_feed *from = &stage->from[i];
        own->feeds[i] = from->user >= 0 ? *tc_tensor_shape(s->pinned[from->user])
                                        : s->stages[from->stage].fetches[from->fetch];
    }
    TC_TRY(tc_plan_enter(r->session, entry->staged->entries[index], own->feeds, &own->bound,
                         &own->frame));
    for (int32_t i = 0; i < stage->n_feeds; i++) {
        const tc_stage_feed *from = &stage->from[i];
        own->frame->feeds[i] = from->user >= 0 ? tc_tensor_data(s->pinned[from->user])
                                               : s->stages[from->stage].frame->outputs[from->fetch];
    }
    r->entry = entry->staged->entries[index];
    r->bound = own->bound;
    r->plan = own->bound->plan;
    r->frame = own->frame;
    return r->profile ? tc_profile_begin(r->profile, own->bound->plan, index) : TC_OK;
}

/* The tensor for fetch `user` of the whole request: the given one, or a new one. */
static tc_status output_tensor(const tc_entry *entry, tc_staged_run *s, int32_t user,
                               const tc_value_info *info, tc_tensor **out)
{
    *out = s->outputs[user];
    if (*out)
        return tc_run_check_output(fetch_name(entry, user), info, s->outputs, user, s->pinned,
                                   entry->n_feeds);
    TC_TRY(tc_tensor_create(info->dtype, info->shape, &s->created[user]));
    *out = s->created[user];
    return TC_OK;
}

/* Fetches whose shape is known are computed into their tensors. */
static tc_status bind_outputs(const tc_run *r, const tc_entry *entry, int32_t index)
{
    const tc_stage *stage = &entry->staged->stages.list[index];
    for (int32_t i = 0; i < stage->n_fetches; i++) {
        tc_tensor *output;
        if (r->entry->kept[i])
            continue;
        TC_TRY(output_tensor(entry, r->staged, stage->to[i].user, &r->plan->outputs[i], &output));
        r->frame->outputs[i] = tc_tensor_data(output);
    }
    return TC_OK;
}

/* The shape that a fetch has turned out to have. */
static tc_status read_extents(const tc_run *r, int32_t i, tc_shape *shape)
{
    const tc_value_info *bound = &r->plan->outputs[i];
    int32_t extents = r->plan->output_extents[i];
    *shape = bound->shape;
    if (!extents)
        return TC_OK;
    for (int32_t d = 0; d < shape->rank; d++)
        shape->dims[d] = (tc_dim){r->frame->extents[extents - 1 + d], NULL};
    if (tc_shape_is_known(shape) && tc_shape_size(shape) <= tc_shape_size(&bound->shape))
        return TC_OK;
    char is[TC_SHAPE_TEXT_SIZE], most[TC_SHAPE_TEXT_SIZE], where[512];
    return tc_fail(TC_INTERNAL, "%s: the kernel tells the shape %s, beyond the bound %s",
                   tc_node_describe(tc_graph_node_at(r->entry->graph, r->entry->fetches[i].node),
                                    where, sizeof where),
                   tc_shape_text(shape, is), tc_shape_text(&bound->shape, most));
}

static tc_status deliver_outputs(const tc_run *r, const tc_entry *entry, int32_t index)
{
    const tc_stage *stage = &entry->staged->stages.list[index];
    for (int32_t i = 0; i < stage->n_fetches; i++) {
        tc_value_info info = r->plan->outputs[i];
        tc_tensor *output;
        TC_TRY(read_extents(r, i, &info.shape));
        r->staged->stages[index].fetches[i] = info.shape;
        if (!r->entry->kept[i] || stage->to[i].user < 0)
            continue;
        TC_TRY(output_tensor(entry, r->staged, stage->to[i].user, &info, &output));
        if (tc_tensor_bytes(output) > 0)
            memcpy(tc_tensor_data(output), r->frame->outputs[i], tc_tensor_bytes(output));
    }
    return TC_OK;
}

tc_status tc_staged_compute(tc_run *r)
{
    const tc_entry *entry = r->entry;
    tc_status status = TC_OK;
    for (int32_t i = 0; i < entry->staged->stages.count && status == TC_OK; i++) {
        status = enter_stage(r, entry, i);
        if (status == TC_OK)
            status = bind_outputs(r, entry, i);
        if (status == TC_OK)
            status = tc_run_compute(r);
        if (status == TC_OK)
            status = deliver_outputs(r, entry, i);
    }
    return status == TC_OK ? tc_run_finish(r) : status;
}

/*
 * Whole runs
 */
static void hand_over(const tc_entry *entry, tc_staged_run *s, tc_status status,
                      tc_tensor **outputs)
{
    for (int32_t i = 0; i < entry->n_fetches; i++) {
        if (status != TC_OK)
            tc_tensor_release(s->created[i]);
        else if (s->created[i])
            outputs[i] = s->created[i];
    }
}

tc_status tc_staged_run_all(tc_run *r, const tc_inputs *inputs, tc_tensor **outputs)
{
    tc_entry *entry = r->entry;
    tc_staged_run *s;
    TC_TRY(fill_variables(r->session, entry->staged));
    TC_TRY(take_run(entry, &s));
    for (int32_t i = 0; i < entry->n_feeds; i++)
        s->pinned[i] = tc_tensor_retain(tc_input_tensor(inputs, i));
    for (int32_t i = 0; i < entry->n_fetches; i++)
        s->outputs[i] = outputs[i];
    tc_status status = check_tensors(entry, s);
    size_t copied_bytes = 0, transferred_bytes = 0;
    r->staged = s;
    if (status == TC_OK)
        status = tc_run_guarded(r, entry->program->writes);
    for (int32_t i = 0; i < entry->staged->stages.count && s->stages[i].bound; i++) {
        copied_bytes += s->stages[i].bound->plan->copied_bytes;
        transferred_bytes += s->stages[i].bound->plan->transferred_bytes;
    }
    hand_over(entry, s, status, outputs);
    give_back(r->session, entry, s);
    if (status == TC_OK)
        tc_run_count(r, copied_bytes, transferred_bytes);
    return status;
}

tc_status tc_staged_run_initial(tc_run *r, tc_tensor **outputs)
{
    tc_entry *entry = r->entry;
    tc_staged_run *s;
    TC_TRY(fill_variables(r->session, entry->staged));
    TC_TRY(take_run(entry, &s));
    r->staged = s;
    for (int32_t i = 0; i < entry->n_fetches; i++)
        outputs[i] = NULL;
    pthread_rwlock_rdlock(&r->session->store->lock);
    tc_status status = tc_staged_compute(r);
    pthread_rwlock_unlock(&r->session->store->lock);
    hand_over(entry, s, status, outputs);
    give_back(r->session, entry, s);
    return status;
}
