/* What the processor can do. */
#ifndef TC_BASE_CPU_H
#define TC_BASE_CPU_H

#include <stddef.h>

#include <tensorc/status.h>

/** Instruction set levels that kernels are compiled for; a level on x86 includes those below it. */
typedef enum tc_isa {
    TC_ISA_SCALAR = 0,
    TC_ISA_AVX2 = 1,
    TC_ISA_AVX512 = 2,
    TC_ISA_NEON = 3,
    TC_ISA_COUNT = 4
} tc_isa;

const char *tc_isa_name(tc_isa isa); /* "scalar", "avx2", "avx512", "neon" */

/** Highest level this processor and operating system support. */
tc_isa tc_cpu_isa(void);

/**
 * The level to use: TENSORC_CPU_ISA when set, else tc_cpu_isa. INVALID_ARGUMENT naming the known
 * levels for another word, UNAVAILABLE for a level this processor lacks.
 */
tc_status tc_cpu_isa_selected(tc_isa *out);

/** Whether this processor can run code of `isa`. */
int tc_cpu_supports(tc_isa isa);

/** Cores this process may run on (affinity and cgroup quota), at least 1. */
int tc_cpu_count(void);

/**
 * The CPU quota of a control group in whole cores, rounded up; 0 when there is none. `self` is a
 * file like /proc/self/cgroup and `mount` a folder like /sys/fs/cgroup. Understands version 2
 * (cpu.max) and 1 (cpu.cfs_quota_us), and takes the smallest quota from the group up to the root.
 */
int tc_cpu_quota(const char *self, const char *mount);

#endif
