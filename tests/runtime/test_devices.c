/* Finding devices: backends that are linked in, plug-ins that are found, or are not. */
#include "../support/loopback.h"
#include "../support/test.h"
#include <unistd.h>

#include <tensorc/ops.h>

#include "runtime/runtime.h"

static void test_devices_none(void **state)
{
    tc_device_info infos[4];
    size_t count;
    char why[1024] = "";
    (void)state;
    setenv("TENSORC_PLUGIN_PATH", "/nonexistent:relative:/also/nonexistent", 1);
    assert_int_equal(tc_error_take(NULL, 0), TC_OK);
    assert_ok(tc_device_list(NULL, infos, 4, &count, why, sizeof why));
    assert_int_equal(count, 1);
    assert_string_equal(infos[0].name, "cpu");
    assert_non_null(strstr(why, "cuda: there is no plug-in libtensorc_cuda.so in"));
    assert_non_null(strstr(why, "/nonexistent:relative:/also/nonexistent"));
    assert_string_equal(tc_error_message(), ""); /* it is no error */
    unsetenv("TENSORC_PLUGIN_PATH");
}

static void check_why(const char *folder, const char *expected)
{
    char why[2048] = "";
    size_t count;
    setenv("TENSORC_PLUGIN_PATH", folder, 1);
    assert_ok(tc_device_list(NULL, NULL, 0, &count, why, sizeof why));
    assert_int_equal(count, 1);
    if (!strstr(why, expected))
        print_error("\"%s\" lacks \"%s\"\n", why, expected);
    assert_non_null(strstr(why, expected));
    unsetenv("TENSORC_PLUGIN_PATH");
}

/* A file that is no library is told of; one of the working directory is not even looked at. */
static void test_devices_broken_plugin(void **state)
{
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE], old[TEST_PATH_SIZE];
    (void)state;
    test_folder_create(folder);
    test_file_write(test_path(path, folder, "libtensorc_cuda.so"), "no library", 10);
    check_why(folder, "libtensorc_cuda.so cannot be loaded: ");
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(folder), 0);
    check_why(".::", "there is no plug-in");
    check_why("", "there is no plug-in");
    assert_int_equal(chdir(old), 0);
    test_folder_remove(folder);
}

static void test_devices_loopback(void **state)
{
    tc_device_info infos[4];
    size_t count;
    (void)state;
    loopback_reset(&(loopback_options){.n_devices = 2});
    tc_runtime *runtime;
    assert_ok(tc_runtime_create(NULL, &runtime));
    assert_ok(tc_device_list(runtime, infos, 2, &count, NULL, 0));
    assert_int_equal(count, 3);
    assert_string_equal(infos[1].name, "loop:0");
    assert_int_equal(infos[1].type, LOOPBACK_TYPE);
    assert_int_equal(infos[1].memory_bytes, (size_t)1 << 30);
    assert_ok(tc_device_list(runtime, infos, 4, &count, NULL, 0));
    assert_string_equal(infos[2].name, "loop:1");
    assert_int_equal(infos[2].index, 1);

    tc_devices *devices;
    assert_ok(tc_runtime_devices(runtime, &devices));
    assert_int_equal(tc_devices_find(devices, "cpu"), 0);
    assert_int_equal(tc_devices_find(devices, "cpu:0"), 0);
    assert_int_equal(tc_devices_find(devices, "loop"), 1);
    assert_int_equal(tc_devices_find(devices, "loop:1"), 2);
    assert_int_equal(tc_devices_find(devices, "loop:2"), -1);
    assert_int_equal(tc_devices_find(devices, "loop:"), -1);
    assert_int_equal(tc_devices_find(devices, "lo"), -1);
    assert_int_equal(tc_devices_find(devices, ""), -1);
    const tc_kernel *kernel = tc_devices_kernel(devices, 1, "relu", TC_F32);
    assert_non_null(kernel);
    assert_int_equal(kernel->device, LOOPBACK_TYPE);
    assert_null(tc_devices_kernel(devices, 1, "nonzero", TC_F32));
    tc_runtime_release(runtime);
    assert_string_equal(loopback_violation(), "");
}

static tc_status refuses(const tc_host *host, tc_backend **out)
{
    *out = NULL;
    va_list none;
    memset(&none, 0, sizeof none);
    return (host->fail)(TC_UNAVAILABLE, "toaster: there is no bread", none);
}

static tc_status speechless(const tc_host *host, tc_backend **out)
{
    (void)host;
    *out = NULL;
    return TC_UNAVAILABLE;
}

static tc_status older(const tc_host *host, tc_backend **out)
{
    *out = NULL;
    return host->version == TC_BACKEND_VERSION ? TC_FAILED_PRECONDITION : TC_OK;
}

/* Lacks all functions. */
static tc_status hollow(const tc_host *host, tc_backend **out)
{
    static tc_backend backend = {.name = "hollow", .type = (tc_device_type)78, .n_devices = 1};
    (void)host;
    *out = &backend;
    return TC_OK;
}

static void test_devices_register(void **state)
{
    char why[1024];
    size_t count;
    (void)state;
    loopback_reset(NULL);
    assert_status(tc_backend_register(NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_backend_register(loopback_entry), TC_ALREADY_EXISTS);
    assert_ok(tc_backend_register(refuses));
    assert_ok(tc_backend_register(speechless));
    assert_ok(tc_backend_register(hollow));
    assert_ok(tc_backend_register(older));
    assert_ok(tc_device_list(NULL, NULL, 0, &count, why, sizeof why));
    assert_int_equal(count, 2);
    assert_non_null(strstr(why, "toaster: there is no bread"));
    assert_non_null(strstr(why, "tells no reason"));
    assert_non_null(strstr(why, "is for another version of libtensorc"));
    assert_non_null(strstr(why, "'hollow' lacks a function"));
    assert_non_null(strstr(why, "cuda: "));
}

static void test_devices_session_option(void **state)
{
    (void)state;
    loopback_reset(NULL);
    tc_graph *g = tc_graph_create();
    tc_session *s;
    assert_true(tc_graph_status(g) == TC_OK);
    tc_session_options o = {.struct_size = sizeof o, .device = "loop:1"};
    assert_status(tc_session_create(g, &o, &s), TC_INVALID_ARGUMENT);
    assert_error_contains("there is no device 'loop:1'; the devices are: cpu, loop:0. ");
    assert_error_contains("cuda: "); /* and why not */
    assert_null(s);
    const char *const good[] = {"cpu", "cpu:0", "loop", "loop:0", "auto", NULL};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        o.device = good[i];
        assert_ok(tc_session_create(g, &o, &s));
        tc_session_release(s);
    }
    /* Of a node, told when it is to run. */
    tc_tensor *out = NULL;
    tc_device_push(g, "cuda:3");
    tc_value y = tc_exp(tc_ones(g, TC_F32, TC_SHAPE(2)));
    tc_device_pop(g);
    assert_ok(tc_session_create(g, NULL, &s));
    assert_status(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(y), TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("(tests/runtime/test_devices.c:");
    assert_error_contains("there is no device 'cuda:3'; the devices are: cpu, loop:0. cuda: ");
    tc_session_release(s);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices_none),     cmocka_unit_test(test_devices_broken_plugin),
        cmocka_unit_test(test_devices_loopback), cmocka_unit_test(test_devices_session_option),
        cmocka_unit_test(test_devices_register),
    };
    return cmocka_run_group_tests_name("devices", tests, NULL, NULL);
}
