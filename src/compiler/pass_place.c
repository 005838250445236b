/*
 * Gives every node a device: the one its annotation "device" names, else the first. There is one
 * device today; transfers between several come with the second.
 */
#include <stdio.h>
#include <string.h>

#include "compiler/pass.h"

/* "cpu" is "cpu:0" as well. */
static bool same_device(const char *asked, const char *name)
{
    size_t length = strlen(name);
    const char *colon = strchr(name, ':');
    if (strcmp(asked, name) == 0)
        return true;
    if (!colon)
        return strncmp(asked, name, length) == 0 && strcmp(asked + length, ":0") == 0;
    length = (size_t)(colon - name);
    return strcmp(colon, ":0") == 0 && strlen(asked) == length && strncmp(asked, name, length) == 0;
}

static tc_status unknown_device(const tc_pass_context *pass, const tc_node *node, const char *asked)
{
    char where[512], known[512] = "";
    size_t length = 0;
    for (int32_t i = 0; i < pass->target->device_count && length < sizeof known; i++)
        length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "",
                                   pass->target->device_name(pass->target, i));
    return tc_fail(TC_INVALID_ARGUMENT, "%s: there is no device '%s'; the devices are: %s",
                   tc_node_describe(node, where, sizeof where), asked, known);
}

tc_status tc_pass_place(tc_pass_context *pass)
{
    size_t count = pass->graph->nodes.count;
    int32_t *devices = tc_arena_array(&pass->program->arena, count, sizeof *devices);
    if (!devices)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < count; i++) {
        const tc_node *node = pass->graph->nodes.data[i];
        const char *asked = tc_node_note(node, "device");
        int32_t device = 0;
        while (asked && device < pass->target->device_count &&
               !same_device(asked, pass->target->device_name(pass->target, device)))
            device++;
        if (asked && device == pass->target->device_count)
            return unknown_device(pass, node, asked);
        devices[i] = device;
    }
    pass->program->devices = devices;
    return TC_OK;
}
