/* The pass manager, and what a program needs besides its passes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compiler/pass.h"

typedef enum pass_level {
    ALWAYS = TC_OPTIMIZATION_NONE,
    BASIC = TC_OPTIMIZATION_BASIC,
    FULL = TC_OPTIMIZATION_FULL
} pass_level;

typedef struct pass_entry {
    const char *name;
    tc_pass_function run; /* NULL: something that plans do */
    pass_level level;
} pass_entry;

/* Passes, then what plans do, in the order of tc_plan_pass. */
static const pass_entry passes[] = {
#define TC_PASS(pass, level, doc) {#pass, tc_pass_##pass, level},
#include "compiler/passes.def"
#undef TC_PASS
#define TC_PASS(pass, level, doc)
#define TC_PLAN_PASS(name, doc) {#name, NULL, FULL},
#include "compiler/passes.def"
#undef TC_PASS
};

#define PASS_COUNT (sizeof passes / sizeof passes[0])

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/*
 * Names. Passes borrow or invent them without looking; where one is taken, a suffix makes it
 * unique, and placeholders and variables, known by theirs, come first.
 */
static const char *unique_name(tc_graph *graph, const char *name)
{
    size_t size = strlen(name) + 12;
    char *text = tc_arena_alloc(&graph->arena, size);
    uint64_t *next = tc_map_find_string(&graph->counts, name);
    uint64_t suffix = next ? *next : 1;
    if (!text)
        return NULL;
    do
        snprintf(text, size, "%s_%llu", name, (unsigned long long)suffix++);
    while (tc_map_find_string(&graph->names, text));
    return tc_map_put_string(&graph->counts, name, suffix) ? text : NULL;
}

static tc_status name_nodes(tc_graph *graph, bool identities)
{
    for (size_t i = 0; i < graph->nodes.count; i++) {
        tc_node *node = graph->nodes.data[i];
        if (tc_node_is_identity(node) != identities)
            continue;
        if (tc_map_find_string(&graph->names, node->name)) {
            node->name = unique_name(graph, node->name);
            if (!node->name)
                return tc_compiler_exhausted();
        }
        if (!tc_map_put_string(&graph->names, node->name, i))
            return tc_compiler_exhausted();
    }
    return TC_OK;
}

static tc_status index_names(tc_graph *graph)
{
    tc_map_free(&graph->names);
    TC_TRY(name_nodes(graph, true));
    return name_nodes(graph, false);
}

/*
 * Choosing passes
 */
static bool is_word(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && strncmp(text, word, length) == 0;
}

/* Index of the first entry of the pass that entry `index` runs. */
static size_t first_of(size_t index)
{
    size_t first = 0;
    while (passes[first].run != passes[index].run ||
           strcmp(passes[first].name, passes[index].name) != 0)
        first++;
    return first;
}

/* Sets disabled[i] for what the level of optimization or the comma-separated list leaves out. */
static tc_status choose_passes(const tc_program_request *request, bool disabled[PASS_COUNT])
{
    int level = request->optimization ? (int)request->optimization : TC_OPTIMIZATION_FULL;
    char known[1024] = "all";
    for (size_t i = 0; i < PASS_COUNT; i++) {
        disabled[i] = (int)passes[i].level > level;
        size_t used = strlen(known);
        if (passes[i].level != ALWAYS && first_of(i) == i)
            snprintf(known + used, sizeof known - used, ", %s", passes[i].name);
    }
    for (const char *word = request->disable_passes; word && *word;) {
        size_t length = strcspn(word, ",");
        bool all = is_word(word, length, "all"), found = all || length == 0;
        for (size_t i = 0; i < PASS_COUNT; i++) {
            if (passes[i].level == ALWAYS || !(all || is_word(word, length, passes[i].name)))
                continue;
            disabled[i] = true;
            found = true;
        }
        if (!found)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "disable_passes: '%.*s' is no pass that can be left out; known are: %s",
                           (int)(length > 100 ? 100 : length), word, known);
        word += length + (word[length] == ',');
    }
    return TC_OK;
}

/*
 * Running passes
 */
static tc_status dump(tc_pass_context *pass, const char *name, const char *when)
{
    const tc_program_request *request = pass->request;
    char *text = NULL;
    size_t size = 0;
    if (!request->dump)
        return TC_OK;
    TC_TRY(index_names(pass->graph));
    FILE *file = open_memstream(&text, &size);
    tc_status status = file ? tc_graph_print(pass->graph, file) : tc_compiler_exhausted();
    if (file && fclose(file) != 0 && status == TC_OK)
        status = tc_compiler_exhausted();
    if (status == TC_OK)
        request->dump(request->dump_context, name, when, text);
    free(text);
    return status;
}

/* In debug builds a pass that breaks the graph is caught here, by name. */
static tc_status verify(tc_pass_context *pass, const char *name)
{
#ifdef NDEBUG
    (void)pass;
    (void)name;
#else
    TC_TRY(index_names(pass->graph));
    for (size_t i = 0; i < pass->graph->nodes.count; i++)
        if (tc_node_is(pass->graph->nodes.data[i], "call"))
            return TC_OK; /* verifying a call walks its body, which may not end before it is inlined
                           */
    tc_status status = tc_graph_verify(pass->graph);
    if (status != TC_OK)
        return tc_fail_prefix(status, "after the pass '%s': ", name);
#endif
    return TC_OK;
}

static tc_status run_pass(tc_pass_context *pass, const pass_entry *entry)
{
    tc_program *program = pass->program;
    tc_pass_info report = {.pass = entry->name, .nodes_before = (int32_t)pass->graph->nodes.count};
    TC_TRY(dump(pass, entry->name, "before"));
    double start = milliseconds();
    TC_TRY(entry->run(pass));
    TC_TRY(tc_ir_prune(pass));
    report.milliseconds = milliseconds() - start;
    report.nodes_after = (int32_t)pass->graph->nodes.count;
    program->reports[program->n_reports++] = report;
    TC_TRY(verify(pass, entry->name));
    return dump(pass, entry->name, "after");
}

/*
 * Which variables change after they are initialized
 */
tc_status tc_program_updated(const tc_graph *graph, tc_map *updated)
{
    if (graph->origin)
        return tc_program_updated(graph->origin, updated);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const tc_node *node = graph->nodes.data[i];
        if (!(node->attrs.op->effects & TC_EFFECT_WRITE))
            continue;
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (tc_input_flags(node, k) & TC_PORT_RESOURCE && node->inputs[k].node >= 0 &&
                !tc_map_put_string(updated, tc_graph_node_at(graph, node->inputs[k].node)->name, 1))
                return tc_compiler_exhausted();
    }
    for (size_t i = 0; i < graph->functions.count; i++)
        TC_TRY(tc_program_updated(graph->functions.data[i], updated));
    return TC_OK;
}

static tc_status find_updated(tc_program *program)
{
    tc_map updated = {0};
    size_t count = program->graph->nodes.count;
    tc_status status = tc_program_updated(program->source, &updated);
    if (status == TC_OK) /* and what passes write */
        status = tc_program_updated(program->graph, &updated);
    program->updated = tc_arena_array(&program->arena, count, sizeof *program->updated);
    if (!program->updated && status == TC_OK)
        status = tc_compiler_exhausted();
    for (size_t i = 0; i < count && status == TC_OK; i++)
        program->updated[i] = tc_node_is(program->graph->nodes.data[i], "variable") &&
                              tc_map_find_string(&updated, program->graph->nodes.data[i]->name);
    tc_map_free(&updated);
    return status;
}

/*
 * Life
 */
static tc_status copy_request(tc_program *program, const tc_program_request *request)
{
    tc_arena *arena = &program->arena;
    program->commit_copies = request->commit_copies;
    program->n_feeds = request->n_feeds;
    program->n_fetches = request->n_fetches;
    program->n_targets = request->n_targets;
    program->feeds =
        tc_arena_memdup(arena, request->feeds, (size_t)request->n_feeds * sizeof(tc_edge));
    program->fetches =
        tc_arena_memdup(arena, request->fetches, (size_t)request->n_fetches * sizeof(tc_edge));
    program->targets =
        tc_arena_memdup(arena, request->targets, (size_t)request->n_targets * sizeof(int32_t));
    program->reports = tc_arena_array(arena, PASS_COUNT, sizeof *program->reports);
    if (!program->feeds || !program->fetches || !program->targets || !program->reports)
        return tc_compiler_exhausted();
    return TC_OK;
}

/* Lets go of the tensors that no node holds any longer: what was folded further. */
static tc_status release_tensors(tc_graph *graph)
{
    tc_map used = {0};
    tc_status status = TC_OK;
    size_t kept = 0;
    for (size_t i = 0; i < graph->nodes.count && graph->tensors.count > 0; i++) {
        const tc_attrs *attrs = &graph->nodes.data[i]->attrs;
        for (int16_t k = 0; k < attrs->op->n_attrs; k++)
            if (attrs->values[k].type == TC_ATTR_TENSOR && attrs->values[k].tensor &&
                !tc_map_put(&used, &attrs->values[k].tensor, sizeof(tc_tensor *), 1))
                status = tc_compiler_exhausted();
    }
    for (size_t i = 0; i < graph->tensors.count && status == TC_OK; i++) {
        tc_tensor *tensor = graph->tensors.data[i];
        if (tc_map_find(&used, &tensor, sizeof tensor))
            graph->tensors.data[kept++] = tensor;
        else
            tc_tensor_release(tensor);
    }
    if (status == TC_OK)
        graph->tensors.count = kept;
    tc_map_free(&used);
    return status;
}

static tc_status compile(tc_pass_context *pass)
{
    int64_t seen[PASS_COUNT]; /* changes when a pass had run for the last time, by first entry */
    bool disabled[PASS_COUNT];
    TC_TRY(choose_passes(pass->request, disabled));
    TC_TRY(copy_request(pass->program, pass->request));
    for (size_t i = 0; i < PASS_COUNT; i++) {
        if (disabled[i])
            continue;
        size_t first = first_of(i);
        if (first < i && pass->changes == seen[first])
            continue;
        if (passes[i].run)
            TC_TRY(run_pass(pass, &passes[i]));
        else
            pass->program->plan_passes |= 1u << (i - (PASS_COUNT - TC_PLAN_PASS_COUNT));
        seen[first] = pass->changes;
    }
    TC_TRY(release_tensors(pass->graph));
    TC_TRY(index_names(pass->graph));
    return find_updated(pass->program);
}

tc_status tc_program_create(const tc_graph *graph, const tc_program_request *request,
                            const tc_target *target, tc_program **out)
{
    *out = NULL;
    if (!graph)
        return tc_fail(TC_INVALID_ARGUMENT, "the graph is NULL; was memory exhausted?");
    TC_TRY(tc_graph_status(graph));
    tc_program *program = tc_alloc_zero(1, sizeof *program);
    if (!program)
        return tc_compiler_exhausted();
    atomic_init(&program->references, 1);
    const tc_graph_options options = {sizeof options, graph->registry, graph->seed};
    program->graph = tc_graph_create_with(&options);
    program->source = tc_graph_retain((tc_graph *)graph);
    tc_pass_context pass = {
        .source = graph,
        .request = request,
        .target = target,
        .program = program,
        .graph = program->graph,
    };
    tc_status status = program->graph ? TC_OK : TC_RESOURCE_EXHAUSTED;
    if (status == TC_OK) {
        program->graph->parent =
            (tc_graph *)graph; /* calls find their functions there until inlined */
        status = compile(&pass);
        program->graph->parent = NULL;
    }
    if (status != TC_OK) {
        tc_program_release(program);
        return status;
    }
    *out = program;
    return TC_OK;
}

tc_program *tc_program_retain(tc_program *program)
{
    if (program)
        atomic_fetch_add_explicit(&program->references, 1, memory_order_relaxed);
    return program;
}

void tc_program_release(tc_program *program)
{
    if (!program || atomic_fetch_sub_explicit(&program->references, 1, memory_order_acq_rel) != 1)
        return;
    tc_graph_release(program->graph);
    tc_graph_release(program->source);
    tc_vector_free(&program->reasons);
    tc_arena_free(&program->arena);
    tc_free(program);
}
