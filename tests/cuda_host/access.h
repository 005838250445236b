/* The way from instrumented code into the emulation. */
#ifndef TC_CUDA_HOST_ACCESS_H
#define TC_CUDA_HOST_ACCESS_H

#include <stddef.h>
#include <stdint.h>

#define TC_STACK_BYTES (static_cast<size_t>(128) << 10)

/* Where the stack of the kernel's thread begins that this thread of the host runs; 0: none. What is
 * on it needs no check. */
extern __thread uintptr_t tc_cuda_host_stack __attribute__((tls_model("initial-exec")));

enum tc_cuda_host_access_kind { TC_ACCESS_READ, TC_ACCESS_WRITE, TC_ACCESS_ATOMIC };

/* Nothing where the calling thread of the host runs no kernel. `pc` is a return address. */
void tc_cuda_host_access(const void *address, size_t bytes, tc_cuda_host_access_kind kind,
                         const void *pc);

/* What the compiler found about to happen: "index 4 of an array of 'int[4]'". In code of the host,
 * ends the program. */
void tc_cuda_host_undefined(const char *what, const char *file, unsigned line);

/* As those of string.h, with their accesses checked. */
void *tc_cuda_host_memcpy(void *to, const void *from, size_t bytes, const void *pc);
void *tc_cuda_host_memmove(void *to, const void *from, size_t bytes, const void *pc);
void *tc_cuda_host_memset(void *to, int value, size_t bytes, const void *pc);

#endif
