#include "fiber.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Callee-saved registers go on the stack that is left, and come from the one that is taken up. The
 * signal mask and the floating-point modes stay as they are: they are the same for all fibers.
 */
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.type tc_cuda_host_switch, @function
tc_cuda_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size tc_cuda_host_switch, .-tc_cuda_host_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.type tc_cuda_host_switch, %function
tc_cuda_host_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size tc_cuda_host_switch, .-tc_cuda_host_switch
)");
#endif

#if defined(__x86_64__) || defined(__aarch64__)
extern "C" void tc_cuda_host_switch(void **from, void *to) __attribute__((visibility("hidden")));
#endif

namespace cuda_host
{

fiber *fiber_create(void (*body)())
{
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *memory = mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return nullptr;
    if (mprotect(memory, page, PROT_NONE)) {
        munmap(memory, stack_bytes + page);
        return nullptr;
    }
    fiber *f = new fiber;
    f->stack = static_cast<char *>(memory) + page;
#if defined(__x86_64__)
    void **top = reinterpret_cast<void **>(f->stack + stack_bytes);
    *--top = nullptr; /* the return address of `body`; aligns its stack */
    *--top = reinterpret_cast<void *>(body);
    f->at.stack_pointer = top - 6;
#elif defined(__aarch64__)
    void **top = reinterpret_cast<void **>(f->stack + stack_bytes) - 20;
    top[11] = reinterpret_cast<void *>(body); /* x30 */
    f->at.stack_pointer = top;
#else
    getcontext(&f->at.state);
    f->at.state.uc_stack.ss_sp = f->stack;
    f->at.state.uc_stack.ss_size = stack_bytes;
    makecontext(&f->at.state, body, 0);
#endif
    return f;
}

void fiber_destroy(fiber *f)
{
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    munmap(f->stack - page, stack_bytes + page);
    delete f;
}

void fiber_switch(context *from, const context *to)
{
#if defined(__x86_64__) || defined(__aarch64__)
    tc_cuda_host_switch(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->state, &to->state);
#endif
}

} // namespace cuda_host
