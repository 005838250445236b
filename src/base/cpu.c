#include "base/cpu.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/status.h"

static const char *const isa_names[TC_ISA_COUNT] = {"scalar", "avx2", "avx512", "neon"};

const char *tc_isa_name(tc_isa isa)
{
    return (unsigned)isa < TC_ISA_COUNT ? isa_names[isa] : "unknown";
}

#if defined(__x86_64__)

static bool has_avx2(void)
{
    /*
     * f16c by CPUID, since not every compiler knows its name; that the system saves ymm registers
     * is part of avx2.
     */
    unsigned a, b, c, d;
    bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 29);
    return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#endif

int tc_cpu_supports(tc_isa isa)
{
    switch (isa) {
    case TC_ISA_SCALAR: return 1;
#if defined(__x86_64__)
    case TC_ISA_AVX2: return has_avx2();
    case TC_ISA_AVX512: return has_avx512();
#elif defined(__aarch64__)
    case TC_ISA_NEON: return 1;
#endif
    default: return 0;
    }
}

tc_isa tc_cpu_isa(void)
{
    static const tc_isa best_first[] = {TC_ISA_AVX512, TC_ISA_AVX2, TC_ISA_NEON};
    for (size_t i = 0; i < sizeof best_first / sizeof best_first[0]; i++)
        if (tc_cpu_supports(best_first[i]))
            return best_first[i];
    return TC_ISA_SCALAR;
}

tc_status tc_cpu_isa_selected(tc_isa *out)
{
    const char *wanted = getenv("TENSORC_CPU_ISA");
    if (!wanted || !wanted[0]) {
        *out = tc_cpu_isa();
        return TC_OK;
    }
    for (int i = 0; i < TC_ISA_COUNT; i++) {
        if (strcmp(wanted, isa_names[i]) != 0)
            continue;
        if (!tc_cpu_supports((tc_isa)i))
            return tc_fail(TC_UNAVAILABLE,
                           "TENSORC_CPU_ISA is '%s', which this processor does not support; its "
                           "highest level is '%s'",
                           wanted, tc_isa_name(tc_cpu_isa()));
        *out = (tc_isa)i;
        return TC_OK;
    }
    return tc_fail(TC_INVALID_ARGUMENT,
                   "TENSORC_CPU_ISA is '%.64s'; the levels are scalar, avx2, avx512 and neon",
                   wanted);
}

static int affinity_count(void)
{
    /* The set is as large as the kernel's, which may be larger than cpu_set_t. */
    for (int cpus = 1024; cpus <= 1 << 18; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            break;
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        CPU_ZERO_S(size, set);
        bool read = sched_getaffinity(0, size, set) == 0;
        int count = read ? CPU_COUNT_S(size, set) : 0;
        bool too_small = !read && errno == EINVAL;
        CPU_FREE(set);
        if (read && count > 0)
            return count;
        if (!too_small)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > INT_MAX ? INT_MAX : (int)online;
}

/* First line of `folder`/`file` into `line`; false when it cannot be read. */
static bool read_line(const char *folder, const char *file, char *line, size_t size)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path)
        return false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool read = fgets(line, (int)size, f) != NULL;
    fclose(f);
    return read;
}

/* Quota over period of one control group in cores, rounded up; 0 when it has none. */
static int group_quota(const char *folder)
{
    char line[128];
    long long quota = -1, period = 0;
    if (read_line(folder, "cpu.max", line, sizeof line)) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) /* "max 100000" */
            return 0;
    } else {
        if (!read_line(folder, "cpu.cfs_quota_us", line, sizeof line) ||
            sscanf(line, "%lld", &quota) != 1 ||
            !read_line(folder, "cpu.cfs_period_us", line, sizeof line) ||
            sscanf(line, "%lld", &period) != 1)
            return 0;
    }
    if (quota <= 0 || period <= 0)
        return 0;
    long long cores = quota / period + (quota % period != 0);
    return cores > INT_MAX ? INT_MAX : (int)cores;
}

static int smaller_quota(int a, int b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/*
 * Smallest quota from `root`/`group` up to `root`. Inside a container the group may not be visible
 * below the root.
 */
static int hierarchy_quota(const char *root, const char *group)
{
    char folder[PATH_MAX];
    size_t root_length = strlen(root);
    if (snprintf(folder, sizeof folder, "%s%s", root, group) >= (int)sizeof folder)
        return group_quota(root);
    int quota = 0;
    for (;;) {
        quota = smaller_quota(quota, group_quota(folder));
        char *slash = strrchr(folder + root_length, '/');
        if (!slash)
            return quota;
        *slash = 0;
    }
}

static bool lists_cpu_controller(const char *controllers)
{
    for (const char *name = controllers; name; name = strchr(name, ',')) {
        if (*name == ',')
            name++;
        if (strncmp(name, "cpu", 3) == 0 && (name[3] == 0 || name[3] == ','))
            return true;
    }
    return false;
}

int tc_cpu_quota(const char *self, const char *mount)
{
    FILE *f = fopen(self, "re");
    if (!f)
        return 0;
    int quota = 0;
    char line[PATH_MAX];
    while (
        fgets(line, sizeof line, f)) { /* hierarchy:controllers:/path, and 0::/path for version 2 */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group || group[1] != '/')
            continue;
        *group++ = 0;
        controllers++;
        char root[PATH_MAX];
        int length = -1;
        if (!controllers[0])
            length = snprintf(root, sizeof root, "%s", mount);
        else if (lists_cpu_controller(controllers))
            length = snprintf(root, sizeof root, "%s/%s", mount, controllers);
        if (length >= 0 && length < (int)sizeof root)
            quota = smaller_quota(quota, hierarchy_quota(root, group));
    }
    fclose(f);
    return quota;
}

int tc_cpu_count(void)
{
    int count = affinity_count();
    int quota = tc_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota > 0 && quota < count ? quota : count;
}
