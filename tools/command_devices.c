#include <stdio.h>

#include <tensorc/device.h>

#include "commands.h"

#define MAX_DEVICES 64

int command_devices(int argc, char **argv)
{
    if (argc > 1)
        return usage_error(argv[0], "takes no argument", argv[1]);
    tc_device_info devices[MAX_DEVICES];
    size_t count;
    char why[1024];
    if (tc_device_list(NULL, devices, MAX_DEVICES, &count, why, sizeof why) != TC_OK)
        return library_error(argv[0]);
    for (size_t i = 0; i < count && i < MAX_DEVICES; i++)
        printf("%-8s %s, %d threads, %.1f GiB\n", devices[i].name, devices[i].description,
               (int)devices[i].threads, (double)devices[i].memory_bytes / (1u << 30));
    if (why[0])
        printf("%s\n", why);
    return 0;
}
