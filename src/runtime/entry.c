/* Finding and compiling the program of a request. */
#include <string.h>

#include "base/status.h"
#include "runtime/stages.h"

/* A request as edges, without a copy: feeds come as pairs with tensors or as bare values. */
typedef struct request {
    const tc_feed *feeds;
    const tc_value *feed_values;
    const tc_value *fetches;
    const tc_value *targets;
    size_t n_feeds, n_fetches, n_targets;
    tc_mode mode;
} request;

static tc_value feed_value(const request *r, size_t i)
{
    return r->feeds ? r->feeds[i].value : r->feed_values[i];
}

static uint64_t hash_values(uint64_t hash, const tc_value value)
{
    return tc_hash_combine(hash, ((uint64_t)(uint32_t)value.node << 32) | (uint32_t)value.output);
}

static uint64_t hash_request(const request *r)
{
    uint64_t hash = tc_hash_combine((uint64_t)r->mode, r->n_feeds);
    for (size_t i = 0; i < r->n_feeds; i++)
        hash = hash_values(hash, feed_value(r, i));
    hash = tc_hash_combine(hash, r->n_fetches);
    for (size_t i = 0; i < r->n_fetches; i++)
        hash = hash_values(hash, r->fetches[i]);
    for (size_t i = 0; i < r->n_targets; i++)
        hash = hash_values(hash, r->targets[i]);
    return hash;
}

static bool same_edge(tc_edge edge, tc_value value)
{
    return edge.node == value.node && edge.output == value.output;
}

static bool same_request(const tc_entry *entry, const request *r, uint64_t hash)
{
    if (entry->hash != hash || entry->mode != r->mode || (size_t)entry->n_feeds != r->n_feeds ||
        (size_t)entry->n_fetches != r->n_fetches || (size_t)entry->n_targets != r->n_targets)
        return false;
    for (size_t i = 0; i < r->n_feeds; i++)
        if (!same_edge(entry->feeds[i], feed_value(r, i)))
            return false;
    for (size_t i = 0; i < r->n_fetches; i++)
        if (!same_edge(entry->fetches[i], r->fetches[i]))
            return false;
    for (size_t i = 0; i < r->n_targets; i++)
        if (entry->targets[i] != r->targets[i].node)
            return false;
    return true;
}

/* `what` is "feed", "fetch" or "target". Targets name nodes: those without outputs are fine. */
static tc_status check_value(const tc_session *session, tc_value value, const char *what, size_t i,
                             bool target)
{
    if (!value.graph)
        return tc_fail(TC_INVALID_ARGUMENT, "%s %zu is no value; it was perhaps not built", what,
                       i);
    if (value.graph != session->source)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "%s %zu ('%s') belongs to another graph than the session's", what, i,
                       tc_value_name(value));
    if (value.node < 0)
        return tc_fail(TC_INVALID_ARGUMENT, "%s %zu is an invalid value: %s", what, i,
                       tc_graph_error(value.graph));
    if ((size_t)value.node >= session->graph->nodes.count)
        return tc_fail(
            TC_INVALID_ARGUMENT,
            "%s %zu ('%s') was built after the session was created; create a new session", what, i,
            tc_value_name(value));
    const tc_node *node = tc_graph_node_at(session->graph, value.node);
    if (!target && (value.output < 0 || value.output >= node->n_outputs))
        return tc_fail(TC_INVALID_ARGUMENT, "%s %zu: node '%s' has %d outputs, not %d", what, i,
                       node->name, node->n_outputs, value.output + 1);
    return TC_OK;
}

static tc_status check_request(const tc_session *session, const request *r)
{
    for (size_t i = 0; i < r->n_feeds; i++) {
        tc_value value = feed_value(r, i);
        TC_TRY(check_value(session, value, "feed", i, false));
        const tc_node *node = tc_graph_node_at(session->graph, value.node);
        if (tc_node_is(node, "variable"))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "feed %zu: variable '%s' cannot be fed; assign to it or restore it", i,
                           node->name);
        for (size_t j = 0; j < i; j++) {
            tc_value other = feed_value(r, j);
            if (other.node == value.node && other.output == value.output)
                return tc_fail(TC_INVALID_ARGUMENT, "feeds %zu and %zu are both for '%s'", j, i,
                               node->name);
        }
    }
    for (size_t i = 0; i < r->n_fetches; i++)
        TC_TRY(check_value(session, r->fetches[i], "fetch", i, false));
    for (size_t i = 0; i < r->n_targets; i++)
        TC_TRY(check_value(session, r->targets[i], "target", i, true));
    return TC_OK;
}

static tc_status fill_entry(tc_session *session, tc_entry *entry, const request *r)
{
    tc_arena *arena = &entry->arena;
    entry->feeds = tc_arena_array(arena, r->n_feeds, sizeof *entry->feeds);
    entry->feed_infos = tc_arena_array(arena, r->n_feeds, sizeof *entry->feed_infos);
    entry->fetches = tc_arena_array(arena, r->n_fetches, sizeof *entry->fetches);
    entry->targets = tc_arena_array(arena, r->n_targets, sizeof *entry->targets);
    if (!entry->feeds || !entry->feed_infos || !entry->fetches || !entry->targets)
        return tc_fail_memory(arena->bytes, "a program's request");
    entry->n_feeds = (int32_t)r->n_feeds;
    entry->n_fetches = (int32_t)r->n_fetches;
    entry->n_targets = (int32_t)r->n_targets;
    entry->mode = r->mode;
    for (size_t i = 0; i < r->n_feeds; i++) {
        tc_value value = feed_value(r, i);
        entry->feeds[i] = (tc_edge){value.node, value.output};
        entry->feed_infos[i] = *tc_edge_info(session->graph, entry->feeds[i]);
    }
    for (size_t i = 0; i < r->n_fetches; i++)
        entry->fetches[i] = (tc_edge){r->fetches[i].node, r->fetches[i].output};
    for (size_t i = 0; i < r->n_targets; i++)
        entry->targets[i] = r->targets[i].node;
    entry->graph = session->graph;
    tc_program_request wanted = {
        .feeds = entry->feeds,
        .fetches = entry->fetches,
        .targets = entry->targets,
        .n_feeds = entry->n_feeds,
        .n_fetches = entry->n_fetches,
        .n_targets = entry->n_targets,
        .mode = entry->mode,
        .commit_copies = session->check_numerics,
        .optimization = session->optimization,
        .precision = session->precision,
        .loss_scale = session->loss_scale,
        .fold_budget = session->fold_budget,
        .disable_passes = session->disable_passes,
        .dump = session->dump,
        .dump_context = session->dump_context,
    };
    TC_TRY(tc_staged_create(session, entry, &wanted));
    if (entry->staged)
        return TC_OK;
    return tc_program_create(session->graph, &wanted, &session->view.target, &entry->program);
}

static tc_status create_entry(tc_session *session, const request *r, uint64_t hash, tc_entry **out)
{
    tc_entry *entry = tc_alloc_zero(1, sizeof *entry);
    if (!entry)
        return tc_fail_memory(sizeof *entry, "a program");
    pthread_mutex_init(&entry->lock, NULL);
    entry->hash = hash;
    tc_status status = fill_entry(session, entry, r);
    if (status != TC_OK) {
        tc_entry_free(session, entry);
        return status;
    }
    atomic_fetch_add_explicit(&session->counters.programs, 1, memory_order_relaxed);
    *out = entry;
    return TC_OK;
}

/* Unlinks of the entries that nobody uses all but the `limit` most recently used. */
static tc_entry *take_surplus(tc_session *session, int32_t limit)
{
    int32_t idle = 0;
    tc_entry *surplus = NULL;
    for (tc_entry **link = &session->entries; *link;) {
        tc_entry *entry = *link;
        if (atomic_load_explicit(&entry->users, memory_order_acquire) > 0 || ++idle <= limit) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        entry->next = surplus;
        surplus = entry;
    }
    return surplus;
}

/* The entry of a known request, moved to the front; the session's lock is held. */
static tc_entry *find_entry(tc_session *session, const request *r, uint64_t hash)
{
    for (tc_entry **link = &session->entries; *link; link = &(*link)->next) {
        tc_entry *entry = *link;
        if (!same_request(entry, r, hash))
            continue;
        *link = entry->next;
        entry->next = session->entries;
        session->entries = entry;
        return entry;
    }
    return NULL;
}

void tc_entry_leave(tc_entry *entry)
{
    atomic_fetch_sub_explicit(&entry->users, 1, memory_order_release);
}

tc_status tc_entry_find(tc_session *session, const tc_feed *feeds, const tc_value *feed_values,
                        size_t n_feeds, const tc_value *fetches, size_t n_fetches,
                        const tc_value *targets, size_t n_targets, tc_mode mode, bool held,
                        tc_entry **out)
{
    request r = {.feeds = feeds,
                 .feed_values = feed_values,
                 .fetches = fetches,
                 .targets = targets,
                 .n_feeds = n_feeds,
                 .n_fetches = n_fetches,
                 .n_targets = n_targets,
                 .mode = mode};
    *out = NULL;
    if ((n_feeds > 0 && !feeds && !feed_values) || (n_fetches > 0 && !fetches) ||
        (n_targets > 0 && !targets))
        return tc_fail(TC_INVALID_ARGUMENT, "run: an array of feeds, fetches or targets is NULL");
    if (mode < TC_MODE_AUTO || mode > TC_MODE_INFERENCE)
        return tc_fail(TC_INVALID_ARGUMENT, "run: mode %d is none of tc_mode", (int)mode);
    /* Values of another graph could have the indexes of a known request. */
    TC_TRY(check_request(session, &r));
    uint64_t hash = hash_request(&r);
    tc_status status = TC_OK;
    /* Compiling under the lock keeps two threads from compiling the same program. */
    pthread_mutex_lock(&session->lock);
    tc_entry *surplus = NULL, *entry = find_entry(session, &r, hash);
    if (!entry) {
        status = create_entry(session, &r, hash, &entry);
        if (status == TC_OK) {
            surplus = take_surplus(session, session->program_cache - !held);
            entry->next = session->entries;
            session->entries = entry;
        }
    }
    if (status == TC_OK)
        atomic_fetch_add_explicit(&entry->users, 1, memory_order_relaxed);
    pthread_mutex_unlock(&session->lock);
    while (surplus) {
        tc_entry *next = surplus->next;
        tc_entry_free(session, surplus);
        surplus = next;
    }
    *out = status == TC_OK ? entry : NULL;
    return status;
}

void tc_entry_free(tc_session *session, tc_entry *entry)
{
    while (entry->plans) {
        tc_bound_plan *bound = entry->plans;
        entry->plans = bound->next;
        tc_bound_plan_free(session, bound);
    }
    tc_staged_free(session, entry->staged);
    tc_program_release(entry->program);
    pthread_mutex_destroy(&entry->lock);
    tc_arena_free(&entry->arena);
    tc_free(entry);
}
