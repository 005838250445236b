#include "base/cpu.h"

#include <sched.h>
#include <sys/stat.h>

#include "support/test.h"

static void test_cpu_names(void **state)
{
    assert_string_equal(tc_isa_name(TC_ISA_SCALAR), "scalar");
    assert_string_equal(tc_isa_name(TC_ISA_AVX2), "avx2");
    assert_string_equal(tc_isa_name(TC_ISA_AVX512), "avx512");
    assert_string_equal(tc_isa_name(TC_ISA_NEON), "neon");
    assert_string_equal(tc_isa_name((tc_isa)-1), "unknown");
}

static void test_cpu_levels_include_those_below(void **state)
{
    assert_true(tc_cpu_supports(TC_ISA_SCALAR));
    assert_true(tc_cpu_supports(tc_cpu_isa()));
    if (tc_cpu_supports(TC_ISA_AVX512))
        assert_true(tc_cpu_supports(TC_ISA_AVX2));
    assert_false(tc_cpu_supports(TC_ISA_AVX2) && tc_cpu_supports(TC_ISA_NEON));
    assert_false(tc_cpu_supports(TC_ISA_COUNT));
}

static void test_cpu_selected(void **state)
{
    tc_isa isa = TC_ISA_COUNT;
    char *before = getenv("TENSORC_CPU_ISA");
    char *saved = before ? strdup(before) : NULL;
    unsetenv("TENSORC_CPU_ISA");
    assert_ok(tc_cpu_isa_selected(&isa));
    assert_int_equal(isa, tc_cpu_isa());
    setenv("TENSORC_CPU_ISA", "", 1);
    assert_ok(tc_cpu_isa_selected(&isa));
    assert_int_equal(isa, tc_cpu_isa());
    for (int level = 0; level < TC_ISA_COUNT; level++) {
        setenv("TENSORC_CPU_ISA", tc_isa_name((tc_isa)level), 1);
        if (tc_cpu_supports((tc_isa)level)) {
            assert_ok(tc_cpu_isa_selected(&isa));
            assert_int_equal(isa, level);
        } else {
            assert_status(tc_cpu_isa_selected(&isa), TC_UNAVAILABLE);
            assert_error_contains(tc_isa_name((tc_isa)level));
        }
    }
    isa = TC_ISA_COUNT;
    setenv("TENSORC_CPU_ISA", "sse9", 1);
    assert_status(tc_cpu_isa_selected(&isa), TC_INVALID_ARGUMENT);
    assert_error_contains("'sse9'");
    assert_error_contains("scalar, avx2, avx512 and neon");
    assert_int_equal(isa, TC_ISA_COUNT);
    if (saved)
        setenv("TENSORC_CPU_ISA", saved, 1);
    else
        unsetenv("TENSORC_CPU_ISA");
    free(saved);
}

static void test_cpu_count(void **state)
{
    int count = tc_cpu_count();
    assert_true(count >= 1);
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        skip();
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(tc_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(tc_cpu_count(), count);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[TEST_PATH_SIZE];
    test_path(path, folder, name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    test_file_write(path, text, strlen(text));
}

static int quota(const char *folder)
{
    char self[TEST_PATH_SIZE], mount[TEST_PATH_SIZE];
    return tc_cpu_quota(test_path(self, folder, "self"), test_path(mount, folder, "mount"));
}

static void test_cpu_quota_version_2(void **state)
{
    char folder[TEST_PATH_SIZE];
    test_folder_create(folder);
    assert_int_equal(quota(folder), 0); /* nothing there */
    write_text(folder, "self", "0::/user/job\n");
    assert_int_equal(quota(folder), 0);
    write_text(folder, "mount/user/job/cpu.max", "max 100000\n");
    assert_int_equal(quota(folder), 0);
    write_text(folder, "mount/user/job/cpu.max", "250000 100000\n");
    assert_int_equal(quota(folder), 3); /* rounded up */
    write_text(folder, "mount/user/cpu.max", "200000 100000\n");
    assert_int_equal(quota(folder), 2); /* the folder above binds too */
    write_text(folder, "mount/user/job/cpu.max", "1000 100000\n");
    assert_int_equal(quota(folder), 1);
    write_text(folder, "mount/user/job/cpu.max", "nonsense\n");
    assert_int_equal(quota(folder), 2);
    write_text(folder, "mount/user/job/cpu.max", "99999999999999 1\n");
    write_text(folder, "mount/user/cpu.max", "max 100000\n");
    assert_int_equal(quota(folder), INT32_MAX);
    write_text(folder, "mount/user/job/cpu.max", "-5 0\n");
    assert_int_equal(quota(folder), 0);
    test_folder_remove(folder);
}

static void test_cpu_quota_root_of_container(void **state)
{
    char folder[TEST_PATH_SIZE];
    test_folder_create(folder);
    write_text(folder, "self", "0::/\n");
    write_text(folder, "mount/cpu.max", "400000 100000\n");
    assert_int_equal(quota(folder), 4);
    write_text(folder, "self", "0::/not/visible/here\n"); /* path of the host */
    assert_int_equal(quota(folder), 4);
    test_folder_remove(folder);
}

static void test_cpu_quota_version_1(void **state)
{
    char folder[TEST_PATH_SIZE];
    test_folder_create(folder);
    write_text(folder, "self",
               "12:memory:/job\n4:cpuset:/job\n3:cpu,cpuacct:/job\nnot a group\n0::/\n");
    write_text(folder, "mount/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
    write_text(folder, "mount/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(folder), 0);
    write_text(folder, "mount/cpu,cpuacct/job/cpu.cfs_quota_us", "150000\n");
    assert_int_equal(quota(folder), 2);
    write_text(folder, "self",
               "4:cpuset:/job\n3:cpuacct:/job\n"); /* neither is the cpu controller */
    assert_int_equal(quota(folder), 0);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_names),
        cmocka_unit_test(test_cpu_levels_include_those_below),
        cmocka_unit_test(test_cpu_selected),
        cmocka_unit_test(test_cpu_count),
        cmocka_unit_test(test_cpu_quota_version_2),
        cmocka_unit_test(test_cpu_quota_root_of_container),
        cmocka_unit_test(test_cpu_quota_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
