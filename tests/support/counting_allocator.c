#include "support/counting_allocator.h"

#include <stdatomic.h>

#include <tensorc/tensor.h>

#include "support/test.h"

/* Sanitizers end the program at larger requests instead of refusing them. */
#define TEST_LARGEST_BLOCK ((size_t)1 << 40)

/* Before every block, so that freeing knows its size and where it really begins. */
typedef struct block_header {
    uint64_t size;
    uint64_t offset;
} block_header;

static _Atomic int64_t live_blocks, live_bytes, peak_bytes, total;
static _Atomic int64_t until_failure;
static atomic_bool failing, failing_on, failed;

static bool fails_now(void)
{
    if (!atomic_load(&failing))
        return false;
    int64_t left = atomic_fetch_sub(&until_failure, 1);
    bool now = left == 0 || (left < 0 && atomic_load(&failing_on));
    if (now)
        atomic_store(&failed, true);
    return now;
}

static void *allocate(void *context, size_t size, size_t alignment)
{
    (void)context;
    atomic_fetch_add(&total, 1);
    size_t offset = alignment < sizeof(block_header) ? sizeof(block_header) : alignment;
    void *memory;
    if (fails_now() || size > TEST_LARGEST_BLOCK || posix_memalign(&memory, offset, offset + size))
        return NULL;
    char *block = (char *)memory + offset;
    ((block_header *)(void *)block)[-1] = (block_header){size, offset};
    memset(block, 0xa5, size < 4096 ? size : 4096); /* nobody may count on zeros */
    atomic_fetch_add(&live_blocks, 1);
    int64_t bytes = atomic_fetch_add(&live_bytes, (int64_t)size) + (int64_t)size;
    int64_t peak = atomic_load(&peak_bytes);
    while (bytes > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, bytes))
        ;
    return block;
}

static void deallocate(void *context, void *memory)
{
    (void)context;
    block_header header = ((block_header *)memory)[-1];
    atomic_fetch_sub(&live_blocks, 1);
    atomic_fetch_sub(&live_bytes, (int64_t)header.size);
    free((char *)memory - header.offset);
}

void counting_allocator_install(void)
{
    atomic_store(&live_blocks, 0);
    atomic_store(&live_bytes, 0);
    atomic_store(&peak_bytes, 0);
    atomic_store(&total, 0);
    counting_allocator_fail_at(-1);
    tc_allocator_set(&(tc_allocator){allocate, deallocate, NULL});
}

void counting_allocator_remove(void)
{
    tc_allocator_set(NULL);
    assert_int_equal(counting_allocator_live_blocks(), 0);
    assert_int_equal(counting_allocator_live_bytes(), 0);
}

int64_t counting_allocator_live_blocks(void)
{
    return atomic_load(&live_blocks);
}

int64_t counting_allocator_live_bytes(void)
{
    return atomic_load(&live_bytes);
}

int64_t counting_allocator_peak_bytes(void)
{
    return atomic_load(&peak_bytes);
}

int64_t counting_allocator_total(void)
{
    return atomic_load(&total);
}

static void arm(int64_t n, bool and_on)
{
    atomic_store(&failing, false);
    atomic_store(&until_failure, n);
    atomic_store(&failing_on, and_on);
    atomic_store(&failed, false);
    atomic_store(&failing, n >= 0);
}

void counting_allocator_fail_at(int64_t n)
{
    arm(n, false);
}

void counting_allocator_fail_from(int64_t n)
{
    arm(n, true);
}

bool counting_allocator_failed(void)
{
    return atomic_load(&failed);
}

static int64_t sweep(tc_status (*scenario)(void *context), void *context, bool and_on)
{
    int64_t baseline = counting_allocator_live_blocks();
    for (int64_t n = 0;; n++) {
        arm(n, and_on);
        tc_error_take(NULL, 0);
        tc_status status = scenario(context);
        bool reached = counting_allocator_failed();
        arm(-1, false);
        int64_t left = counting_allocator_live_blocks() - baseline;
        bool expected = status == TC_OK ||
                        (reached && status == TC_RESOURCE_EXHAUSTED && tc_error_message()[0] != 0);
        if (!expected || left != 0)
            fail_msg("with allocation %lld %sfailing: %s, %lld blocks left, message \"%s\"",
                     (long long)n, and_on ? "and all later ones " : "", tc_status_name(status),
                     (long long)left, tc_error_message());
        if (!reached)
            return n;
    }
}

int64_t counting_allocator_sweep(tc_status (*scenario)(void *context), void *context)
{
    sweep(scenario, context, true);
    return sweep(scenario, context, false);
}
