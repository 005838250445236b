/*
 * Every macro of the public headers, in a program that knows nothing else: it must compile as
 * strict C11, and the graph that it builds must be without errors.
 */
#include <string.h>

#include <tensorc/backend.h>
#include <tensorc/tensorc.h>

static void count(tc_graph *g, tc_location at)
{
    /* A location inside a layer, and a mistake of one's own. */
    tc_location inner = TC_WITHIN(at);
    if (inner.outer_line != at.line)
        tc_graph_fail(g, inner, TC_INTERNAL, "outer line %d", (int)inner.outer_line);
}

/* A builder of one's own with options: what the caller did not give is zero. */
static tc_value scaled_at(tc_location at, tc_value x, const tc_gelu_options *options)
{
    TC_OPTIONS(tc_gelu_options, o, options);
    if (!options && (o.struct_size || o.name || o.tanh_approximation))
        return tc_graph_fail(x.graph, at, TC_INTERNAL, "options that nobody gave");
    return tc_gelu_at(TC_WITHIN(at), x, &o);
}

static void elementwise(tc_graph *g, tc_value x)
{
    tc_value a = tc_exp(tc_neg(tc_abs(x))), b = tc_log(tc_sqrt(tc_rsqrt(tc_square(x))));
    a = tc_sigmoid(tc_tanh(tc_relu(tc_erf(tc_sign(tc_floor(tc_ceil(tc_reciprocal(a))))))));
    a = tc_add(tc_sub(tc_mul(tc_div(tc_pow(a, b), b), b), b), tc_minimum(tc_maximum(a, b), b));
    tc_value less = tc_logical_or(tc_less(a, b), tc_less_equal(a, b));
    tc_value more = tc_logical_and(tc_greater(a, b), tc_greater_equal(a, b));
    tc_value same = tc_logical_xor(tc_equal(a, b), tc_not_equal(a, b));
    tc_value any = tc_logical_not(tc_logical_or(less, tc_logical_and(more, same)));
    a = tc_where(any, tc_zeros_like(a), tc_ones_like(a));
    a = scaled_at(TC_HERE, tc_gelu(a), NULL);
    a = tc_gelu(a, .tanh_approximation = true, .name = "fast_gelu");
    a = tc_bias_add(a, tc_ones(g, TC_F32, TC_SHAPE(4)));
    a = tc_bias_add(a, tc_ones(g, TC_F32, TC_SHAPE(4)), .axis = TC_SOME(-1));
    tc_cast(a, TC_F64);
    count(g, TC_HERE);
}

static void shapes(tc_graph *g, tc_value x)
{
    tc_value flat = tc_flatten(tc_reshape(x, TC_SHAPE(TC_DIM("batch"), 2, 2)), 1);
    tc_value like = tc_reshape_like(flat, x);
    tc_value rows =
        tc_expand_like(tc_expand(tc_ones(g, TC_F32, TC_SHAPE(1, 4)), TC_SHAPE(-1, 4)), x);
    tc_squeeze(tc_unsqueeze(x, TC_INTS(0, 2)), .axes = TC_INTS(0));
    tc_squeeze(tc_unsqueeze(x, TC_INTS(1)));
    tc_shape_of_value(x);
    tc_transpose(x);
    tc_transpose(x, .permutation = TC_INTS(1, 0));
    tc_concat(TC_VALUES(x, like, rows), 1);
    tc_concat(TC_VALUES(x, like), 0, .name = "joined");
    tc_stack(TC_VALUES(x, like), 0);
    tc_output(tc_split(x, 1, 2), 1);
    tc_split(x, 1, 0, .sizes = TC_INTS(1, 3));
    tc_slice(x, TC_INTS(0, -1), TC_INTS(TC_TO_END, -4), .strides = TC_INTS(1, -1));
    tc_pad(x, TC_INTS(0, 1), TC_INTS(0, 2), .mode = TC_PAD_REFLECT);
    tc_value ids = tc_constant_data(g, TC_I32, TC_SHAPE(2), ((const int32_t[]){1, 0}));
    tc_value picked = tc_gather(x, ids, .axis = 1);
    tc_scatter_add(x, ids, picked, .axis = 1);
    tc_embedding(tc_ones(g, TC_F32, TC_SHAPE(3, 5)), ids);
    tc_value chosen = tc_boolean_mask(x, tc_greater(x, tc_zeros_like(x)));
    tc_boolean_mask_grad(chosen, tc_greater(x, tc_zeros_like(x)), x);
    tc_output(tc_unique(tc_nonzero(x)), 2);
    tc_reshape_to(x, tc_shape_of_value(x));
    tc_one_hot(ids, 3, .on = TC_SOME(0.9), .off = TC_SOME(0.05), .dtype = TC_F32);
}

static void reductions(tc_graph *g, tc_value x)
{
    tc_reduce_sum(x);
    tc_reduce_mean(x, .axes = TC_INTS(1), .keep_dims = true);
    tc_reduce_max(tc_reduce_min(tc_reduce_prod(x, .axes = TC_INTS(-1)), .name = "least"));
    tc_argmax(x, .axis = TC_SOME(0));
    tc_sum_to_like(x, tc_ones(g, TC_F32, TC_SHAPE(4)));
    tc_softmax(tc_log_softmax(x, .axis = TC_SOME(1)));
    tc_value ones = tc_ones(g, TC_F32, TC_SHAPE(4)), zeros = tc_zeros(g, TC_F32, TC_SHAPE(4));
    tc_layer_norm(x, ones, zeros, .axis = TC_SOME(-1));
    tc_batch_norm(x, ones, zeros, zeros, ones, .momentum = TC_SOME(0.99), .mode = TC_MODE_TRAINING);
    tc_matmul(x, tc_range(g, TC_F32, 0, 4, .step = 0.5), .name = "refused");
}

static void matrices_and_images(tc_graph *g, tc_value x)
{
    tc_matmul(x, tc_ones(g, TC_F32, TC_SHAPE(3, 4)), .transpose_b = true);
    tc_range(g, TC_I64, 0, 10);
    tc_value image = tc_placeholder(g, "image", TC_F32, TC_SHAPE(TC_DIM("batch"), 3, 8, 8));
    tc_value filter = tc_ones(g, TC_F32, TC_SHAPE(5, 3, 3, 3));
    tc_value y = tc_conv2d(image, filter, .stride = {2, 1}, .padding = TC_PADDING_SAME);
    tc_conv2d_grad_input(filter, y, image, .stride = {2, 1}, .padding = TC_PADDING_SAME);
    tc_conv2d_grad_filter(image, y, filter, .stride = {2, 1}, .padding = TC_PADDING_SAME);
    tc_conv2d(image, filter, .padding = TC_PADDING_SAME_LOWER, .dilation = {1});
    tc_conv2d(image, filter, .padding = TC_PADDING_VALID);
    tc_conv2d(image, filter, .padding = TC_PADDING(1));
    tc_conv2d(image, filter, .padding = TC_PADDING(1, 2));
    tc_conv2d(image, filter, .padding = TC_PADDING(1, 2, 0, 1));
    tc_value pooled = tc_max_pool2d(image, .kernel = {2});
    tc_value argmax = tc_output(pooled, 1);
    tc_max_pool2d_grad(pooled, argmax, image);
    tc_max_pool2d_gather(image, argmax);
    tc_value mean = tc_avg_pool2d(image, .kernel = {2, 2}, .count_include_pad = true);
    tc_avg_pool2d_grad(mean, image, .kernel = {2, 2}, .count_include_pad = true);
}

static void attention(tc_graph *g, tc_value x)
{
    tc_value q = tc_reshape(x, TC_SHAPE(-1, 2, 1, 2));
    tc_attention(q, q, q);
    tc_value ids = tc_placeholder(g, "ids", TC_I32, TC_SHAPE(TC_DIM("batch"), 7));
    tc_value words = tc_layer_norm_layer(tc_embedding_layer(ids, 10, 4), .name = "norm");
    tc_multi_head_attention(words, 2, .causal = true, .heads_kv = 1, .dropout = 0.1);
    tc_attention(q, q, q, .mask = tc_causal_mask(tc_matmul(q, q, .transpose_b = true)),
                 .causal = true, .scale = TC_SOME(0.5));
}

static void random_numbers(tc_graph *g, tc_value x)
{
    tc_random_uniform(g, TC_F32, TC_SHAPE(2, 3), .low = -1, .high = TC_SOME(0));
    tc_random_uniform_like(x);
    tc_random_int(g, TC_I32, TC_SHAPE(5), 0, 6, .name = "dice");
    tc_random_normal(g, TC_F64, TC_SCALAR, .mean = 3);
    tc_random_normal_like(x, .stddev = TC_SOME(0.5));
    tc_random_truncated_normal(g, TC_F32, TC_SHAPE(1, 2, 3, 4, 5, 6, 7, 8));
    tc_dropout(x, 0.5, .mode = TC_MODE_TRAINING);
}

static void functions(tc_graph *g, tc_value x)
{
    tc_graph *body = tc_function_begin(g, "twice");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(body, TC_VALUES(tc_add(p, p)));
    tc_call(g, "twice", TC_VALUES(x));
    tc_call(g, "twice", TC_VALUES(x), .name = "again");
    tc_node_build(g, &(const tc_node_spec){.op = "neg", .at = TC_HERE, TC_SPEC_INPUTS(x)});
    tc_node_build(g, &(const tc_node_spec){.op = "argmax",
                                           .at = TC_HERE,
                                           TC_SPEC_INPUTS(x),
                                           TC_SPEC_ATTRS({"axis", tc_attr_int(0)})});
}

static tc_value layers(tc_graph *g, tc_value x)
{
    tc_value image = tc_reshape(x, TC_SHAPE(TC_DIM("batch"), 1, 2, 2));
    image = tc_conv2d_layer(image, 3, 1);
    image = tc_batch_norm_layer(image, .activation = TC_ACT_RELU);
    tc_value h = tc_dense(tc_flatten(image, 1), 5, .activation = TC_ACT_TANH, .name = "hidden");
    tc_variable(g, "own", tc_initialize(g, TC_INIT_HE_NORMAL, TC_F32, TC_SHAPE(4, 5), 4, 5),
                .not_trainable = true);
    return tc_activate(tc_dense(tc_identity(h), 2, .name = "logits"), TC_ACT_NONE);
}

static tc_value training(tc_graph *g, tc_value x)
{
    tc_value labels = tc_placeholder(g, "labels", TC_I64, TC_SHAPE(TC_DIM("batch")));
    tc_value logits = layers(g, x), target = tc_stop_gradient(tc_softmax(logits));
    tc_value loss = tc_softmax_cross_entropy(logits, labels, .reduction = TC_REDUCTION_SUM);
    loss = tc_add(loss, tc_mean_squared_error(logits, target));
    loss = tc_add(loss, tc_mean_absolute_error(logits, target, .name = "distance"));
    loss = tc_add(loss, tc_sigmoid_cross_entropy(logits, target));
    tc_accuracy(logits, labels);
    tc_correct_count(logits, labels);

    tc_value w = tc_graph_find(g, "logits/weights"), b = tc_graph_find(g, "logits/bias");
    tc_value variables[] = {w, b}, gradients[2];
    if (tc_gradients(TC_VALUES(loss), TC_VALUES(w, b), gradients, .zero_unconnected = true) !=
        TC_OK)
        return TC_NO_VALUE;
    tc_clip_by_global_norm(gradients, 2, 1.0, gradients);
    tc_value slot = tc_variable(g, "slot", tc_zeros(g, TC_F32, TC_SHAPE(5, 2)));
    tc_value slot2 = tc_variable(g, "slot2", tc_fill(g, TC_F32, TC_SHAPE(5, 2), 0));
    tc_value rate = tc_constant_scalar(g, TC_F32, 0.1), one = tc_constant_scalar(g, TC_I64, 1);
    tc_apply_sgd(w, gradients[0], rate);
    tc_apply_momentum(w, slot, gradients[0], rate, .nesterov = true);
    tc_apply_adam((&(tc_apply_adam_inputs){w, slot, slot2, gradients[0], rate, one}),
                  .beta1 = TC_SOME(0.8));
    tc_value group = tc_group(g, TC_VALUES(tc_assign(b, gradients[1]), tc_assign_add(b, b),
                                           tc_assign_sub(b, b), tc_no_op(g)));
    tc_apply_gradients(tc_sgd(g, .momentum = 0.9), variables, gradients, 2);
    tc_minimize(tc_adam(g), loss);
    tc_value step = tc_minimize(tc_adamw(g, .learning_rate = 1e-3f), loss, .clip_global_norm = 1);
    return tc_group(g, TC_VALUES(step, group));
}

static tc_status run(tc_graph *g, tc_value x)
{
    tc_tensor *ones, *fed, *labels, *out = NULL;
    tc_value y = tc_add(x, x);
    TC_TRY(tc_tensor_create_scalar(TC_F32, 1, &ones));
    tc_constant(g, ones);
    tc_tensor_release(ones);
    tc_session *session;
    TC_TRY(tc_session_create(g, NULL, &session));
    TC_TRY(tc_tensor_create_copy(TC_F32, TC_SHAPE(1, 4), (const float[]){1, 2, 3, 4}, &fed));
    TC_TRY(tc_tensor_create_copy(TC_I64, TC_SHAPE(1), &(int64_t){1}, &labels));
    TC_TRY(tc_session_run(session, TC_FEEDS({x, fed}), TC_FETCHES(y), TC_NO_TARGETS, &out, NULL));
    double last = tc_tensor_get(out, 3);
    tc_tensor_release(out);
    TC_TRY(tc_session_run(session, TC_FEEDS({x, fed}, {tc_graph_find(g, "labels"), labels}),
                          TC_NO_FETCHES, TC_TARGETS(tc_graph_find(g, "logits/matmul")), NULL,
                          NULL));
    tc_callable *callable;
    TC_TRY(tc_session_compile(session, TC_NO_FEEDS, TC_NO_FETCHES, TC_NO_TARGETS, NULL, &callable));
    tc_callable_release(callable);
    tc_tensor_release(fed);
    tc_tensor_release(labels);
    tc_session_release(session);
    return last == 8 ? TC_OK : TC_INTERNAL;
}

static const tc_port ports[] = {
    {.name = "x", .dtypes = TC_DTYPES_NUMBER, .flags = TC_PORT_OPTIONAL},
    {.name = "like", .dtypes = TC_DTYPES_ANY, .flags = TC_PORT_SHAPE_ONLY | TC_PORT_INITIAL},
    {.name = "variable", .dtypes = TC_DTYPES_FLOAT | TC_DTYPES_INT, .flags = TC_PORT_RESOURCE},
    {.name = "more",
     .dtypes = TC_DTYPES_INDEX | TC_DTYPES_SIGNED | TC_DTYPES_UNSIGNED | TC_DTYPES_BOOL |
               TC_DTYPE_BIT(TC_F16),
     .flags = TC_PORT_VARIADIC},
};
static const tc_op op = {
    .name = "own",
    TC_LIST(inputs, ports),
    .effects =
        TC_EFFECT_READ | TC_EFFECT_WRITE | TC_EFFECT_RANDOM | TC_EFFECT_IO | TC_EFFECT_COLLECTIVE,
    .flags = TC_OP_COMMUTATIVE | TC_OP_INTERNAL | TC_OP_ELEMENTWISE | TC_OP_VIEW,
    .grad = TC_GRAD_NONE,
};

/* A backend of one's own, which has no device. */
static tc_status no_devices(const tc_host *host, tc_backend **backend)
{
    *backend = NULL;
    return host->version == TC_BACKEND_VERSION ? TC_UNAVAILABLE : TC_FAILED_PRECONDITION;
}

static bool backends(void)
{
    tc_host host = {.version = TC_BACKEND_VERSION};
    tc_prepare prepare = {.device = TC_DEVICE_HOST, .allows = TC_ALLOW_TF32 | TC_ALLOW_ANY_ORDER};
    tc_backend_entry entry = no_devices;
    tc_backend *backend;
    return entry(&host, &backend) == TC_UNAVAILABLE && !backend && prepare.allows == 3 &&
           strcmp(TC_BACKEND_SYMBOL, "tensorc_backend") == 0;
}

static tc_graph *graph_with(void (*build)(tc_graph *g, tc_value x), tc_value *x)
{
    tc_graph *g = tc_graph_create();
    *x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    if (build)
        build(g, *x);
    return g;
}

static tc_status check(const char *what, tc_status status)
{
    if (status != TC_OK)
        fprintf(stderr, "%s: %s\n", what, tc_error_message());
    return status;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*build)(tc_graph *g, tc_value x);
    } parts[] = {{"elementwise", elementwise},
                 {"shapes", shapes},
                 {"images", matrices_and_images},
                 {"random", random_numbers},
                 {"functions", functions},
                 {"attention", attention},
                 {"training", NULL}};
    tc_value x;
    int failures = op.n_inputs != 4 || TC_MAX_RANK != 8 || !backends();
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        tc_graph *g = graph_with(parts[i].build, &x);
        if (!parts[i].build && !tc_value_ok(training(g, x)))
            failures++;
        if (!parts[i].build)
            failures += check("run", run(g, x)) != TC_OK;
        failures += check(parts[i].name, tc_graph_status(g)) != TC_OK;
        failures += check(parts[i].name, tc_graph_verify(g)) != TC_OK;
        tc_graph_release(g);
    }
    /* Its last product is of a vector: the one mistake of this program. */
    tc_graph *g = graph_with(reductions, &x);
    if (tc_graph_status(g) != TC_INVALID_ARGUMENT || !strstr(tc_graph_error(g), "'refused'"))
        failures++;
    tc_graph_release(g);
    printf("version %d.%d.%d, %d failures\n", TC_VERSION_MAJOR, TC_VERSION_MINOR, TC_VERSION_PATCH,
           failures);
    return failures != 0;
}
