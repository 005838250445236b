#include "runtime/session.h"

#include <math.h>
#include <string.h>

#include "base/status.h"
#include "core/tensor.h"

#define FOLD_BUDGET ((size_t)64 << 20)

/* Runs use at most `wanted` of the runtime's threads, 0 for all. */
static tc_status set_threads(tc_session *session, int32_t wanted)
{
    session->pool = session->runtime->pool;
    if (wanted == 0 || wanted >= tc_pool_threads(session->pool))
        return TC_OK;
    return tc_pool_create_view(session->runtime->pool, wanted, &session->pool);
}

/* Whether a node of `graph` or of its functions says where it runs. */
static bool names_devices(const tc_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (tc_annotation((tc_value){(tc_graph *)graph, (int32_t)i, 0}, "device"))
            return true;
    for (size_t i = 0; i < graph->functions.count; i++)
        if (names_devices(graph->functions.data[i]))
            return true;
    return false;
}

/* What the compiler sees. Backends are not looked for when nobody asks for a device: that takes
 * many times as long as all the rest. */
static tc_status set_view(tc_session *session, const tc_session_options *o)
{
    tc_devices *devices = NULL;
    int32_t device = 0;
    if ((o->device && strcmp(o->device, "cpu") != 0) || names_devices(session->source))
        TC_TRY(tc_runtime_devices(session->runtime, &devices));
    if (devices && o->device) {
        device = strcmp(o->device, "auto") == 0 ? -1 : tc_devices_find(devices, o->device);
        if (device < 0 && strcmp(o->device, "auto") != 0)
            return tc_devices_unknown(devices, "session", o->device);
    }
    session->view = tc_runtime_view(session->runtime, session->pool, devices);
    session->view.target.default_device = device;
    session->view.target.allows =
        (o->allow_tf32 ? TC_ALLOW_TF32 : 0) | (o->allow_any_order ? TC_ALLOW_ANY_ORDER : 0);
    return TC_OK;
}

/* A session takes options by value; strings are copied. */
static tc_status set_options(tc_session *session, const tc_session_options *o)
{
    if (o->plan_cache < 0 || o->program_cache < 0)
        return tc_fail(TC_INVALID_ARGUMENT, "session: %s is negative",
                       o->plan_cache < 0 ? "plan_cache" : "program_cache");
    if (o->optimization < TC_OPTIMIZATION_DEFAULT || o->optimization > TC_OPTIMIZATION_FULL)
        return tc_fail(TC_INVALID_ARGUMENT, "session: optimization %d is none of tc_optimization",
                       (int)o->optimization);
    if (o->precision != TC_DTYPE_INVALID && o->precision != TC_BF16 && o->precision != TC_F16)
        return tc_fail(TC_INVALID_ARGUMENT, "session: precision is bf16 or f16, not %s",
                       tc_dtype_name(o->precision));
    if (!(o->loss_scale >= 0) || isinf(o->loss_scale))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "session: loss_scale is %g, but must be positive, or 0 for one that adapts",
                       (double)o->loss_scale);
    if (o->store && o->runtime && o->store->runtime != o->runtime)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "session: the store belongs to another runtime than the one given");
    if (o->threads < 0)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "session: %d threads; give 1 or more, or 0 for all of the runtime",
                       o->threads);
    session->check_numerics = o->check_numerics;
    session->dump = o->dump;
    session->dump_context = o->dump_context;
    session->optimization = o->optimization;
    session->precision = o->precision;
    session->loss_scale = o->loss_scale;
    session->fold_budget = o->fold_budget ? o->fold_budget : FOLD_BUDGET;
    session->memory_budget = o->memory_budget;
    session->program_cache = o->program_cache ? o->program_cache : 64;
    session->plan_cache = o->plan_cache ? o->plan_cache : 16;
    if (o->disable_passes) {
        session->disable_passes = tc_strdup(o->disable_passes);
        if (!session->disable_passes)
            return tc_fail_memory(strlen(o->disable_passes), "session options");
    }
    TC_TRY(tc_runtime_acquire(o->store ? o->store->runtime : o->runtime, &session->runtime));
    TC_TRY(set_threads(session, o->threads));
    TC_TRY(set_view(session, o));
    if (!o->store)
        return tc_store_create(session->runtime, &session->store);
    session->store = tc_store_retain(o->store);
    return TC_OK;
}

/* Sessions with devices know of each other: memory there is given up for whoever needs it. */
static void enter_runtime(tc_session *session)
{
    tc_runtime *runtime = session->runtime;
    if (!session->view.devices)
        return;
    pthread_mutex_lock(&runtime->sessions_lock);
    session->next = runtime->sessions;
    runtime->sessions = session;
    pthread_mutex_unlock(&runtime->sessions_lock);
}

static void leave_runtime(tc_session *session)
{
    tc_runtime *runtime = session->runtime;
    if (!runtime)
        return;
    pthread_mutex_lock(&runtime->sessions_lock);
    tc_session **link = &runtime->sessions;
    while (*link && *link != session)
        link = &(*link)->next;
    if (*link)
        *link = session->next;
    pthread_mutex_unlock(&runtime->sessions_lock);
}

tc_status tc_session_create(tc_graph *graph, const tc_session_options *options, tc_session **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "session: out is NULL");
    *out = NULL;
    if (!graph)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "session: graph is NULL; was it created, and was there memory for it?");
    TC_TRY(tc_graph_status(graph));
    if (tc_function_name(graph)[0])
        return tc_fail(TC_INVALID_ARGUMENT,
                       "session: '%s' is a function; create the session of the graph around it",
                       tc_function_name(graph));
    TC_OPTIONS(tc_session_options, o, options);
    tc_session *session = tc_alloc_zero(1, sizeof *session);
    if (!session)
        return tc_fail_memory(sizeof *session, "a session");
    session->references = 1;
    pthread_mutex_init(&session->lock, NULL);
    session->source = tc_graph_retain(graph);
    tc_status status = set_options(session, &o);
    if (status == TC_OK) {
        session->graph = tc_graph_clone(graph);
        if (!session->graph)
            status = TC_RESOURCE_EXHAUSTED;
    }
    if (status == TC_OK)
        status = tc_session_declare_variables(session);
    if (status != TC_OK) {
        tc_session_release(session);
        return status;
    }
    enter_runtime(session);
    *out = session;
    return TC_OK;
}

tc_session *tc_session_retain(tc_session *session)
{
    if (session)
        atomic_fetch_add_explicit(&session->references, 1, memory_order_relaxed);
    return session;
}

void tc_session_release(tc_session *session)
{
    if (!session || atomic_fetch_sub_explicit(&session->references, 1, memory_order_acq_rel) != 1)
        return;
    leave_runtime(session);
    while (session->entries) {
        tc_entry *entry = session->entries;
        session->entries = entry->next;
        tc_entry_free(session, entry);
    }
    tc_store_release(session->store);
    if (session->runtime && session->pool != session->runtime->pool)
        tc_pool_destroy(session->pool);
    tc_runtime_release(session->runtime);
    tc_graph_release(session->graph);
    tc_graph_release(session->source);
    tc_free(session->disable_passes);
    pthread_mutex_destroy(&session->lock);
    tc_free(session);
}

tc_store *tc_session_store(tc_session *session)
{
    return session ? session->store : NULL;
}

tc_graph *tc_session_graph(tc_session *session)
{
    return session ? session->source : NULL;
}

void tc_session_count(tc_session *session, tc_session_counters *counters)
{
    if (!session || !counters)
        return;
    *counters = (tc_session_counters){
        .runs = session->counters.runs,
        .commits = session->counters.commits,
        .programs = session->counters.programs,
        .plans = session->counters.plans,
        .evictions = session->counters.evictions,
        .packed_bytes = session->counters.packed_bytes,
        .copied_bytes = session->counters.copied_bytes,
        .fallbacks = session->counters.fallbacks,
        .transferred_bytes = session->counters.transferred_bytes,
        .recordings = session->counters.recordings,
        .replays = session->counters.replays,
    };
}

tc_status tc_session_run(tc_session *session, const tc_feed *feeds, size_t n_feeds,
                         const tc_value *fetches, size_t n_fetches, const tc_value *targets,
                         size_t n_targets, tc_tensor **outputs, const tc_run_options *options)
{
    if (!session)
        return tc_fail(TC_INVALID_ARGUMENT, "run: session is NULL");
    tc_mode mode = options && options->struct_size > offsetof(tc_run_options, mode) ? options->mode
                                                                                    : TC_MODE_AUTO;
    tc_entry *entry;
    tc_run_limits limits;
    TC_TRY(tc_run_limits_read(options, &limits));
    TC_TRY(tc_entry_find(session, feeds, NULL, n_feeds, fetches, n_fetches, targets, n_targets,
                         mode, false, &entry));
    const tc_inputs inputs = {.feeds = feeds};
    tc_status status = tc_entry_run(session, entry, &inputs, outputs, &limits);
    tc_entry_leave(entry);
    return status;
}
