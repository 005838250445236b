/* What is checked of one sample. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "ops/driver.h"
#include "support/gradient_check.h"

static const op_tolerance default_tolerance[TC_DTYPE_COUNT] = {
    [TC_F64] = {1e-12, 1e-12},
    [TC_F32] = {1e-5, 1e-5},
    [TC_F16] = {2e-3, 2e-3},
    [TC_BF16] = {1.6e-2, 1.6e-2},
};

/* Outputs of a sample, computed or expected. */
typedef struct outputs {
    int32_t count;
    eval_buffer buffers[OP_MAX_OUTPUTS];
    double *elements[OP_MAX_OUTPUTS];
    tc_shape shapes[OP_MAX_OUTPUTS];
} outputs;

static void outputs_free(outputs *o)
{
    for (int32_t i = 0; i < o->count; i++) {
        eval_buffer_free(&o->buffers[i]);
        free(o->elements[i]);
    }
    *o = (outputs){0};
}

static bool compute(driver *d, const built *b, eval_options *options, outputs *out)
{
    *out = (outputs){.count = tc_output_count(b->out)};
    if (out->count > OP_MAX_OUTPUTS) {
        out->count = 0;
        return driver_fail(d, "more than %d outputs", OP_MAX_OUTPUTS);
    }
    tc_value fetches[OP_MAX_OUTPUTS];
    for (int32_t i = 0; i < out->count; i++)
        fetches[i] = tc_output(b->out, i);
    d->runs++;
    if (evaluate(b->graph, b->feeds, b->n_feeds, fetches, (size_t)out->count, options,
                 out->buffers) != TC_OK)
        return driver_fail(d, "%s", tc_error_message());
    return true;
}

static bool load_elements(outputs *o)
{
    for (int32_t i = 0; i < o->count; i++) {
        const eval_buffer *buffer = &o->buffers[i];
        size_t size = tc_dtype_size(buffer->info.dtype), count = buffer->bytes / size;
        o->shapes[i] = buffer->info.shape;
        o->elements[i] = malloc((count + 1) * sizeof(double));
        if (!o->elements[i])
            return false;
        for (size_t k = 0; k < count; k++)
            o->elements[i][k] =
                tc_dtype_load(buffer->info.dtype, (const char *)buffer->data + k * size);
    }
    return true;
}

static bool agrees(tc_dtype dtype, double got, double expected, op_tolerance tolerance)
{
    if (isnan(got) || isnan(expected))
        return isnan(got) && isnan(expected);
    if (got == expected)
        return true;
    if (!(TC_DTYPES_FLOAT & TC_DTYPE_BIT(dtype)))
        return false;
    if (isinf(got)) { /* what is finite in f64 may overflow the dtype */
        double rounded;
        uint64_t element = 0;
        tc_dtype_store(dtype, &element, expected);
        rounded = tc_dtype_load(dtype, &element);
        return rounded == got;
    }
    return fabs(got - expected) <= tolerance.absolute + tolerance.relative * fabs(expected);
}

static op_tolerance tolerance_of(const op_case *op, tc_dtype dtype)
{
    op_tolerance t = op->tolerance[dtype];
    return t.relative == 0 && t.absolute == 0 ? default_tolerance[dtype] : t;
}

static bool check_forms(driver *d, const op_sample *sample, const outputs *o)
{
    bool good = true;
    for (int32_t i = 0; i < o->count; i++) {
        const op_output *want = &sample->outputs[i];
        tc_shape shape = tc_shape_of((size_t)want->rank, want->sizes);
        tc_dtype dtype = want->dtype ? want->dtype : d->dtype;
        char expected[TC_SHAPE_TEXT_SIZE], got[TC_SHAPE_TEXT_SIZE];
        if (o->buffers[i].info.dtype != dtype || !tc_shape_equal(&o->buffers[i].info.shape, &shape))
            good = driver_fail(d, "output %d is %s%s instead of %s%s", (int)i,
                               tc_dtype_name(o->buffers[i].info.dtype),
                               tc_shape_text(&o->buffers[i].info.shape, got), tc_dtype_name(dtype),
                               tc_shape_text(&shape, expected));
    }
    return good;
}

static bool check_elements(driver *d, const op_sample *sample, const outputs *got,
                           const outputs *expected)
{
    for (int32_t i = 0; i < got->count; i++) {
        tc_dtype dtype = got->buffers[i].info.dtype;
        op_tolerance tolerance = tolerance_of(d->op, d->dtype);
        if (sample->loosen > 0) {
            tolerance.relative *= sample->loosen;
            tolerance.absolute *= sample->loosen;
        }
        int digits = dtype == TC_F64 ? 17 : 9;
        int64_t count = tc_shape_size(&got->shapes[i]);
        for (int64_t k = 0; !sample->outputs[i].unchecked && k < count; k++)
            if (!agrees(dtype, got->elements[i][k], expected->elements[i][k], tolerance))
                return driver_fail(d, "element %lld of output %d is %.*g instead of %.*g",
                                   (long long)k, (int)i, digits, got->elements[i][k], digits,
                                   expected->elements[i][k]);
    }
    return true;
}

static op_run run_of(driver *d, const op_sample *sample, const sample_data *data, const outputs *o)
{
    return (op_run){
        .inputs = (const double *const *)data->elements,
        .input_shapes = data->shapes,
        .outputs = o->elements,
        .output_shapes = o->shapes,
        .n_inputs = data->n_inputs,
        .n_outputs = o->count,
        .dtype = d->dtype,
        .options = sample->options,
    };
}

static bool check_values(driver *d, const op_sample *sample, const sample_data *data, outputs *got)
{
    if (!check_forms(d, sample, got))
        return false;
    if (!load_elements(got))
        return driver_fail(d, "out of memory");
    op_reference reference = sample->reference ? sample->reference : d->op->reference;
    if (!reference && !d->op->check)
        return driver_fail(d, "the case has neither a reference nor a check");
    bool good = true;
    if (reference) {
        outputs expected = {.count = got->count};
        for (int32_t i = 0; i < got->count; i++) {
            size_t count = (size_t)tc_shape_size(&got->shapes[i]);
            expected.shapes[i] = got->shapes[i];
            expected.elements[i] = calloc(count + 1, sizeof(double));
            if (!expected.elements[i])
                abort();
        }
        op_run run = run_of(d, sample, data, &expected);
        reference(&run);
        good = check_elements(d, sample, got, &expected);
        outputs_free(&expected);
    }
    if (d->op->check) {
        char why[256] = "";
        op_run run = run_of(d, sample, data, got);
        d->op->check(&run, why);
        if (why[0])
            good = driver_fail(d, "%s", why);
    }
    return good;
}

static void check_same_bits(driver *d, const outputs *a, const outputs *b, const char *what)
{
    for (int32_t i = 0; i < a->count; i++)
        if (a->buffers[i].bytes != b->buffers[i].bytes ||
            memcmp(a->buffers[i].data, b->buffers[i].data, a->buffers[i].bytes) != 0) {
            driver_fail(d, "output %d has other bits %s", (int)i, what);
            return;
        }
}

/* Runs again in another way; the result must have the same bits, or be as good where `packed`. */
static void check_again(driver *d, const op_sample *sample, const sample_data *data, const built *b,
                        eval_options options, const outputs *first, const char *what)
{
    outputs again;
    bool good = compute(d, b, &options, &again);
    if (good && options.pack && options.packed)
        check_values(d, sample, data, &again);
    else if (good && (!options.pack && (!options.inplace || options.placed)))
        check_same_bits(d, first, &again, what);
    outputs_free(&again);
}

static bool has_node_of(const tc_graph *graph, const char *op)
{
    for (int32_t i = 0; i < tc_graph_node_count(graph); i++)
        if (strcmp(tc_value_op(tc_graph_node(graph, i)), op) == 0)
            return true;
    return false;
}

static void run_variant(driver *d, const op_sample *sample, const sample_data *data, variant shapes)
{
    d->variant = variant_names[shapes];
    built b;
    op_build build = sample->build ? sample->build : d->op->build;
    built_create(data, shapes, build, sample->options, &b);
    outputs first = {0};
    eval_options options = {.isa = d->isa, .device = d->device, .garbage = 0xA5};
    if (tc_graph_verify(b.graph) != TC_OK || !tc_value_ok(b.out)) {
        driver_fail(d, "%s", tc_error_message());
    } else if (!has_node_of(b.graph, d->op->op)) {
        driver_fail(d, "the sample builds no node of %s", d->op->op);
    } else if (compute(d, &b, &options, &first) && check_values(d, sample, data, &first) &&
               shapes == VARIANT_KNOWN) {
        options = (eval_options){.isa = d->isa,
                                 .device = d->device,
                                 .garbage = 0x5A,
                                 .pool = d->pool,
                                 .threads = tc_pool_threads(d->pool)};
        check_again(d, sample, data, &b, options, &first, "with several threads");
        if (!d->device) {
            options = (eval_options){.isa = d->isa, .garbage = 0x5A, .pack = true};
            check_again(d, sample, data, &b, options, &first, "with a packed input");
        }
        const tc_op *op = tc_registry_find_op(NULL, d->op->op);
        for (int i = 0; i < op->n_inplace; i++) {
            options = (eval_options){.isa = d->isa,
                                     .device = d->device,
                                     .garbage = 0x5A,
                                     .inplace = d->op->op,
                                     .inplace_pair = i};
            check_again(d, sample, data, &b, options, &first, "in place");
        }
    }
    outputs_free(&first);
    built_free(&b);
    d->variant = NULL;
}

static void check_gradients(driver *d, const op_sample *sample, const sample_data *data)
{
    d->variant = "gradients";
    built b;
    built_create(data, VARIANT_KNOWN, sample->build ? sample->build : d->op->build, sample->options,
                 &b);
    tc_value ys[OP_MAX_OUTPUTS], xs[OP_MAX_INPUTS];
    size_t x_feeds[OP_MAX_INPUTS];
    op_tolerance tolerance = d->op->gradient_tolerance;
    if (tolerance.relative == 0 && tolerance.absolute == 0)
        tolerance = (op_tolerance){1e-6, 1e-6};
    gradient_problem problem = {
        .graph = b.graph,
        .ys = ys,
        .xs = xs,
        .x_feeds = x_feeds,
        .feeds = b.feeds,
        .n_feeds = b.n_feeds,
        .relative = tolerance.relative,
        .absolute = tolerance.absolute,
        .second_order = !d->op->no_second_order,
        .isa = d->isa,
        .device = d->device,
    };
    for (int32_t i = 0; i < tc_output_count(b.out); i++)
        if (!sample->outputs[i].unchecked && tc_value_dtype(tc_output(b.out, i)) == TC_F64)
            ys[problem.n_ys++] = tc_output(b.out, i);
    for (int32_t i = 0; i < data->n_inputs; i++) {
        const op_input *input = &data->inputs[i];
        if (!(d->op->gradients >> i & 1u) || input->constant || input->absent ||
            data->buffers[i].info.dtype != TC_F64)
            continue;
        x_feeds[problem.n_xs] = b.feed_of[i];
        xs[problem.n_xs++] = b.inputs[i];
    }
    char why[1024];
    double worst = 0;
    if (problem.n_xs > 0 && !gradient_check(&problem, why, &worst))
        driver_fail(d, "%s", why);
    if (worst > d->worst_gradient)
        d->worst_gradient = worst;
    built_free(&b);
    d->variant = NULL;
}

void driver_sample(driver *d, const op_sample *sample)
{
    uint32_t dtypes = sample->dtypes ? sample->dtypes : d->op->dtypes;
    if (!dtypes)
        driver_fail(d, "the case names no dtypes");
    for (int dtype = 1; dtype < TC_DTYPE_COUNT; dtype++) {
        if (!(dtypes & TC_DTYPE_BIT(dtype)))
            continue;
        d->dtype = (tc_dtype)dtype;
        sample_data data;
        if (sample_data_create(d, sample->inputs,
                               input_count(d->op, sample->inputs, sample->n_inputs), &data)) {
            /* What is not known changes inference alone, which is the same for all devices. */
            bool known = sample->known_shapes || d->device;
            int last = known ? VARIANT_KNOWN : VARIANT_ANONYMOUS;
            int before = d->failures; /* what fails with known shapes fails with all */
            for (int v = VARIANT_KNOWN; v <= last && d->failures == before; v++)
                run_variant(d, sample, &data, (variant)v);
            if (dtype == TC_F64 && d->op->gradients && !sample->no_gradients)
                check_gradients(d, sample, &data);
        }
        sample_data_free(&data);
    }
    d->dtype = TC_DTYPE_INVALID;
}

void driver_bad(driver *d, const op_bad *bad, int index)
{
    char name[32];
    snprintf(name, sizeof name, "bad %d", index);
    d->sample = name;
    d->dtype = bad->dtype ? bad->dtype : TC_F32;
    tc_status want = bad->status ? bad->status : TC_INVALID_ARGUMENT;
    sample_data data;
    built b = {0};
    if (sample_data_create(d, bad->inputs, input_count(d->op, bad->inputs, bad->n_inputs), &data)) {
        built_create(&data, VARIANT_KNOWN, bad->build ? bad->build : d->op->build, bad->options,
                     &b);
        tc_status status = tc_graph_status(b.graph);
        if (bad->at_run && status == TC_OK) {
            eval_options options = {.isa = d->isa, .device = d->device};
            outputs out = {0};
            out.count = tc_output_count(b.out);
            status = evaluate(b.graph, b.feeds, b.n_feeds, &b.out, out.count ? 1 : 0, &options,
                              out.buffers);
            outputs_free(&out);
        }
        const char *message = status == TC_OK ? "" : tc_error_message();
        if (status != want)
            driver_fail(d, "gives %s instead of %s: %s", tc_status_name(status),
                        tc_status_name(want), message);
        else if (!bad->message || !strstr(message, bad->message))
            driver_fail(d, "says \"%s\", without \"%s\"", message,
                        bad->message ? bad->message : "(no message expected)");
        else if (!strstr(message, "case_"))
            driver_fail(d, "does not tell the line that built it: \"%s\"", message);
    }
    sample_data_free(&data);
    built_free(&b);
    d->dtype = TC_DTYPE_INVALID;
}
