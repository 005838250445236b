#include <stdio.h>

#include <tensorc/version.h>

#include "commands.h"

int command_version(int argc, char **argv)
{
    if (argc > 1)
        return usage_error(argv[0], "takes no argument", argv[1]);
    printf("tensorc %s\n", tc_version());
    return 0;
}
