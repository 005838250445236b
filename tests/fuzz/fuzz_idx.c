/* The IDX reader on any bytes, plain or gzip. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tensorc/data.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int file = memfd_create("idx", 0);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    tc_tensor *tensor;
    if (tc_idx_load(path, &tensor) == TC_OK) {
        /* What was loaded must be readable to its end. */
        volatile double last = tc_tensor_get(tensor, tc_tensor_size(tensor) - 1);
        (void)last;
        tc_tensor_release(tensor);
    } else if (!tc_error_message()[0]) {
        abort();
    }
    close(file);
    return 0;
}
