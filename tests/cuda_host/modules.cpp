#include "modules.h"

#include <link.h>

#include <map>
#include <memory>

namespace cuda_host
{

struct search {
    uintptr_t address;
    module found;
    bool good;
};

static int look(struct dl_phdr_info *info, size_t, void *argument)
{
    search *s = static_cast<search *>(argument);
    module m;
    bool here = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        if (p.p_type != PT_LOAD)
            continue;
        uintptr_t begin = info->dlpi_addr + p.p_vaddr;
        here = here || s->address - begin < p.p_memsz;
        m.constant.push_back({begin, p.p_filesz});
        if (p.p_memsz > p.p_filesz)
            m.variables = {begin + p.p_filesz, p.p_memsz - p.p_filesz};
    }
    if (!here)
        return 0;
    s->found = m;
    s->good = true;
    return 1;
}

const module *module_of(const void *function)
{
    static std::map<uintptr_t, std::unique_ptr<module>> known; /* by the first segment */
    static std::map<const void *, const module *> of_function;
    auto cached = of_function.find(function);
    if (cached != of_function.end())
        return cached->second;
    search s = {reinterpret_cast<uintptr_t>(function), {}, false};
    (void)dl_iterate_phdr(look, &s);
    if (!s.good)
        return nullptr;
    std::unique_ptr<module> &m = known[s.found.constant[0].begin];
    if (!m)
        m = std::make_unique<module>(s.found);
    return of_function[function] = m.get();
}

} // namespace cuda_host
