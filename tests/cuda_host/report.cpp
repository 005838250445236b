#include "report.h"

#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

namespace cuda_host
{

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What addr2line says of an address: the function's name in one line, file and line in the other.
 * False where it says nothing. */
static bool look_up(const void *address, char function[512], char place[512])
{
    Dl_info info;
    link_map *map = nullptr;
    if (!dladdr1(address, &info, reinterpret_cast<void **>(&map), RTLD_DL_LINKMAP) || !map)
        return false;
    /* Programs at fixed addresses have no offset. */
    uintptr_t offset = reinterpret_cast<uintptr_t>(address) - map->l_addr;
    char command[4096 + 64];
    const char *file = map->l_name && *map->l_name ? map->l_name : "/proc/self/exe";
    if (strchr(file, '\'') ||
        snprintf(command, sizeof command, "addr2line -C -f -e '%s' 0x%zx 2>/dev/null", file,
                 static_cast<size_t>(offset)) >= (int)sizeof command)
        return false;
    if (!strcmp(file, "/proc/self/exe"))
        snprintf(command, sizeof command, "addr2line -C -f -e /proc/$PPID/exe 0x%zx 2>/dev/null",
                 static_cast<size_t>(offset));
    FILE *pipe = popen(command, "re");
    if (!pipe)
        return false;
    bool good = fgets(function, 512, pipe) && fgets(place, 512, pipe);
    pclose(pipe);
    if (!good)
        return false;
    function[strcspn(function, "\n")] = 0;
    place[strcspn(place, " \n")] = 0;
    return true;
}

std::string kernel_name(const void *kernel)
{
    char function[512], place[512];
    if (look_up(kernel, function, place) && function[0] != '?') {
        /* "void name<float>(float*, ...)", maybe with a clone's suffix: without all but the name */
        std::string name = function;
        size_t depth = 0, end = name.size();
        for (size_t i = 0; i < name.size(); i++) {
            depth += name[i] == '<';
            depth -= name[i] == '>' && depth > 0;
            if (depth == 0 && name[i] == '(' && i > 0 && name.compare(i, 11, "(anonymous ") != 0) {
                end = i;
                break;
            }
        }
        name.resize(end);
        if (name.compare(0, 5, "void ") == 0)
            name.erase(0, 5);
        return name;
    }
    char text[32];
    snprintf(text, sizeof text, "%p", kernel);
    return text;
}

std::string code_location(const void *instruction)
{
    char function[512], place[512];
    /* A return address: the call is before it. */
    if (!look_up(static_cast<const char *>(instruction) - 1, function, place) || place[0] == '?')
        return "";
    return base_name(place);
}

} // namespace cuda_host
