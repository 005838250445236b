/* Joining and cutting. */
#include "places.h"

typedef struct join {
    size_t count;
    int64_t axis;
} join;
#define JOIN(n, along) (&(const join){n, along})

/* Copies `part`, which begins at `start` along `axis` of `whole`, out of it or into it. */
static void move_part(const tc_shape *whole, double *w, const tc_shape *part, double *p,
                      int64_t axis, int64_t start, bool out)
{
    for (int64_t i = 0; i < elements_of(part); i++) {
        int64_t place[TC_MAX_RANK];
        place_of(part, i, place);
        place[axis < 0 ? axis + whole->rank : axis] += start;
        if (out)
            p[i] = w[index_of(whole, place)];
        else
            w[index_of(whole, place)] = p[i];
    }
}

static int64_t size_along(const tc_shape *shape, int64_t axis)
{
    return shape->dims[axis < 0 ? axis + shape->rank : axis].size;
}

static tc_value build_concat(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const join *j = options;
    return tc_concat(in, j->count, j->axis);
}

static void concat_reference(const op_run *run)
{
    const join *j = run->options;
    int64_t start = 0;
    for (int32_t i = 0; i < run->n_inputs; i++) {
        move_part(&run->output_shapes[0], run->outputs[0], &run->input_shapes[i],
                  (double *)run->inputs[i], j->axis, start, false);
        start += size_along(&run->input_shapes[i], j->axis);
    }
}

static const op_sample concat_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(4, 3)}},
     .outputs = {{OP_SHAPE(6, 3)}},
     .options = JOIN(2, 0)},
    {.name = "columns",
     .inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(2, 1)}, {OP_SHAPE(2, 4)}},
     .outputs = {{OP_SHAPE(2, 8)}},
     .options = JOIN(3, -1)},
    {.name = "middle",
     .inputs = {{OP_SHAPE(2, 3, 4)}, {OP_SHAPE(2, 2, 4)}},
     .outputs = {{OP_SHAPE(2, 5, 4)}},
     .options = JOIN(2, 1)},
    {.name = "one",
     .inputs = {{OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = JOIN(1, 0)},
    {.name = "with empty",
     .inputs = {{OP_SHAPE(2, 0)}, {OP_SHAPE(2, 3)}, {OP_SHAPE(2, 0)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = JOIN(3, 1)},
    {.name = "all empty",
     .inputs = {{OP_SHAPE(0, 2)}, {OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(0, 5)}},
     .options = JOIN(2, 1)},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(1, 2, 1, 2, 1, 2, 3, 1)}, {OP_SHAPE(1, 2, 1, 2, 1, 2, 2, 1)}},
     .outputs = {{OP_SHAPE(1, 2, 1, 2, 1, 2, 5, 1)}},
     .options = JOIN(2, 6)},
    {.name = "twelve",
     .inputs = {{OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 2)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 7)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 8)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 1)},
                {OP_SHAPE(5, 3)}},
     .outputs = {{OP_SHAPE(5, 28)}},
     .options = JOIN(12, 1)},
    {.name = "large",
     .inputs = {{OP_SHAPE(300, 401)}, {OP_SHAPE(300, 7)}},
     .outputs = {{OP_SHAPE(300, 408)}},
     .options = JOIN(2, 1),
     .no_gradients = true},
};

static const op_bad concat_bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(3, 3)}},
     .options = JOIN(2, 1),
     .message = "value 1 of shape [3, 3] does not fit to value 0 of shape [2, 3] along axis 1"},
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(2)}},
     .options = JOIN(2, 1),
     .message = "value 1 of shape [2] does not fit"},
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(2, 3)}}, .options = JOIN(2, 2), .message = "axis 2"},
    {.inputs = {{.rank = 0}}, .n_inputs = 1, .options = JOIN(1, 0), .message = "use tc_stack"},
    {.inputs = {{OP_SHAPE(2, 3)}, {.dtype = TC_F64, OP_SHAPE(2, 3)}},
     .options = JOIN(2, 0),
     .message = "must have the same dtype"},
};

extern const op_case op_case_concat;
const op_case op_case_concat = {.op = "concat",
                                .build = build_concat,
                                .reference = concat_reference,
                                OP_LIST(concat_samples),
                                OP_BAD(concat_bad),
                                .n_inputs = 1,
                                .dtypes = TC_DTYPES_ANY,
                                .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2)};

typedef struct cut {
    int64_t axis, parts;
    tc_ints sizes;
} cut;
#define EQUAL(along, n)   (&(const cut){.axis = along, .parts = n})
#define SIZES(along, ...) (&(const cut){.axis = along, .sizes = COUNTED(__VA_ARGS__)})

static tc_value build_split(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const cut *c = options;
    return tc_split(in[0], c->axis, c->parts, .sizes = c->sizes);
}

static void split_reference(const op_run *run)
{
    int64_t axis = *(const int64_t *)run->options, start = 0;
    for (int32_t i = 0; i < run->n_outputs; i++) {
        move_part(&run->input_shapes[0], (double *)run->inputs[0], &run->output_shapes[i],
                  run->outputs[i], axis, start, true);
        start += size_along(&run->output_shapes[i], axis);
    }
}

static const op_sample split_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(6, 2)}},
     .outputs = {{OP_SHAPE(2, 2)}, {OP_SHAPE(2, 2)}, {OP_SHAPE(2, 2)}},
     .options = EQUAL(0, 3)},
    {.name = "columns",
     .inputs = {{OP_SHAPE(2, 6)}},
     .outputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(2, 3)}},
     .options = EQUAL(-1, 2)},
    {.name = "sizes",
     .inputs = {{OP_SHAPE(2, 6, 3)}},
     .outputs = {{OP_SHAPE(2, 1, 3)}, {OP_SHAPE(2, 0, 3)}, {OP_SHAPE(2, 5, 3)}},
     .options = SIZES(1, 1, 0, 5)},
    {.name = "one", .inputs = {{OP_SHAPE(4)}}, .outputs = {{OP_SHAPE(4)}}, .options = EQUAL(0, 1)},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 2)}},
     .outputs = {{OP_SHAPE(0, 1)}, {OP_SHAPE(0, 1)}},
     .options = EQUAL(1, 2)},
    {.name = "nothing",
     .inputs = {{OP_SHAPE(0)}},
     .outputs = {{OP_SHAPE(0)}, {OP_SHAPE(0)}},
     .options = EQUAL(0, 2)},
    {.name = "large",
     .inputs = {{OP_SHAPE(300, 408)}},
     .outputs = {{OP_SHAPE(300, 401)}, {OP_SHAPE(300, 7)}},
     .options = SIZES(1, 401, 7),
     .no_gradients = true},
};

static const op_bad split_bad[] = {
    {.inputs = {{OP_SHAPE(5, 2)}},
     .options = EQUAL(0, 2),
     .message = "dimension 0 of [5, 2] cannot be cut into 2 equal parts"},
    {.inputs = {{OP_SHAPE(5, 2)}}, .options = EQUAL(0, 0), .message = "cannot cut into 0 parts"},
    {.inputs = {{OP_SHAPE(0)}}, .options = EQUAL(0, 1 << 20), .message = "1 to 65536"},
    {.inputs = {{OP_SHAPE(5, 2)}}, .options = EQUAL(2, 1), .message = "axis 2"},
    {.inputs = {{OP_SHAPE(5)}},
     .options = SIZES(0, 2, 2),
     .message = "the parts have 4 elements along dimension 0 of [5]"},
    {.inputs = {{OP_SHAPE(5)}}, .options = SIZES(0, 6, -1), .message = "the size of part 1 is -1"},
    {.inputs = {{OP_SHAPE(5)}},
     .options = &(const cut){.parts = 3, .sizes = COUNTED(2, 3)},
     .message = "3 parts are asked for, but 2 sizes are given"},
    {.inputs = {{.rank = 0}},
     .n_inputs = 1,
     .options = EQUAL(0, 1),
     .message = "a scalar has no dimension"},
};

extern const op_case op_case_split;
const op_case op_case_split = {.op = "split",
                               .build = build_split,
                               .reference = split_reference,
                               OP_LIST(split_samples),
                               OP_BAD(split_bad),
                               .n_inputs = 1,
                               .dtypes = TC_DTYPES_ANY,
                               .gradients = OP_INPUT(0)};

static tc_value build_split_like(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const cut *c = options;
    return tc_split_like_at(TC_HERE, in[0], in + 1, (size_t)c->parts, c->axis);
}

static const op_sample split_like_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(5, 2)}, {OP_SHAPE(2, 2)}, {OP_SHAPE(3, 2)}},
     .outputs = {{OP_SHAPE(2, 2)}, {OP_SHAPE(3, 2)}},
     .options = EQUAL(0, 2)},
    {.name = "columns",
     .inputs = {{OP_SHAPE(2, 5)}, {.dtype = TC_I64, OP_SHAPE(2, 0)}, {OP_SHAPE(2, 5)}},
     .outputs = {{OP_SHAPE(2, 0)}, {OP_SHAPE(2, 5)}},
     .options = EQUAL(-1, 2)},
};

static const op_bad split_like_bad[] = {
    {.inputs = {{OP_SHAPE(5, 2)}, {OP_SHAPE(2, 2)}, {OP_SHAPE(2, 2)}},
     .options = EQUAL(0, 2),
     .message = "the parts have 4 elements"},
    {.inputs = {{OP_SHAPE(5, 2)}, {OP_SHAPE(5, 3)}},
     .options = EQUAL(0, 1),
     .message = "a part of shape [5, 3] cannot be cut from [5, 2] along axis 0"},
    {.inputs = {{OP_SHAPE(5, 2)}},
     .options = EQUAL(0, 0),
     .message = "there is no part to cut out"},
};

extern const op_case op_case_split_like;
const op_case op_case_split_like = {.op = "split_like",
                                    .build = build_split_like,
                                    .reference = split_reference,
                                    OP_LIST(split_like_samples),
                                    OP_BAD(split_like_bad),
                                    .n_inputs = 2,
                                    .dtypes = TC_DTYPES_ANY,
                                    .gradients = OP_INPUT(0)};
