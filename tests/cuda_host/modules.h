/* Where the code and data of a kernel's library are. */
#ifndef TC_CUDA_HOST_MODULES_H
#define TC_CUDA_HOST_MODULES_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace cuda_host
{

struct range {
    uintptr_t begin = 0;
    size_t bytes = 0;
    bool has(uintptr_t address, size_t count) const
    {
        return address - begin < bytes && count <= bytes - (address - begin);
    }
};

/** A program or library. Its variables without an initial value (.bss) are where __shared__
 * variables are; everything else of it is constant for kernels. */
struct module {
    std::vector<range> constant;
    range variables;
};

/** The module that holds a function; NULL when none does. Modules are never forgotten. */
const module *module_of(const void *function);

} // namespace cuda_host

#endif
