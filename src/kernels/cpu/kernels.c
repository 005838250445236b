/* The list of the library's CPU kernels: a static table, because static linking drops constructors.
 */
#include "core/kernel_table.h"

#if defined(__x86_64__)
#define TC_EACH_ISA(do_, family) do_(family##_scalar) do_(family##_avx2) do_(family##_avx512)
#elif defined(__aarch64__)
#define TC_EACH_ISA(do_, family) do_(family##_scalar) do_(family##_neon)
#else
#define TC_EACH_ISA(do_, family) do_(family##_scalar)
#endif

#define TC_DECLARE(name) extern const tc_kernel_table tc_kernels_##name;
#define TC_LISTED(name)  &tc_kernels_##name,

#define TC_KERNELS(family)     TC_DECLARE(family)
#define TC_KERNELS_ISA(family) TC_EACH_ISA(TC_DECLARE, family)
#include "kernels/cpu/kernels.def"
#undef TC_KERNELS
#undef TC_KERNELS_ISA

#define TC_KERNELS(family)     TC_LISTED(family)
#define TC_KERNELS_ISA(family) TC_EACH_ISA(TC_LISTED, family)
const tc_kernel_table *const tc_builtin_kernels[] = {
#include "kernels/cpu/kernels.def"
};

const size_t tc_builtin_kernel_table_count =
    sizeof tc_builtin_kernels / sizeof tc_builtin_kernels[0];
