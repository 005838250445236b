/* The way from instrumented code into the emulation. */
#ifndef TC_CUDA_HOST_ACCESS_H
#define TC_CUDA_HOST_ACCESS_H

#include <stddef.h>

enum tc_cuda_host_access_kind { TC_ACCESS_READ, TC_ACCESS_WRITE, TC_ACCESS_ATOMIC };

/* Nothing where the calling thread of the host runs no kernel. `pc` is a return address. */
void tc_cuda_host_access(const void *address, size_t bytes, tc_cuda_host_access_kind kind,
                         const void *pc);

#endif
