/* Plans as text, JSON and drawings. */
#include <ctype.h>

#include "compiler/plan_test.h"
#include "support/json.h"

static char *dump(const tc_plan *plan, tc_dump_format format)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    assert_ok(tc_plan_print(plan, format, file));
    fclose(file);
    return text;
}

/* Two kernels in the arena, one into an output, a commit. */
static tc_plan *plan_all(fixture *f)
{
    tc_value odd = tc_variable(f->graph, "odd", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 1));
    tc_value half = tc_constant_scalar(f->graph, TC_F32, 0.5);
    request_fetch(&f->r, tc_mul(tc_tanh(tc_mul(tc_exp(f->x), f->v)), half));
    request_target(&f->r, tc_assign(odd, f->w));
    return plan_of(f);
}

static int count(const char *text, const char *part)
{
    int found = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        found++;
    return found;
}

static void test_text(void **state)
{
    fixture *f = *state;
    tc_plan *plan = plan_all(f);
    char *text = dump(plan, TC_DUMP_TEXT), line[200];
    snprintf(line, sizeof line, "plan: %d steps (%d compute, 1 commit)", (int)plan->n_steps,
             (int)plan->n_compute);
    assert_non_null(strstr(text, line));
    snprintf(line, sizeof line, "memory: arena %zu bytes (%.2f MB)", plan->arena_bytes,
             (double)plan->arena_bytes / 1e6);
    assert_non_null(strstr(text, line));
    assert_int_equal(count(text, "  compute  "), plan->n_compute);
    assert_int_equal(count(text, "  commit  "), 1);
    assert_int_equal(count(text, "<- peak"), 1);
    assert_non_null(strstr(text, "(feed 'x' f32[8, 4] 128 B) -> arena+0 f32[8, 4] 128 B"));
    assert_non_null(strstr(text, "variable 'v' f32[4] 16 B"));
    assert_non_null(strstr(text, "output 'mul_1' f32[8, 4] 128 B"));
    free(text);
}

static void test_json(void **state)
{
    fixture *f = *state;
    tc_plan *plan = plan_all(f);
    char *text = dump(plan, TC_DUMP_JSON), line[200];
    const char *end = json_value(text);
    assert_non_null(end);
    assert_string_equal(json_space(end), "");
    assert_int_equal(count(text, "\"part\":\"compute\""), plan->n_compute);
    assert_int_equal(count(text, "\"place\":"), plan->n_buffers);
    assert_int_equal(count(text, "\"written\":true"), 1);
    snprintf(line, sizeof line, "\"arena_bytes\":%zu,\"live_bytes\":%zu", plan->arena_bytes,
             plan->live_bytes);
    assert_non_null(strstr(text, line));
    assert_non_null(strstr(text, "\"name\":\"odd\""));
    assert_non_null(strstr(text, "\"dtype\":\"f32\",\"shape\":[8,4]"));
    free(text);
}

/* Quoted strings, then words and punctuation that the language knows; braces and brackets match. */
static void test_dot(void **state)
{
    fixture *f = *state;
    tc_plan *plan = plan_all(f);
    char *text = dump(plan, TC_DUMP_DOT);
    int depth = 0, brackets = 0;
    for (const char *at = text; *at; at++) {
        if (*at == '"') {
            at = json_string(at);
            assert_non_null(at);
            at--;
            continue;
        }
        depth += (*at == '{') - (*at == '}');
        brackets += (*at == '[') - (*at == ']');
        assert_true(depth >= 0 && brackets >= 0 && brackets <= 1);
        assert_non_null(strchr("{}[]=,;-> \n_", *at) || isalnum((unsigned char)*at) ? at : NULL);
    }
    assert_int_equal(depth, 0);
    assert_memory_equal(text, "digraph plan {", 14);
    assert_int_equal(count(text, "\n  s0 -> s1;"), 1);
    assert_int_equal(count(text, "feed0 -> s0;"), 1);
    for (int32_t i = 0; i < plan->n_steps; i++) {
        char line[40];
        snprintf(line, sizeof line, "\n  s%d [label=", (int)i);
        assert_int_equal(count(text, line), 1);
    }
    free(text);
}

static void test_what_is_computed_again(void **state)
{
    fixture *f = *state;
    tc_value early = tc_exp(f->x);
    tc_annotate(early, "rematerialize", "always");
    tc_value wide =
        tc_matmul(tc_reshape(early, TC_SHAPE(32, 1)), tc_reshape(f->x, TC_SHAPE(1, 32)));
    wide = tc_matmul(wide, tc_softmax(wide));
    request_fetch(&f->r, tc_mul(early, tc_reduce_sum(wide)));
    f->r.request.disable_passes = NULL;
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->recomputed, 1);
    char *text = dump(plan, TC_DUMP_TEXT);
    assert_int_equal(count(text, "  again"), 1);
    assert_non_null(strstr(text, "1 of them computed again"));
    free(text);
    text = dump(plan, TC_DUMP_JSON);
    assert_int_equal(count(text, "\"again\":true"), 1);
    free(text);
    text = dump(plan, TC_DUMP_DOT);
    assert_int_equal(count(text, "style=dashed"), 1);
    free(text);
}

static void test_devices(void **state)
{
    fixture *f = *state;
    f->target = fake_devices(2, 1);
    f->target.cpu_only = "tanh";
    tc_plan *plan = plan_all(f);
    char *text = dump(plan, TC_DUMP_TEXT);
    assert_int_equal(count(text, "\ncuda:0:\n"), 3);
    assert_int_equal(count(text, "\ncpu, when the others are done:\n"), 1);
    assert_int_equal(count(text, "  transfer '"), plan->n_transfers);
    assert_non_null(strstr(text, "memory on cuda:0: arena 128 bytes"));
    assert_non_null(strstr(text, "between devices: 4 segments, 4 transfers, 512 bytes per run"));
    assert_non_null(strstr(text, "variable 'v' on cuda:0 f32[4] 16 B"));
    free(text);
    text = dump(plan, TC_DUMP_JSON);
    assert_string_equal(json_space(json_value(text)), "");
    assert_int_equal(count(text, "\"waits\":"), plan->n_segments);
    assert_int_equal(count(text, "\"device\":\"c"),
                     plan->n_steps + plan->n_buffers + plan->n_segments);
    free(text);
    text = dump(plan, TC_DUMP_DOT);
    assert_int_equal(count(text, "shape=box3d"), plan->n_steps - 1);
    free(text);
}

static void test_bad_format(void **state)
{
    fixture *f = *state;
    assert_status(tc_plan_print(plan_all(f), (tc_dump_format)7, stdout), TC_INVALID_ARGUMENT);
    assert_error_contains("dump format 7");
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        setvbuf(full, NULL, _IONBF, 0);
        assert_status(tc_plan_print(f->plan, TC_DUMP_JSON, full), TC_UNAVAILABLE);
        fclose(full);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_text),    TEST(test_json),
        TEST(test_dot),     TEST(test_what_is_computed_again),
        TEST(test_devices), TEST(test_bad_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
