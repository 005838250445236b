/* Graphs over the CPU and two devices, each against the same graph on the CPU alone: the same bits
 * in every fetch and variable, run after run, wherever the rest of the nodes go. */
#include "devices_test.h"

#include "base/status.h"

enum { MOST = 12, RUNS = 4 };

/* What a graph is asked for. */
typedef struct asked {
    tc_graph *graph;
    bool devices; /* or everything is on the CPU */
    tc_feed feeds[3];
    tc_value fetches[MOST];
    tc_value targets[4];
    size_t n_feeds, n_fetches, n_targets;
    tc_mode mode;
} asked;

static void on(const asked *a, const char *device)
{
    tc_device_push(a->graph, a->devices ? device : "cpu");
}

static void done(const asked *a)
{
    tc_device_pop(a->graph);
}

static void fetch(asked *a, tc_value value)
{
    assert_true(a->n_fetches < MOST);
    a->fetches[a->n_fetches++] = value;
}

static void feed(asked *a, tc_value value, tc_shape shape)
{
    tc_feed *f = &a->feeds[a->n_feeds++];
    f->value = value;
    assert_ok(tc_tensor_create(TC_F32, shape, &f->tensor));
    for (int64_t i = 0; i < tc_tensor_size(f->tensor); i++)
        assert_ok(tc_tensor_set(f->tensor, i, (double)(i * 7 % 11) / 4 - 1));
}

static tc_value counting(tc_graph *g, tc_shape shape)
{
    float values[12];
    for (int i = 0; i < 12; i++)
        values[i] = (float)i / 2 - 2;
    return tc_constant_data(g, TC_F32, shape, values);
}

/* A diamond, of which everything is fetched, some of it twice, and views, feeds and constants. */
static void diamond(asked *a)
{
    tc_graph *g = a->graph;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), 4));
    feed(a, x, TC_SHAPE(3, 4));
    on(a, "loop:0");
    tc_value left = tc_tanh(tc_add(x, counting(g, TC_SHAPE(4))));
    tc_value view = tc_reshape(left, TC_SHAPE(-1)), constant = counting(g, TC_SHAPE(2, 3));
    done(a);
    on(a, "loop:1");
    tc_value right = tc_mul(x, left);
    tc_value again = tc_exp(view);
    done(a);
    on(a, "loop:0");
    tc_value sum = tc_add(right, left), row = tc_slice(sum, TC_INTS(1, 0), TC_INTS(3, 4));
    tc_value same = tc_identity(x);
    done(a);
    on(a, "loop:1");
    tc_value joined = tc_concat(TC_VALUES(left, tc_neg(x), right), 1);
    done(a);
    const tc_value all[] = {left, right, sum, sum, view, again, x, constant, row, same, joined};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        fetch(a, all[i]);
}

/* Variables read on every device and written on one; what they were and what they become. */
static void variables(asked *a)
{
    tc_graph *g = a->graph;
    on(a, "loop:0");
    tc_value v = tc_variable(g, "v", counting(g, TC_SHAPE(4)));
    tc_value first = tc_assign_add(v, tc_mul(v, v));
    done(a);
    on(a, "loop:1");
    tc_value half = tc_mul(v, tc_constant_scalar(g, TC_F32, 0.5));
    tc_value seen = tc_neg(first);
    tc_value w = tc_variable(g, "w", tc_ones(g, TC_F32, TC_SHAPE(4)));
    done(a);
    tc_value here = tc_add(v, half);
    tc_value second = tc_assign(v, tc_mul(half, w)); /* where the first is */
    on(a, "cpu");
    tc_value u = tc_variable(g, "u", tc_zeros(g, TC_F32, TC_SHAPE(4)));
    tc_value update = tc_assign_sub(u, second);
    done(a);
    const tc_value all[] = {v, first, half, seen, here, second, w, update, u, update};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        fetch(a, all[i]);
}

/* Contents change places, and nothing is fetched. */
static void exchange(asked *a)
{
    const char *const names[] = {"loop:0", "loop:1", "cpu"};
    tc_graph *g = a->graph;
    tc_value v[3];
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "v%d", i);
        on(a, names[i]);
        v[i] = tc_variable(g, name, tc_fill(g, TC_F32, TC_SHAPE(5), i + 1));
        done(a);
    }
    for (int i = 0; i < 3; i++) {
        on(a, names[i]);
        a->targets[a->n_targets++] = tc_assign(v[i], v[(i + 1) % 3]);
        done(a);
    }
}

/* Orders across devices. */
static void controls(asked *a)
{
    tc_graph *g = a->graph;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(4));
    feed(a, x, TC_SHAPE(4));
    on(a, "loop:0");
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(4)));
    tc_value up = tc_assign_add(v, x);
    done(a);
    on(a, "loop:1");
    tc_value w = tc_variable(g, "w", tc_zeros(g, TC_F32, TC_SHAPE(4)));
    done(a);
    tc_control_push(g, TC_VALUES(up));
    on(a, "loop:1");
    tc_value after = tc_mul(x, x);
    tc_value next = tc_assign_add(w, after);
    done(a);
    tc_control_pop(g);
    tc_value both = tc_group(g, TC_VALUES(up, next));
    tc_control_push(g, TC_VALUES(both));
    on(a, "loop:0");
    fetch(a, tc_add(after, v));
    done(a);
    tc_control_pop(g);
    a->targets[a->n_targets++] = both;
}

/* Functions whose bodies are on devices, called on others, with state and random numbers inside. */
static void functions(asked *a)
{
    tc_graph *g = a->graph;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(3, 4));
    feed(a, x, TC_SHAPE(3, 4));
    on(a, "loop:1");
    tc_value v = tc_variable(g, "v", tc_random_normal(g, TC_F32, TC_SHAPE(4, 4)));
    done(a);
    tc_graph *body = tc_function_begin(g, "block");
    tc_value h = tc_parameter(body, "h", TC_F32, TC_SHAPE(-1, 4));
    tc_device_push(body, a->devices ? "loop:0" : "cpu");
    tc_value product = tc_matmul(h, v);
    tc_device_pop(body);
    tc_function_end(body, TC_VALUES(tc_dropout(product, 0.25), tc_relu(h)));
    tc_value once = tc_call(g, "block", TC_VALUES(x));
    on(a, "loop:1");
    tc_value twice = tc_call(g, "block", TC_VALUES(tc_output(once, 1)));
    done(a);
    fetch(a, once);
    fetch(a, tc_output(once, 1));
    fetch(a, twice);
    fetch(a, tc_random_uniform_like(twice));
    a->targets[a->n_targets++] = tc_assign_sub(v, tc_matmul(twice, once, .transpose_a = true));
    a->mode = TC_MODE_TRAINING;
}

/* Nothing to compute with, and scalars. */
static void small(asked *a)
{
    tc_graph *g = a->graph;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), 4));
    tc_value k = tc_placeholder(g, "k", TC_F32, TC_SCALAR);
    feed(a, x, TC_SHAPE(0, 4));
    feed(a, k, TC_SCALAR);
    on(a, "loop:0");
    tc_value none = tc_mul(tc_exp(x), k);
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(0, 4)));
    tc_value e = tc_assign_add(v, none);
    tc_value s = tc_variable(g, "s", tc_ones(g, TC_F32, TC_SCALAR));
    done(a);
    on(a, "loop:1");
    tc_value sum = tc_reduce_sum(tc_neg(none));
    tc_value all = tc_concat(TC_VALUES(none, counting(g, TC_SHAPE(2, 4))), 0);
    done(a);
    fetch(a, none);
    fetch(a, sum);
    fetch(a, all);
    fetch(a, e);
    fetch(a, tc_assign_add(s, tc_add(sum, k)));
    fetch(a, v);
    fetch(a, s);
}

/* Values in the midst are fed: one of a device, a view, an update. */
static void fed(asked *a)
{
    tc_graph *g = a->graph;
    on(a, "loop:0");
    tc_value v = tc_variable(g, "v", tc_ones(g, TC_F32, TC_SHAPE(3, 4)));
    tc_value inner = tc_exp(v), view = tc_reshape(inner, TC_SHAPE(12));
    tc_value up = tc_assign_add(v, inner);
    done(a);
    on(a, "loop:1");
    tc_value w = tc_mul(view, view);
    tc_value z = tc_add(up, inner);
    done(a);
    feed(a, view, TC_SHAPE(12));
    feed(a, up, TC_SHAPE(3, 4));
    feed(a, inner, TC_SHAPE(3, 4));
    fetch(a, w);
    fetch(a, z);
    fetch(a, view);
    fetch(a, up);
    fetch(a, v);
}

/* Sizes that depend on elements, with state of all devices before and after. */
static void stages(asked *a)
{
    tc_graph *g = a->graph;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    feed(a, x, TC_SHAPE(12));
    on(a, "loop:0");
    tc_value v = tc_variable(g, "v", counting(g, TC_SHAPE(12)));
    tc_value y = tc_mul(x, v);
    tc_value noise = tc_random_normal_like(y);
    done(a);
    on(a, "loop:1");
    tc_value kept = tc_boolean_mask(tc_add(y, noise), tc_greater(noise, tc_zeros_like(noise)));
    tc_value w = tc_variable(g, "w", tc_ones(g, TC_F32, TC_SCALAR));
    tc_value scaled = tc_mul(kept, w);
    done(a);
    on(a, "loop:0");
    tc_value less = tc_boolean_mask(scaled, tc_greater(scaled, tc_zeros_like(scaled)));
    tc_value sum = tc_reduce_sum(less);
    fetch(a, tc_assign_add(v, tc_mul(sum, x)));
    done(a);
    on(a, "loop:1");
    fetch(a, tc_assign(w, tc_tanh(sum)));
    done(a);
    const tc_value all[] = {y, kept, kept, scaled, less, sum, v};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        fetch(a, all[i]);
}

/* Parts of one memory that are made and read on different devices. */
static void parts(asked *a)
{
    tc_graph *g = a->graph;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(6, 4));
    feed(a, x, TC_SHAPE(6, 4));
    on(a, "loop:0");
    tc_value y = tc_exp(x);
    tc_value split = tc_split(y, 0, 3);
    const tc_value part[] = {split, tc_output(split, 1), tc_output(split, 2)};
    done(a);
    on(a, "loop:1");
    tc_value a1 = tc_neg(part[1]);
    done(a);
    on(a, "cpu");
    tc_value a2 = tc_tanh(part[2]);
    tc_value joined = tc_concat(TC_VALUES(part[0], a1, a2), 0);
    done(a);
    on(a, "loop:0");
    tc_value again = tc_concat(TC_VALUES(a2, joined, part[1], part[1]), 0);
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(12, 4)));
    tc_value up = tc_assign_add(v, again);
    done(a);
    on(a, "loop:1");
    fetch(a, tc_mul(again, up));
    done(a);
    fetch(a, joined);
    fetch(a, part[1]);
    fetch(a, part[0]);
    fetch(a, again);
    fetch(a, tc_slice(up, TC_INTS(3, 1), TC_INTS(5, 3)));
}

typedef struct seen {
    tc_tensor *outputs[RUNS][MOST];
    contents after;
} seen;

static void observe(void (*build)(asked *), const tc_session_options *options, bool devices,
                    tc_profile *profile, seen *s)
{
    asked a = {.graph = tc_graph_create(), .devices = devices};
    tc_session *session;
    *s = (seen){0};
    build(&a);
    assert_ok(tc_graph_status(a.graph));
    assert_ok(tc_session_create(a.graph, options, &session));
    const tc_run_options with = {.struct_size = sizeof with, .mode = a.mode, .profile = profile};
    for (int i = 0; i < RUNS; i++)
        assert_ok(tc_session_run(session, a.feeds, a.n_feeds, a.fetches, a.n_fetches, a.targets,
                                 a.n_targets, s->outputs[i], &with));
    s->after = contents_of(session);
    for (size_t i = 0; i < a.n_feeds; i++)
        tc_tensor_release(a.feeds[i].tensor);
    tc_session_release(session);
    tc_graph_release(a.graph);
}

static void seen_free(seen *s)
{
    for (int i = 0; i < RUNS; i++)
        for (int k = 0; k < MOST; k++)
            tc_tensor_release(s->outputs[i][k]);
    contents_free(&s->after);
}

static void compare(const seen *is, const seen *expected)
{
    for (int i = 0; i < RUNS; i++)
        for (int k = 0; k < MOST; k++) {
            tc_tensor *a = is->outputs[i][k], *b = expected->outputs[i][k];
            assert_true(!a == !b);
            if (!a)
                continue;
            assert_int_equal(tc_tensor_bytes(a), tc_tensor_bytes(b));
            for (int64_t e = 0; e < tc_tensor_size(a); e++)
                if (tc_tensor_get(a, e) != tc_tensor_get(b, e))
                    fail_msg("run %d, fetch %d, element %d: %g, not %g", i, k, (int)e,
                             tc_tensor_get(a, e), tc_tensor_get(b, e));
        }
    assert_true(contents_equal(&is->after, &expected->after));
}

static void check(void (*build)(asked *))
{
    const char *const rest[] = {"cpu", "loop:0", "loop:1", "auto"};
    tc_profile *profile;
    assert_ok(tc_profile_create(&profile));
    for (int way = 0; way < 32; way++) {
        tc_session_options o = {.struct_size = sizeof o,
                                .optimization =
                                    way & 4 ? TC_OPTIMIZATION_BASIC : TC_OPTIMIZATION_NONE};
        seen expected, is;
        loopback_reset(&(loopback_options){
            .n_devices = 2, .deferred = way & 8, .without = way & 4 ? ",add,exp," : NULL});
        observe(build, &o, false, NULL, &expected);
        o.device = rest[way & 3];
        observe(build, &o, true, way & 16 ? profile : NULL, &is);
        compare(&is, &expected);
        seen_free(&is);
        seen_free(&expected);
        assert_clean();
    }
    tc_profile_destroy(profile);
}

#define MIXED(name)                             \
    static void test_mixed_##name(void **state) \
    {                                           \
        (void)state;                            \
        check(name);                            \
    }
MIXED(diamond)
MIXED(variables)
MIXED(exchange)
MIXED(controls)
MIXED(functions)
MIXED(small)
MIXED(fed)
MIXED(stages)
MIXED(parts)

/* A fault that one device finds, while each of them updates variables: on `places[0]` the lookup
 * and a variable, on the others one more each, of which the first needs nothing of the lookup
 * unless it `follows`. The sentence of the failure goes to `message`. */
static void check_fault(const char *const places[3], bool follows, char *message)
{
    const int32_t rows[2][2] = {{1, 3}, {1, 4}};
    tc_graph *g = tc_graph_create();
    tc_value v[3], up[3], i = tc_placeholder(g, "i", TC_I32, TC_SHAPE(2)), found;
    tc_tensor *feeds[2], *out = NULL;
    for (int k = 0; k < 3; k++) {
        char name[8];
        snprintf(name, sizeof name, "v%d", k);
        tc_device_push(g, places[k]);
        v[k] = tc_variable(g, name, tc_ones(g, TC_F32, TC_SHAPE(4, 2)));
        if (k == 0)
            found = tc_gather(v[0], i);
        tc_value delta = tc_exp(v[k]);
        up[k] =
            tc_assign_sub(v[k], k == 1 && follows ? tc_add(delta, tc_reduce_sum(found)) : delta);
        tc_device_pop(g);
    }
    assert_ok(tc_graph_status(g));
    for (int k = 0; k < 2; k++)
        assert_ok(tc_tensor_create_copy(TC_I32, TC_SHAPE(2), rows[k], &feeds[k]));
    tc_session *s = session_on(g, NULL);
    for (int k = 0; k < RUNS; k++) {
        assert_ok(tc_session_run(s, TC_FEEDS({i, feeds[0]}), TC_FETCHES(found), up, 3, &out, NULL));
        contents before = contents_of(s);
        assert_status(
            tc_session_run(s, TC_FEEDS({i, feeds[1]}), TC_FETCHES(found), up, 3, &out, NULL),
            TC_INVALID_ARGUMENT);
        snprintf(message, TC_ERROR_MESSAGE_SIZE, "%s", tc_error_message());
        contents after = contents_of(s);
        assert_int_equal(after.step, k + 1);
        assert_true(contents_equal(&before, &after));
        contents_free(&before);
        contents_free(&after);
    }
    tc_tensor_release(out);
    for (int k = 0; k < 2; k++)
        tc_tensor_release(feeds[k]);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_mixed_faults(void **state)
{
    const char *const cpu[] = {"cpu", "cpu", "cpu"};
    const char *const places[][3] = {{"loop:0", "loop:1", "cpu"},
                                     {"loop:1", "loop:1", "loop:0"},
                                     {"loop:0", "loop:0", "loop:0"},
                                     {"cpu", "loop:0", "loop:1"}};
    (void)state;
    for (size_t way = 0; way < 16; way++) {
        char expected[TC_ERROR_MESSAGE_SIZE], message[TC_ERROR_MESSAGE_SIZE];
        loopback_reset(&(loopback_options){.n_devices = 2, .deferred = way & 4});
        check_fault(cpu, way & 8, expected);
        check_fault(places[way & 3], way & 8, message);
        assert_string_equal(message, expected);
        assert_clean();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_diamond),   cmocka_unit_test(test_mixed_variables),
        cmocka_unit_test(test_mixed_exchange),  cmocka_unit_test(test_mixed_controls),
        cmocka_unit_test(test_mixed_functions), cmocka_unit_test(test_mixed_small),
        cmocka_unit_test(test_mixed_fed),       cmocka_unit_test(test_mixed_stages),
        cmocka_unit_test(test_mixed_parts),     cmocka_unit_test(test_mixed_faults),
    };
    return cmocka_run_group_tests_name("devices_mixed", tests, NULL, NULL);
}
