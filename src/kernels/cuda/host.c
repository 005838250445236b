/*
 * What the pure parts of the library that are built into the plug-in, and the kernels, expect of
 * the rest: over the table of the host.
 */
#include "kernels/cuda/host.h"

#include "base/status.h"

tc_status tc_kernel_fail(tc_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tc_cuda_host->fail(status, format, arguments);
    va_end(arguments);
    return status;
}

tc_status tc_fail(tc_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)tc_cuda_host->fail(status, format, arguments);
    va_end(arguments);
    return status;
}

const char *tc_error_message(void)
{
    return tc_cuda_host->error_message();
}

void *tc_prepare_params(tc_prepare *prepare, size_t size)
{
    return tc_cuda_host->prepare_params(prepare, size);
}
