/* `tensorc optimize`: compiles a graph or saved model and shows what each pass did, and the plan.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorc/serialize.h>
#include <tensorc/session.h>

#include "commands.h"

#define MAX_DIMS 32

typedef struct choices {
    const char *file;
    const char *signature;
    const char *passes_off;
    const char *device;
    tc_optimization level;
    tc_dtype precision;
    tc_dump_format format;
    bool dump_passes;
    int64_t batch; /* of leading dimensions without a --dim, 1 */
    struct {
        char name[64];
        int64_t size;
    } dims[MAX_DIMS];
    size_t n_dims;
} choices;

/* What is compiled: borrowed from the graph or model. */
typedef struct request {
    tc_graph *graph;
    tc_saved_model *model;
    tc_value *feeds, *fetches, *targets;
    size_t n_feeds, n_fetches, n_targets;
} request;

typedef struct word {
    const char *text;
    int value;
} word;

static const word levels[] = {{"none", TC_OPTIMIZATION_NONE},
                              {"basic", TC_OPTIMIZATION_BASIC},
                              {"full", TC_OPTIMIZATION_FULL}};
static const word precisions[] = {{"f32", TC_DTYPE_INVALID}, {"bf16", TC_BF16}, {"f16", TC_F16}};
static const word formats[] = {
    {"text", TC_DUMP_TEXT}, {"dot", TC_DUMP_DOT}, {"json", TC_DUMP_JSON}};

/* Value of the word `text`; false when it is none of them. */
static bool read_word(const word *words, size_t count, const char *text, int *value)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i].text, text) == 0) {
            *value = words[i].value;
            return true;
        }
    return false;
}

static bool read_size(const char *text, int64_t *size)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    *size = value;
    return end != text && *end == '\0' && value >= 0;
}

/* NAME=SIZE */
static bool read_dim(choices *c, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : 0;
    if (!equals || length == 0 || length >= sizeof c->dims[0].name || c->n_dims == MAX_DIMS)
        return false;
    memcpy(c->dims[c->n_dims].name, text, length);
    return read_size(equals + 1, &c->dims[c->n_dims++].size);
}

/* Reads the option at argv[*i] and its argument; NULL, or what is wrong with it. */
static const char *read_option(choices *c, int argc, char **argv, int *i)
{
    const char *option = argv[*i];
    int value;
    if (strcmp(option, "--dump-passes") == 0) {
        c->dump_passes = true;
        return NULL;
    }
    if (*i + 1 >= argc)
        return "there is no such option, or it wants an argument";
    const char *text = argv[++*i];
    if (strcmp(option, "--passes") == 0) {
        c->passes_off = text;
    } else if (strcmp(option, "--signature") == 0) {
        c->signature = text;
    } else if (strcmp(option, "--device") == 0) {
        c->device = text;
    } else if (strcmp(option, "--level") == 0) {
        if (!read_word(levels, sizeof levels / sizeof levels[0], text, &value))
            return "the level is none, basic or full";
        c->level = (tc_optimization)value;
    } else if (strcmp(option, "--precision") == 0) {
        if (!read_word(precisions, sizeof precisions / sizeof precisions[0], text, &value))
            return "the precision is f32, bf16 or f16";
        c->precision = (tc_dtype)value;
    } else if (strcmp(option, "--format") == 0) {
        if (!read_word(formats, sizeof formats / sizeof formats[0], text, &value))
            return "the format is text, dot or json";
        c->format = (tc_dump_format)value;
    } else if (strcmp(option, "--batch") == 0) {
        if (!read_size(text, &c->batch))
            return "the batch is a number of elements, 0 or more";
    } else if (strcmp(option, "--dim") == 0) {
        if (!read_dim(c, text))
            return "a dimension is given as NAME=SIZE";
    } else {
        return "there is no such option";
    }
    return NULL;
}

static tc_value *new_values(size_t count)
{
    return calloc(count ? count : 1, sizeof(tc_value));
}

static int out_of_memory(void)
{
    fprintf(stderr, "tensorc optimize: out of memory\n");
    return 1;
}

/* Feeds all placeholders and asks for every value that no node reads. */
static int request_sinks(request *r)
{
    int32_t count = tc_graph_node_count(r->graph);
    bool *read = calloc((size_t)count + 1, 1);
    r->feeds = new_values((size_t)count);
    r->fetches = new_values((size_t)count);
    r->targets = new_values((size_t)count);
    if (!read || !r->feeds || !r->fetches || !r->targets) {
        free(read);
        return out_of_memory();
    }
    for (int32_t i = 0; i < count; i++) {
        tc_value node = tc_graph_node(r->graph, i);
        for (int32_t k = 0; k < tc_node_input_count(node); k++)
            if (tc_value_ok(tc_node_input(node, k)))
                read[tc_node_input(node, k).node] = true;
        for (int32_t k = 0; k < tc_node_control_count(node); k++)
            read[tc_node_control(node, k).node] = true;
        if (strcmp(tc_value_op(node), "placeholder") == 0)
            r->feeds[r->n_feeds++] = node;
    }
    for (int32_t i = 0; i < count; i++) {
        tc_value node = tc_graph_node(r->graph, i);
        if (read[i] || strcmp(tc_value_op(node), "placeholder") == 0)
            continue;
        if (tc_output_count(node) > 0)
            r->fetches[r->n_fetches++] = node;
        else
            r->targets[r->n_targets++] = node;
    }
    free(read);
    return 0;
}

static int request_signature(request *r, const choices *c)
{
    const tc_signature *s = c->signature ? tc_saved_model_find(r->model, c->signature)
                                         : tc_saved_model_signature(r->model, 0);
    if (!s) {
        fprintf(stderr, "tensorc optimize: %s has no signature '%s'; it has", c->file,
                c->signature ? c->signature : "");
        for (size_t i = 0; i < tc_saved_model_signature_count(r->model); i++)
            fprintf(stderr, " '%s'", tc_saved_model_signature(r->model, i)->name);
        fprintf(stderr, "\n");
        return 1;
    }
    r->feeds = new_values(s->n_inputs);
    r->fetches = new_values(s->n_outputs);
    r->targets = new_values(0);
    if (!r->feeds || !r->fetches || !r->targets)
        return out_of_memory();
    for (size_t i = 0; i < s->n_inputs; i++)
        r->feeds[r->n_feeds++] = s->inputs[i].value;
    for (size_t i = 0; i < s->n_outputs; i++)
        r->fetches[r->n_fetches++] = s->outputs[i].value;
    return 0;
}

static int load(request *r, const choices *c)
{
    const char *kind;
    if (tc_file_kind(c->file, &kind) != TC_OK)
        return library_error("optimize");
    if (strcmp(kind, "saved model") == 0) {
        if (tc_saved_model_load(c->file, NULL, &r->model) != TC_OK)
            return library_error("optimize");
        r->graph = tc_graph_retain(tc_saved_model_graph(r->model));
        return request_signature(r, c);
    }
    if (strcmp(kind, "graph") != 0)
        return usage_error("optimize", "neither a graph nor a saved model", c->file);
    if (c->signature)
        return usage_error("optimize", "a graph has no signatures; leave out --signature", c->file);
    if (tc_graph_load(c->file, NULL, &r->graph) != TC_OK)
        return library_error("optimize");
    return request_sinks(r);
}

/* The placeholder's shape with numbers for what is unknown. */
static tc_shape feed_shape(const choices *c, tc_value feed)
{
    tc_shape shape = tc_value_shape(feed);
    for (int32_t d = 0; d < shape.rank; d++) {
        int64_t size = shape.dims[d].size;
        if (size < 0) {
            size = d == 0 ? c->batch : 1;
            for (size_t i = 0; shape.dims[d].name && i < c->n_dims; i++)
                if (strcmp(c->dims[i].name, shape.dims[d].name) == 0)
                    size = c->dims[i].size;
        }
        shape.dims[d].size = size;
        shape.dims[d].name = NULL;
    }
    return shape;
}

static void print_pass(void *context, const char *pass, const char *when, const char *text)
{
    char **last = context; /* the text after the pass before */
    if (strcmp(when, "after") == 0 && (!*last || strcmp(*last, text) != 0)) {
        printf("# after %s\n%s\n", pass, text);
        free(*last);
        *last = strdup(text);
    }
}

static void print_table(const tc_pass_info *passes, size_t count, const tc_plan_info *info)
{
    double total = 0;
    printf("%-22s %8s %8s %10s\n", "pass", "before", "after", "ms");
    for (size_t i = 0; i < count; i++) {
        printf("%-22s %8d %8d %10.3f\n", passes[i].pass, (int)passes[i].nodes_before,
               (int)passes[i].nodes_after, passes[i].milliseconds);
        total += passes[i].milliseconds;
    }
    printf("%-22s %8s %8s %10.3f\n\n", "all", "", "", total);
    printf("kernels %d, of which commits %d; peak %zu bytes, alive %zu; constants %zu, variables "
           "%zu, copied %zu\n\n",
           (int)info->kernels, (int)info->commits, info->peak_bytes, info->live_bytes,
           info->constant_bytes, info->variable_bytes, info->copied_bytes);
    if (info->transfers > 0)
        printf("other devices: peak %zu bytes, %d transfers of %zu bytes in all\n\n",
               info->device_bytes, (int)info->transfers, info->transferred_bytes);
}

/* Where nodes run and why, when that is not one device for all. */
static bool print_placements(tc_callable *callable)
{
    size_t count;
    bool several = false;
    if (tc_callable_placements(callable, NULL, 0, &count) != TC_OK)
        return false;
    tc_placement *places = calloc(count + 1, sizeof *places);
    bool ok = places && tc_callable_placements(callable, places, count, &count) == TC_OK;
    for (size_t i = 1; ok && i < count; i++)
        several = several || strcmp(places[i].device, places[0].device) != 0;
    for (size_t i = 0; several && i < count; i++)
        printf("%-32s %-24s %-10s %s\n", places[i].node, places[i].op, places[i].device,
               places[i].reason);
    if (several)
        printf("\n");
    free(places);
    return ok;
}

static int show(tc_callable *callable, const request *r, const choices *c)
{
    tc_pass_info passes[128];
    tc_plan_info info;
    size_t count;
    tc_shape *shapes = calloc(r->n_feeds + 1, sizeof *shapes);
    if (!shapes)
        return out_of_memory();
    for (size_t i = 0; i < r->n_feeds; i++)
        shapes[i] = feed_shape(c, r->feeds[i]);
    bool ok = tc_callable_plan(callable, shapes, &info) == TC_OK &&
              tc_callable_passes(callable, passes, 128, &count) == TC_OK;
    if (ok && c->format == TC_DUMP_TEXT)
        print_table(passes, count, &info);
    ok = ok && (c->format != TC_DUMP_TEXT || print_placements(callable));
    ok = ok && tc_plan_dump(callable, shapes, c->format, stdout) == TC_OK;
    free(shapes);
    return ok ? 0 : library_error("optimize");
}

static int optimize(const request *r, const choices *c)
{
    char *last = NULL;
    const tc_session_options options = {
        .struct_size = sizeof options,
        .optimization = c->level,
        .precision = c->precision,
        .device = c->device,
        .disable_passes = c->passes_off,
        .dump = c->dump_passes ? print_pass : NULL,
        .dump_context = &last,
    };
    tc_session *session = NULL;
    tc_callable *callable = NULL;
    tc_status status = r->model ? tc_saved_model_session(r->model, &options, &session)
                                : tc_session_create(r->graph, &options, &session);
    if (status == TC_OK)
        status = tc_session_compile(session, r->feeds, r->n_feeds, r->fetches, r->n_fetches,
                                    r->targets, r->n_targets, NULL, &callable);
    int result = status == TC_OK ? show(callable, r, c) : library_error("optimize");
    tc_callable_release(callable);
    tc_session_release(session);
    free(last);
    return result;
}

int command_optimize(int argc, char **argv)
{
    choices c = {.batch = 1};
    request r = {0};
    for (int i = 1; i < argc; i++) {
        const char *at = argv[i], *wrong = NULL;
        if (strncmp(at, "--", 2) == 0)
            wrong = read_option(&c, argc, argv, &i);
        else if (c.file)
            wrong = "give one file";
        else
            c.file = at;
        if (wrong)
            return usage_error(argv[0], wrong, at);
    }
    if (!c.file)
        return usage_error(argv[0], "give a graph or saved model", NULL);
    int result = load(&r, &c);
    if (result == 0)
        result = optimize(&r, &c);
    free(r.feeds);
    free(r.fetches);
    free(r.targets);
    tc_graph_release(r.graph);
    tc_saved_model_release(r.model);
    return result;
}
