#include <stdio.h>
#include <string.h>

#include <tensorc/status.h>

#include "commands.h"

typedef struct command {
    const char *name;
    const char *arguments;
    const char *doc;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"version", "", "print the version of the library", command_version},
    {"ops", "[--json] [NAME...]", "list operators: ports, attributes, dtypes, gradient, devices",
     command_ops},
    {"devices", "", "list the devices and why others are missing", command_devices},
    {"inspect", "FILE", "describe a graph, checkpoint or saved model", command_inspect},
    {"optimize", "FILE [OPTION...]", "show what the compiler makes of a graph or saved model",
     command_optimize},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_help(FILE *file)
{
    fprintf(file, "usage: tensorc COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(file, "  %-8s %-20s %s\n", commands[i].name, commands[i].arguments,
                commands[i].doc);
}

int usage_error(const char *name, const char *text, const char *argument)
{
    fprintf(stderr, "tensorc %s: %s%s%s\n", name, text, argument ? ": " : "",
            argument ? argument : "");
    return 2;
}

int library_error(const char *name)
{
    fprintf(stderr, "tensorc %s: %s\n", name, tc_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "tensorc: unknown command: %s\n\n", argv[1]);
    print_help(stderr);
    return 2;
}
