/* Views: reshape, reshape_like, flatten, squeeze, unsqueeze. */
#include "places.h"

#define VIEW_CASE(op_name, ...)                                     \
    extern const op_case op_case_##op_name;                         \
    const op_case op_case_##op_name = {.op = #op_name,              \
                                       .build = build_##op_name,    \
                                       .reference = copy_reference, \
                                       .dtypes = TC_DTYPES_ANY,     \
                                       .gradients = OP_INPUT(0),    \
                                       OP_LIST(op_name##_samples),  \
                                       OP_BAD(op_name##_bad),       \
                                       __VA_ARGS__};

/* Sizes, or axes. */
#define INTS(...) (&(const tc_ints)COUNTED(__VA_ARGS__))
static const tc_ints none = {NULL, 0};

static tc_value build_reshape(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const tc_ints *sizes = options;
    return tc_reshape(in[0], tc_shape_of(sizes->count, sizes->data));
}

static const op_sample reshape_samples[] = {
    {.name = "merge",
     .inputs = {{OP_SHAPE(3, 4)}},
     .outputs = {{OP_SHAPE(12)}},
     .options = INTS(12)},
    {.name = "rest",
     .inputs = {{OP_SHAPE(3, 4)}},
     .outputs = {{OP_SHAPE(2, 6)}},
     .options = INTS(2, -1)},
    {.name = "rest first",
     .inputs = {{OP_SHAPE(4, 3, 2), .fixed = 6}},
     .outputs = {{OP_SHAPE(4, 6)}},
     .options = INTS(-1, 6)},
    {.name = "to scalar", .inputs = {{OP_SHAPE(1, 1)}}, .outputs = {{.rank = 0}}, .options = &none},
    {.name = "from scalar",
     .inputs = {{.rank = 0}},
     .outputs = {{OP_SHAPE(1)}},
     .options = INTS(-1)},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(256)}},
     .outputs = {{OP_SHAPE(2, 2, 2, 2, 2, 2, 2, 2)}},
     .options = INTS(2, 2, 2, 2, 2, -1, 2, 2)},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(5, 0)}},
     .options = INTS(5, 0)},
    {.name = "empty rest",
     .inputs = {{OP_SHAPE(0, 6), .fixed = 2}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = INTS(-1, 3)},
    {.name = "large",
     .inputs = {{OP_SHAPE(300, 1001)}},
     .outputs = {{OP_SHAPE(1001, 300)}},
     .options = INTS(1001, -1),
     .no_gradients = true},
};

static const op_bad reshape_bad[] = {
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(5, 2),
     .message = "[3, 4] does not reshape to [5, 2]: the numbers of elements differ"},
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(5, -1),
     .message = "do not divide the number of elements"},
    {.inputs = {{OP_SHAPE(3, 4)}}, .options = INTS(-1, -1), .message = "only one size may be -1"},
    {.inputs = {{OP_SHAPE(0, 4)}}, .options = INTS(0, -1), .message = "could be anything"},
    {.inputs = {{OP_SHAPE(3, 4)}}, .options = INTS(-2, 6), .message = "size 0 is -2"},
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(1, 1, 1, 1, 1, 1, 1, 3, 4),
     .message = "rank of the new shape must be 0 to 8"},
    {.inputs = {{OP_SHAPE(3, 4)}}, .options = INTS(INT64_MAX, 3), .message = "too many elements"},
};

VIEW_CASE(reshape, .n_inputs = 1)

static tc_value build_reshape_like(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph, (void)options;
    return tc_reshape_like(in[0], in[1]);
}

static const op_sample reshape_like_samples[] = {
    {.name = "split", .inputs = {{OP_SHAPE(12)}, {OP_SHAPE(3, 4)}}, .outputs = {{OP_SHAPE(3, 4)}}},
    {.name = "same", .inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 4)}}, .outputs = {{OP_SHAPE(3, 4)}}},
    {.name = "other dtype",
     .inputs = {{OP_SHAPE(3, 4)}, {.dtype = TC_BOOL, OP_SHAPE(2, 6)}},
     .outputs = {{OP_SHAPE(2, 6)}}},
    {
        .name = "scalar",
        .inputs = {{OP_SHAPE(1)}, {.rank = 0}},
        .outputs = {{.rank = 0}},
    },
    {.name = "empty", .inputs = {{OP_SHAPE(2, 0)}, {OP_SHAPE(0)}}, .outputs = {{OP_SHAPE(0)}}},
};

static const op_bad reshape_like_bad[] = {
    {.inputs = {{OP_SHAPE(12)}, {OP_SHAPE(3, 3)}}, .message = "[12] does not reshape to [3, 3]"},
    {.inputs = {{OP_SHAPE(12)}, {OP_SHAPE(12, 0)}}, .message = "[12] does not reshape to [12, 0]"},
};

VIEW_CASE(reshape_like, .n_inputs = 2)

static tc_value build_flatten(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_flatten(in[0], *(const int64_t *)options);
}

#define AXIS(n) (&(const int64_t){n})

static const op_sample flatten_samples[] = {
    {.name = "images",
     .inputs = {{OP_SHAPE(2, 3, 4, 5)}},
     .outputs = {{OP_SHAPE(2, 60)}},
     .options = AXIS(1)},
    {.name = "all", .inputs = {{OP_SHAPE(2, 3)}}, .outputs = {{OP_SHAPE(6)}}, .options = AXIS(0)},
    {.name = "negative",
     .inputs = {{OP_SHAPE(2, 3, 4)}},
     .outputs = {{OP_SHAPE(2, 12)}},
     .options = AXIS(-2)},
    {.name = "end",
     .inputs = {{OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3, 1)}},
     .options = AXIS(2)},
    {.name = "scalar", .inputs = {{.rank = 0}}, .outputs = {{OP_SHAPE(1)}}, .options = AXIS(0)},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 3, 0)}},
     .outputs = {{OP_SHAPE(0, 0)}},
     .options = AXIS(1)},
};

static const op_bad flatten_bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}}, .options = AXIS(3), .message = "axis 3"},
    {.inputs = {{OP_SHAPE(2, 3)}}, .options = AXIS(-3), .message = "axis -3"},
    {.inputs = {{OP_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)}}, .options = AXIS(8), .message = "rank 9"},
};

VIEW_CASE(flatten, .n_inputs = 1)

static tc_value build_squeeze(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_squeeze(in[0], .axes = *(const tc_ints *)options);
}

static const op_sample squeeze_samples[] = {
    {.name = "one",
     .inputs = {{OP_SHAPE(3, 1, 4, 1)}},
     .outputs = {{OP_SHAPE(3, 4, 1)}},
     .options = INTS(1)},
    {.name = "two",
     .inputs = {{OP_SHAPE(3, 1, 4, 1)}},
     .outputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(-1, 1)},
    {.name = "all",
     .inputs = {{OP_SHAPE(1, 3, 1)}},
     .outputs = {{OP_SHAPE(3)}},
     .options = &none,
     .known_shapes = true},
    {.name = "nothing",
     .inputs = {{OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = &none},
    {.name = "to scalar", .inputs = {{OP_SHAPE(1)}}, .outputs = {{.rank = 0}}, .options = INTS(0)},
    {.name = "empty", .inputs = {{OP_SHAPE(1, 0)}}, .outputs = {{OP_SHAPE(0)}}, .options = INTS(0)},
};

static const op_bad squeeze_bad[] = {
    {.inputs = {{OP_SHAPE(3, 1)}},
     .options = INTS(0),
     .message = "dimension 0 of [3, 1] does not have size 1"},
    {.inputs = {{OP_SHAPE(3, 1)}}, .options = INTS(2), .message = "axes entry 2 is outside"},
    {.inputs = {{OP_SHAPE(3, 1)}},
     .options = INTS(1, -1),
     .message = "axes lists dimension 1 twice"},
};

VIEW_CASE(squeeze, .n_inputs = 1)

static tc_value build_unsqueeze(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_unsqueeze(in[0], *(const tc_ints *)options);
}

static const op_sample unsqueeze_samples[] = {
    {.name = "front",
     .inputs = {{OP_SHAPE(3, 4)}},
     .outputs = {{OP_SHAPE(1, 3, 4)}},
     .options = INTS(0)},
    {.name = "several",
     .inputs = {{OP_SHAPE(3, 4)}},
     .outputs = {{OP_SHAPE(3, 1, 4, 1)}},
     .options = INTS(-1, 1)},
    {.name = "none", .inputs = {{OP_SHAPE(3, 4)}}, .outputs = {{OP_SHAPE(3, 4)}}, .options = &none},
    {.name = "rank 8",
     .inputs = {{.rank = 0}},
     .outputs = {{OP_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)}},
     .options = INTS(0, 1, 2, 3, 4, 5, 6, 7)},
    {.name = "empty", .inputs = {{OP_SHAPE(0)}}, .outputs = {{OP_SHAPE(0, 1)}}, .options = INTS(1)},
};

static const op_bad unsqueeze_bad[] = {
    {.inputs = {{OP_SHAPE(3)}}, .options = INTS(2), .message = "axes entry 2 is outside"},
    {.inputs = {{OP_SHAPE(3)}}, .options = INTS(0, -3), .message = "axes lists dimension 0 twice"},
    {.inputs = {{OP_SHAPE(3)}}, .options = INTS(0, 1, 2, 3, 4, 5, 6, 7), .message = "rank 9"},
};

VIEW_CASE(unsqueeze, .n_inputs = 1)
