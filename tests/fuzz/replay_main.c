/* Gives every file named on the command line, and every file of every folder named there, to a
 * fuzz target. A finding is a crash or a sanitizer report, never a return value. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    size_t size = (size_t)status.st_size;
    /* Exactly as large as the input, so that a read past its end is seen. */
    uint8_t *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static int replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    if (!S_ISDIR(status.st_mode))
        return replay_file(path);

    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    int replayed = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char child[4096];
            snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
            replayed += replay(child);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return replayed;
}

int main(int argc, char **argv)
{
    LLVMFuzzerTestOneInput(NULL, 0);
    int replayed = 0;
    for (int i = 1; i < argc; i++)
        replayed += replay(argv[i]);
    printf("%d inputs replayed\n", replayed);
    if (replayed == 0)
        fprintf(stderr, "the corpus is empty\n");
    return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
