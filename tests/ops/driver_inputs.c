/* Elements of inputs, and samples as graphs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "core/dtype.h"
#include "ops/driver.h"

const char *const variant_names[VARIANT_COUNT] = {"known shapes", "named dimensions",
                                                  "anonymous dimensions"};

int32_t input_count(const op_case *op, const op_input *inputs, int32_t given)
{
    static const op_input empty;
    int32_t count = given > op->n_inputs ? given : op->n_inputs;
    for (int32_t i = 0; given == 0 && i < OP_MAX_INPUTS; i++)
        if (memcmp(&inputs[i], &empty, sizeof empty) != 0 && i >= count)
            count = i + 1;
    return count;
}

/* SplitMix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double next_uniform(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

static void fill_distinct(double *elements, int64_t count, double low, double high, uint64_t *state)
{
    for (int64_t i = 0; i < count; i++)
        elements[i] = low + (high - low) * ((double)i + 0.5) / (double)count;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t other = (int64_t)(next_random(state) % (uint64_t)(i + 1));
        double moved = elements[i];
        elements[i] = elements[other];
        elements[other] = moved;
    }
}

static void fill(const op_input *input, tc_dtype dtype, double *elements, int64_t count,
                 uint64_t seed)
{
    bool is_float = TC_DTYPES_FLOAT & TC_DTYPE_BIT(dtype);
    double low = input->low, high = input->high;
    if (low == 0 && high == 0) {
        low = dtype == TC_BOOL || TC_DTYPES_UNSIGNED & TC_DTYPE_BIT(dtype) ? 0 : -2;
        high = dtype == TC_BOOL || low < 0 ? 2 : 4;
    }
    uint64_t state = seed;
    if (input->fill == OP_DISTINCT)
        fill_distinct(elements, count, low, high, &state);
    for (int64_t i = 0; i < count; i++) {
        double u = next_uniform(&state);
        if (input->fill == OP_UNIFORM)
            elements[i] = is_float ? low + (high - low) * u : floor(low + (high - low) * u);
        else if (input->fill == OP_INTEGERS)
            elements[i] = floor(low + (high - low + 1) * u);
        else if (input->fill == OP_VALUES)
            elements[i] = input->n_values ? input->values[i % input->n_values] : 0;
    }
}

bool sample_data_create(driver *d, const op_input *inputs, int32_t n_inputs, sample_data *data)
{
    *data = (sample_data){.inputs = inputs, .n_inputs = n_inputs};
    for (int32_t i = 0; i < n_inputs; i++) {
        if (inputs[i].absent)
            continue;
        tc_dtype dtype = inputs[i].dtype ? inputs[i].dtype : d->dtype;
        data->shapes[i] = tc_shape_of((size_t)inputs[i].rank, inputs[i].sizes);
        if (eval_buffer_create(dtype, &data->shapes[i], 0, &data->buffers[i]) != TC_OK)
            return driver_fail(d, "input %d: %s", (int)i, tc_error_message());
        int64_t count = tc_shape_size(&data->shapes[i]);
        size_t size = tc_dtype_size(dtype);
        double *elements = data->elements[i] = malloc((size_t)(count + 1) * sizeof(double));
        if (!elements)
            return driver_fail(d, "out of memory");
        uint64_t seed = tc_hash_combine(tc_hash_string(d->op->op), (uint64_t)i + 1);
        fill(&inputs[i], dtype, elements, count, tc_hash_combine(seed, (uint64_t)count));
        for (int64_t k = 0; k < count; k++) {
            char *element = (char *)data->buffers[i].data + (size_t)k * size;
            tc_dtype_store(dtype, element, elements[k]);
            elements[k] = tc_dtype_load(dtype, element);
        }
    }
    return true;
}

void sample_data_free(sample_data *data)
{
    for (int32_t i = 0; i < data->n_inputs; i++) {
        eval_buffer_free(&data->buffers[i]);
        free(data->elements[i]);
    }
}

/* The shape to build with. A name stands for a size: equal names are equal sizes, which is all that
 * they promise. */
static tc_shape build_shape(const op_input *input, tc_shape shape, variant shapes,
                            char names[TC_MAX_RANK][32])
{
    for (int32_t i = 0; shapes != VARIANT_KNOWN && i < shape.rank; i++) {
        if (input->fixed >> i & 1u)
            continue;
        snprintf(names[i], sizeof names[i], "n%lld", (long long)shape.dims[i].size);
        shape.dims[i] = (tc_dim){-1, shapes == VARIANT_NAMED ? names[i] : NULL};
    }
    return shape;
}

void built_create(const sample_data *data, variant shapes, op_build build, const void *options,
                  built *out)
{
    *out = (built){.graph = tc_graph_create()};
    for (int32_t i = 0; i < data->n_inputs; i++) {
        const op_input *input = &data->inputs[i];
        char name[32], names[TC_MAX_RANK][32];
        out->inputs[i] = TC_NO_VALUE;
        if (input->absent)
            continue;
        tc_dtype dtype = data->buffers[i].info.dtype;
        if (input->constant) {
            out->inputs[i] =
                tc_constant_data(out->graph, dtype, data->shapes[i], data->buffers[i].data);
            continue;
        }
        snprintf(name, sizeof name, "input_%d", (int)i);
        variant own = input->variable ? VARIANT_KNOWN : shapes;
        tc_value placeholder = tc_placeholder(out->graph, name, dtype,
                                              build_shape(input, data->shapes[i], own, names));
        out->feed_of[i] = out->n_feeds;
        out->feeds[out->n_feeds++] = (eval_feed){placeholder, &data->buffers[i]};
        snprintf(name, sizeof name, "variable_%d", (int)i);
        out->inputs[i] = input->variable ? tc_variable(out->graph, name, placeholder) : placeholder;
    }
    out->out = build(out->graph, out->inputs, options);
}

void built_free(built *b)
{
    tc_graph_release(b->graph);
}
