#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind { INTEGER, NUMBER, TEXT, FLAG } option_kind;

typedef struct option {
    const char *name;
    option_kind kind;
    void *value;
    double least; /* of a number */
    const char *argument;
    const char *doc;
} option;

#define OPTION_COUNT 13

static void list_options(train_options *o, option list[OPTION_COUNT])
{
    const option all[OPTION_COUNT] = {
        {"--network", TEXT, &o->network, 0, "NAME", "cnn, lenet or mlp (default cnn)"},
        {"--epochs", INTEGER, &o->epochs, 1, "N", "passes over the training images (default 5)"},
        {"--batch", INTEGER, &o->batch, 1, "N", "images per step (default 64)"},
        {"--learning-rate", NUMBER, &o->learning_rate, 0, "X", "peak of Adam's (default 0.002)"},
        {"--seed", INTEGER, &o->seed, 0, "N", "of weights, dropout and order (default 1)"},
        {"--threads", INTEGER, &o->threads, 0, "N", "0: one per core (default 0)"},
        {"--device", TEXT, &o->device, 0, "NAME", "cpu, cuda:0 or auto (default cpu)"},
        {"--limit", INTEGER, &o->limit, 0, "N", "train on the first N images only"},
        {"--data", TEXT, &o->data, 0, "FOLDER", "of the data set (default: the Debian package's)"},
        {"--model", TEXT, &o->model, 0, "FILE", "model to save (default fashion_mnist.tcm)"},
        {"--checkpoints", TEXT, &o->checkpoints, 0, "FOLDER", "where to keep checkpoints"},
        {"--checkpoint-every", INTEGER, &o->checkpoint_every, 0, "STEPS",
         "and when (default: after each epoch)"},
        {"--resume", FLAG, &o->resume, 0, "", "go on from the newest checkpoint"},
    };
    memcpy(list, all, sizeof all);
}

static void print_help(const char *program, const option *list)
{
    printf("usage: %s [OPTION...]\nTrains a network on Fashion-MNIST and saves it.\n\n", program);
    for (int i = 0; i < OPTION_COUNT; i++)
        printf("  %-18s %-7s %s\n", list[i].name, list[i].argument, list[i].doc);
}

static bool read_value(const option *o, const char *text)
{
    char *end = NULL;
    errno = 0;
    switch (o->kind) {
    case INTEGER: {
        long long number = strtoll(text, &end, 10);
        *(int64_t *)o->value = number;
        return end != text && !*end && errno == 0 && (double)number >= o->least &&
               number <= INT32_MAX;
    }
    case NUMBER: {
        double number = strtod(text, &end);
        *(double *)o->value = number;
        return end != text && !*end && isfinite(number) && number > o->least;
    }
    case TEXT: *(const char **)o->value = text; return *text != '\0';
    case FLAG: break;
    }
    return false;
}

static int check(const char *program, const train_options *o)
{
    static const char *const networks[] = {"cnn", "lenet", "mlp"};
    bool known = false;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
        known |= strcmp(o->network, networks[i]) == 0;
    if (!known) {
        fprintf(stderr, "%s: unknown network '%s'; there are cnn, lenet and mlp\n", program,
                o->network);
        return 2;
    }
    if ((o->resume || o->checkpoint_every > 0) && !o->checkpoints) {
        fprintf(stderr, "%s: --resume and --checkpoint-every need --checkpoints FOLDER\n", program);
        return 2;
    }
    return -1;
}

int train_options_parse(int argc, char **argv, train_options *options)
{
    *options = (train_options){.epochs = 5,
                               .batch = 64,
                               .seed = 1,
                               .learning_rate = 0.002,
                               .network = "cnn",
                               .model = "fashion_mnist.tcm"};
    option list[OPTION_COUNT];
    list_options(options, list);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(argv[0], list);
            return 0;
        }
        const option *found = NULL;
        for (int j = 0; j < OPTION_COUNT && !found; j++)
            if (strcmp(argv[i], list[j].name) == 0)
                found = &list[j];
        if (!found) {
            fprintf(stderr, "%s: unknown option '%s'; --help lists them\n", argv[0], argv[i]);
            return 2;
        }
        if (found->kind == FLAG) {
            *(bool *)found->value = true;
        } else if (i + 1 == argc || !read_value(found, argv[++i])) {
            fprintf(stderr, "%s: %s wants %s: %s\n", argv[0], found->name, found->argument,
                    found->doc);
            return 2;
        }
    }
    return check(argv[0], options);
}
