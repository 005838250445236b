/* Running the example programs as a user does, and a small data set for them. */
#ifndef TC_TEST_INTEGRATION_PROGRAMS_H
#define TC_TEST_INTEGRATION_PROGRAMS_H

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/test.h"

#define OUTPUT_SIZE 65536
#define ARGUMENTS   24

/** A list of arguments for run_program. */
#define ARGS(...)         \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

/** Starts program `name` of the build; what it prints goes to the file `output`. */
static inline pid_t start_program(const char *name, const char *const *arguments,
                                  const char *output)
{
    char path[TEST_PATH_SIZE];
    const char *list[ARGUMENTS + 2] = {path};
    const char *folder = getenv("TENSORC_BIN_DIR");
    if (!folder)
        fail_msg("TENSORC_BIN_DIR is not set: run the test with ctest");
    test_path(path, folder, name);
    for (size_t i = 0; arguments[i]; i++) {
        assert_true(i < ARGUMENTS);
        list[i + 1] = arguments[i];
    }
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int file = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (file < 0 || dup2(file, STDOUT_FILENO) < 0 || dup2(file, STDERR_FILENO) < 0)
            _exit(126);
        execv(path, (char *const *)(uintptr_t)list);
        _exit(127);
    }
    return child;
}

/** Reads a file as a text. */
static inline void read_text(const char *path, char text[OUTPUT_SIZE])
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(text, 1, OUTPUT_SIZE - 1, file);
    fclose(file);
    text[size] = '\0';
}

/** Runs a program to its end and returns its exit status; `text` receives what it printed. */
static inline int run_program(const char *name, const char *const *arguments, const char *folder,
                              char text[OUTPUT_SIZE])
{
    char output[TEST_PATH_SIZE];
    int status;
    test_path(output, folder, "output");
    pid_t child = start_program(name, arguments, output);
    assert_int_equal(waitpid(child, &status, 0), child);
    read_text(output, text);
    if (!WIFEXITED(status))
        fail_msg("%s was ended by signal %d: %s", name, WTERMSIG(status), text);
    return WEXITSTATUS(status);
}

/** The last line of a text, without its end. Changes `text`. */
static inline const char *last_line(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '\n')
        text[--length] = '\0';
    const char *end = strrchr(text, '\n');
    return end ? end + 1 : text;
}

static inline size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

static inline void check_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

/** Offset of the first byte in which two files differ, -1 when there is none. */
static inline long first_difference(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    assert_non_null(x);
    assert_non_null(y);
    long offset = 0;
    int byte;
    while ((byte = getc(x)) == getc(y) && byte != EOF)
        offset++;
    bool same = feof(x) && feof(y);
    fclose(x);
    fclose(y);
    return same ? -1 : offset;
}

/** Fails unless two files have the same bytes. */
static inline void check_same_file(const char *a, const char *b)
{
    long offset = first_difference(a, b);
    if (offset >= 0)
        fail_msg("%s and %s differ at offset %ld", a, b, offset);
}

/*
 * The data set: `count` images of ten classes in the form of Fashion-MNIST, each class a pattern
 * of stripes with noise.
 */
static inline void write_part(const char *folder, const char *part, uint32_t count, uint32_t seed)
{
    char path[TEST_PATH_SIZE], name[64];
    const unsigned char big[] = {(unsigned char)(count >> 24), (unsigned char)(count >> 16),
                                 (unsigned char)(count >> 8), (unsigned char)count};
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    FILE *labels = fopen(test_path(path, folder, name), "wb");
    assert_non_null(labels);
    fwrite((const unsigned char[]){0, 0, 8, 1}, 1, 4, labels);
    fwrite(big, 1, 4, labels);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    FILE *images = fopen(test_path(path, folder, name), "wb");
    assert_non_null(images);
    fwrite((const unsigned char[]){0, 0, 8, 3}, 1, 4, images);
    fwrite(big, 1, 4, images);
    fwrite((const unsigned char[]){0, 0, 0, 28, 0, 0, 0, 28}, 1, 8, images);
    for (uint32_t i = 0; i < count; i++) {
        unsigned label = i * 7 % 10;
        fputc((int)label, labels);
        for (unsigned p = 0; p < 28 * 28; p++) {
            seed = seed * 1664525u + 1013904223u;
            unsigned stripe = (p % 28 * label + p / 28 * (10 - label)) / 9 % 3;
            fputc((int)(stripe * 60 + (seed >> 24) / 2), images);
        }
    }
    assert_int_equal(fclose(labels), 0);
    assert_int_equal(fclose(images), 0);
}

/** Writes 1280 training and 300 test images into `folder`. */
static inline void write_data_set(const char *folder)
{
    write_part(folder, "train", 1280, 1);
    write_part(folder, "t10k", 300, 2);
}

#endif
