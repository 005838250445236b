#include <stdio.h>

#include <tensorc/serialize.h>

#include "commands.h"

int command_inspect(int argc, char **argv)
{
    if (argc != 2)
        return usage_error(argv[0], "give one file", NULL);
    if (tc_file_inspect(argv[1], stdout) != TC_OK)
        return library_error(argv[0]);
    return 0;
}
