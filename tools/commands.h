/* The commands of `tensorc`. Each gets its own arguments (argv[0] is the command) and returns the
 * exit status: 0 done, 1 the operation failed, 2 wrong usage. */
#ifndef TENSORC_TOOLS_COMMANDS_H
#define TENSORC_TOOLS_COMMANDS_H

int command_version(int argc, char **argv);
int command_ops(int argc, char **argv);
int command_devices(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_optimize(int argc, char **argv);

/** Prints "tensorc COMMAND: text" on standard error and returns 2. */
int usage_error(const char *command, const char *text, const char *argument);
/** Prints the library's error of this thread on standard error and returns 1. */
int library_error(const char *command);

#endif
