#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: %s MODEL [OPTION...]\n"
    "Loads a saved model and classifies the test images of Fashion-MNIST.\n\n"
    "  --clients N    also serve N threads that ask for one image at a time (default 0)\n"
    "  --requests N   that many requests of all clients together (default 10000)\n"
    "  --show N       draw N test images with predicted and true class (default 3)\n"
    "  --batch N      images per run of the accuracy test (default 500)\n"
    "  --threads N    of the runtime; 0: one per core (default 0)\n"
    "  --device NAME  cpu, cuda:0 or auto (default cpu)\n"
    "  --data FOLDER  of the data set (default: the Debian package's)\n";

static int parse_number(const char *program, const char *name, const char *text, int64_t least,
                        int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end != text && !*end && errno == 0 && *out >= least && *out <= INT32_MAX)
        return -1;
    fprintf(stderr, "%s: %s wants a number of %lld or more, not '%s'\n", program, name,
            (long long)least, text);
    return 2;
}

int serve_options_parse(int argc, char **argv, serve_options *options)
{
    *options = (serve_options){.requests = 10000, .show = 3, .batch = 500};
    const struct {
        const char *name;
        int64_t least;
        int64_t *value;
    } numbers[] = {{"--clients", 0, &options->clients},
                   {"--requests", 1, &options->requests},
                   {"--show", 0, &options->show},
                   {"--batch", 1, &options->batch},
                   {"--threads", 0, &options->threads}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf(help, argv[0]);
            return 0;
        }
        if (argv[i][0] != '-' && !options->model) {
            options->model = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--data") == 0 && i + 1 < argc) {
            options->data = argv[++i];
            continue;
        }
        if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            options->device = argv[++i];
            continue;
        }
        size_t found = 0;
        while (found < sizeof numbers / sizeof numbers[0] &&
               strcmp(argv[i], numbers[found].name) != 0)
            found++;
        if (found == sizeof numbers / sizeof numbers[0] || i + 1 == argc) {
            fprintf(stderr, "%s: unknown or incomplete option '%s'; --help lists them\n", argv[0],
                    argv[i]);
            return 2;
        }
        const char *name = argv[i++];
        int status =
            parse_number(argv[0], name, argv[i], numbers[found].least, numbers[found].value);
        if (status >= 0)
            return status;
    }
    if (!options->model) {
        fprintf(stderr, "%s: give the file of a saved model; --help explains\n", argv[0]);
        return 2;
    }
    return -1;
}
