/* `tensorc optimize` on files of both kinds: the table of passes, dumps, options, and what it says
 * of wrong ones. */
#include <tensorc/tensorc.h>

#include "integration/programs.h"

typedef struct fixture {
    char folder[TEST_PATH_SIZE], graph[TEST_PATH_SIZE], model[TEST_PATH_SIZE];
    char text[OUTPUT_SIZE];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    test_folder_create(f->folder);
    test_path(f->graph, f->folder, "graph.tc");
    test_path(f->model, f->folder, "model.tc");
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), TC_DIM("width")));
    tc_value w = tc_variable(g, "w", tc_fill(g, TC_F32, TC_SHAPE(8, 3), 0.5));
    tc_value y = tc_matmul(tc_neg(tc_neg(x)), w);
    tc_value z = tc_softmax(tc_pow(y, tc_constant_scalar(g, TC_F32, 2)));
    const tc_signature_port in = {"x", x}, out = {"z", z};
    const tc_signature signature = {"serve", &in, 1, &out, 1};
    tc_session *session;
    assert_ok(tc_graph_save(g, f->graph));
    assert_ok(tc_session_create(g, NULL, &session));
    assert_ok(tc_saved_model_save(session, f->model, &signature, 1));
    tc_session_release(session);
    tc_graph_release(g);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    test_folder_remove(f->folder);
    free(f);
    return 0;
}

static void expect(fixture *f, const char *const *arguments, int status)
{
    int actual = run_program("tensorc", arguments, f->folder, f->text);
    if (actual != status)
        print_error("%s\n", f->text);
    assert_int_equal(actual, status);
}

static void expect_text(const fixture *f, const char *text, bool there)
{
    if (!strstr(f->text, text) == there)
        print_error("%s\n%s '%s'\n", f->text, there ? "lacks" : "holds", text);
    assert_true(!strstr(f->text, text) != there);
}

static void test_files(void **state)
{
    fixture *f = *state;
    const char *const files[] = {f->graph, f->model};
    for (int i = 0; i < 2; i++) {
        expect(f, ARGS("optimize", files[i], "--batch", "16", "--dim", "width=8"), 0);
        expect_text(f, "simplify", true);
        expect_text(f, "place", true);
        expect_text(f, "peak", true);
        expect_text(f, "[16, 8]", true); /* the feed of the plan */
    }
}

static void test_options(void **state)
{
    fixture *f = *state;
    expect(f, ARGS("optimize", "--level", "none", f->model, "--dim", "width=8"), 0);
    expect_text(f, "simplify", false);
    expect_text(f, "pow", true);
    expect(f, ARGS("optimize", "--passes", "strength", f->model, "--dim", "width=8"), 0);
    expect_text(f, "pow", true);
    expect(f, ARGS("optimize", "--precision", "bf16", f->model, "--dim", "width=8", "--dim", "n=4"),
           0);
    expect_text(f, "bf16", true);
    expect(f,
           ARGS("optimize", "--dump-passes", f->model, "--signature", "serve", "--dim", "width=8"),
           0);
    expect_text(f, "# after extract", true);
    expect_text(f, "# after simplify", true);
    expect_text(f, "# after mode", false); /* it changed nothing */
    expect(f, ARGS("optimize", "--format", "dot", f->graph, "--dim", "width=8"), 0);
    expect_text(f, "kernels ", false); /* the plan alone, for programs to read */
    expect(f, ARGS("optimize", "--format", "json", f->graph, "--dim", "width=8"), 0);
    expect_text(f, "kernels ", false);
}

static void test_wrong(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *option, *argument, *text;
        int status;
    } wrong[] = {
        {"--level", "most", "none, basic or full", 2},
        {"--precision", "i8", "f32, bf16 or f16", 2},
        {"--format", "png", "text, dot or json", 2},
        {"--batch", "-3", "0 or more", 2},
        {"--dim", "8", "NAME=SIZE", 2},
        {"--speed", "9", "no such option", 2},
        {"--passes", "magic", "'magic' is no pass", 1},
        {"--signature", "train", "no signature 'train'; it has 'serve'", 1},
        {"--dim", "width=7", "inner dimensions", 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        expect(f, ARGS("optimize", f->model, wrong[i].option, wrong[i].argument), wrong[i].status);
        expect_text(f, wrong[i].text, true);
    }
    expect(f, ARGS("optimize"), 2);
    expect_text(f, "give a graph or saved model", true);
    expect(f, ARGS("optimize", f->model, "--level"), 2);
    expect(f, ARGS("optimize", f->model, f->graph), 2);
    expect(f, ARGS("optimize", f->graph, "--signature", "serve"), 2);
    expect(f, ARGS("optimize", f->folder), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_files), TEST(test_options), TEST(test_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
