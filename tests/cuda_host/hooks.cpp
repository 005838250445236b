/*
 * What code compiled with -fsanitize=thread,bounds,alignment calls. Built into each library of
 * kernels, hidden, so that neither the thread sanitizer's own runtime nor another library's is
 * called instead.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "access.h"

#define TC_HOOK extern "C" __attribute__((visibility("hidden")))
#define TC_PC   __builtin_return_address(0)

static inline void touch(const void *address, size_t bytes, tc_cuda_host_access_kind kind,
                         const void *pc)
{
    uintptr_t stack = tc_cuda_host_stack;
    if (stack && reinterpret_cast<uintptr_t>(address) - stack >= TC_STACK_BYTES)
        tc_cuda_host_access(address, bytes, kind, pc);
}

#define TC_ACCESSES(size)                              \
    TC_HOOK void __tsan_read##size(void *a)            \
    {                                                  \
        touch(a, size, TC_ACCESS_READ, TC_PC);         \
    }                                                  \
    TC_HOOK void __tsan_write##size(void *a)           \
    {                                                  \
        touch(a, size, TC_ACCESS_WRITE, TC_PC);        \
    }                                                  \
    TC_HOOK void __tsan_unaligned_read##size(void *a)  \
    {                                                  \
        touch(a, size, TC_ACCESS_READ, TC_PC);         \
    }                                                  \
    TC_HOOK void __tsan_unaligned_write##size(void *a) \
    {                                                  \
        touch(a, size, TC_ACCESS_WRITE, TC_PC);        \
    }                                                  \
    TC_HOOK void __tsan_read_write##size(void *a)      \
    {                                                  \
        touch(a, size, TC_ACCESS_READ, TC_PC);         \
        touch(a, size, TC_ACCESS_WRITE, TC_PC);        \
    }
TC_ACCESSES(1)
TC_ACCESSES(2)
TC_ACCESSES(4)
TC_ACCESSES(8)
TC_ACCESSES(16)

TC_HOOK void __tsan_read_range(void *a, size_t size)
{
    touch(a, size, TC_ACCESS_READ, TC_PC);
}
TC_HOOK void __tsan_write_range(void *a, size_t size)
{
    touch(a, size, TC_ACCESS_WRITE, TC_PC);
}
TC_HOOK void __tsan_init(void)
{
}
TC_HOOK void __tsan_func_entry(void *)
{
}
TC_HOOK void __tsan_func_exit(void)
{
}
TC_HOOK void __tsan_vptr_update(void **, void *)
{
}
TC_HOOK void __tsan_vptr_read(void **)
{
}

/*
 * Atomic operations, which the host's code has.
 */
TC_HOOK void __tsan_atomic_thread_fence(int)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
TC_HOOK void __tsan_atomic_signal_fence(int)
{
}
#define TC_FETCH(bits, type, name)                                                 \
    TC_HOOK type __tsan_atomic##bits##_fetch_##name(volatile type *a, type v, int) \
    {                                                                              \
        return __atomic_fetch_##name(a, v, __ATOMIC_SEQ_CST);                      \
    }
#define TC_ATOMICS(bits, type)                                                                     \
    TC_HOOK type __tsan_atomic##bits##_load(const volatile type *a, int)                           \
    {                                                                                              \
        return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                               \
    }                                                                                              \
    TC_HOOK void __tsan_atomic##bits##_store(volatile type *a, type v, int)                        \
    {                                                                                              \
        __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                  \
    }                                                                                              \
    TC_HOOK type __tsan_atomic##bits##_exchange(volatile type *a, type v, int)                     \
    {                                                                                              \
        return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                        \
    }                                                                                              \
    TC_HOOK int __tsan_atomic##bits##_compare_exchange_strong(volatile type *a, type *c, type v,   \
                                                              int, int)                            \
    {                                                                                              \
        return __atomic_compare_exchange_n(a, c, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
    }                                                                                              \
    TC_HOOK int __tsan_atomic##bits##_compare_exchange_weak(volatile type *a, type *c, type v,     \
                                                            int, int)                              \
    {                                                                                              \
        return __atomic_compare_exchange_n(a, c, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
    }                                                                                              \
    TC_HOOK type __tsan_atomic##bits##_compare_exchange_val(volatile type *a, type c, type v, int, \
                                                            int)                                   \
    {                                                                                              \
        (void)__atomic_compare_exchange_n(a, &c, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
        return c;                                                                                  \
    }                                                                                              \
    TC_FETCH(bits, type, add)                                                                      \
    TC_FETCH(bits, type, sub)                                                                      \
    TC_FETCH(bits, type, and)                                                                      \
    TC_FETCH(bits, type, or)                                                                       \
    TC_FETCH(bits, type, xor)                                                                      \
    TC_FETCH(bits, type, nand)
TC_ATOMICS(8, uint8_t)
TC_ATOMICS(16, uint16_t)
TC_ATOMICS(32, uint32_t)
TC_ATOMICS(64, uint64_t)

/*
 * The accesses that no instrumentation sees, by the names that the compiler calls them.
 */
TC_HOOK void *memcpy(void *to, const void *from, size_t bytes)
{
    return tc_cuda_host_memcpy(to, from, bytes, TC_PC);
}
TC_HOOK void *memmove(void *to, const void *from, size_t bytes)
{
    return tc_cuda_host_memmove(to, from, bytes, TC_PC);
}
TC_HOOK void *memset(void *to, int value, size_t bytes)
{
    return tc_cuda_host_memset(to, value, bytes, TC_PC);
}

/*
 * Indexes and alignments: GPUs refuse accesses that are not aligned to their size. The structs are
 * those that GCC and Clang describe a place with.
 */
struct source_location {
    const char *file;
    uint32_t line, column;
};
struct type_descriptor {
    uint16_t kind, info;
    char name[1];
};
struct out_of_bounds {
    source_location at;
    const type_descriptor *array, *index;
};
struct type_mismatch {
    source_location at;
    const type_descriptor *type;
    unsigned char alignment_bits, check;
};

TC_HOOK void __ubsan_handle_out_of_bounds(out_of_bounds *data, uintptr_t index)
{
    char what[256];
    snprintf(what, sizeof what, "index %td of an array of type %s", static_cast<ptrdiff_t>(index),
             data->array->name);
    tc_cuda_host_undefined(what, data->at.file, data->at.line);
}
TC_HOOK void __ubsan_handle_out_of_bounds_abort(out_of_bounds *data, uintptr_t index)
{
    __ubsan_handle_out_of_bounds(data, index);
}
TC_HOOK void __ubsan_handle_type_mismatch_v1(type_mismatch *data, uintptr_t address)
{
    char what[256];
    snprintf(what, sizeof what, "%s of type %s at 0x%zx, which is not a multiple of %u",
             data->check == 0 ? "reads a value" : "touches a value", data->type->name,
             static_cast<size_t>(address), 1u << data->alignment_bits);
    tc_cuda_host_undefined(what, data->at.file, data->at.line);
}
TC_HOOK void __ubsan_handle_type_mismatch_v1_abort(type_mismatch *data, uintptr_t address)
{
    __ubsan_handle_type_mismatch_v1(data, address);
}
