/*
 * Races: two threads of a block touch the same bytes with no barrier between, or two blocks of a
 * launch do, and at least one of them writes, not both atomically. For each word (each byte, where
 * one was touched alone) the last write and the last reads are kept, as in FastTrack (Flanagan and
 * Freund, 2009), with barriers and __syncwarp as the only order between threads: time is a number
 * that they raise, and a record of a time before the last of them is in order.
 */
#include "shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "access.h"
#include "modules.h"
#include "report.h"

namespace cuda_host
{

/*
 * Records: 32 bits of the block's serial number (blocks are counted through all launches), 18 of
 * the time, 10 of the thread, 4 of flags. A serial number from before what is looked at (the
 * launch, or for shared memory the block) makes a record empty.
 */
constexpr uint64_t time_bits = 18, flag_bits = 4;
constexpr uint64_t atomic_flag = 1, split_flag = 2;    /* of writes */
enum { ONE_THREAD, ONE_WARP, ONE_BLOCK, MANY_BLOCKS }; /* of reads: who has read, at least */

struct record {
    uint64_t bits;
    uint64_t serial() const
    {
        return bits >> 32;
    }
    uint32_t time() const
    {
        return static_cast<uint32_t>(bits >> 14) & ((1u << time_bits) - 1u);
    }
    uint32_t thread() const
    {
        return static_cast<uint32_t>(bits >> flag_bits) & 1023u;
    }
    uint64_t flags() const
    {
        return bits & 15u;
    }
};

struct cell {
    record write, read;
};

/* Memory of one kind, with its cells. */
struct region {
    range addresses;
    cell *words, *bytes;
    bool shared; /* of the block; its contents are undefined when a block begins */
};

/* What a byte of device memory is. Bit 0: may be written; both bits: may be read. */
enum : uint8_t { NOWHERE = 0, UNWRITTEN = 1, FREED = 2, WRITTEN = 3 };

static uint8_t *states; /* of device memory */
static region device_region;
static region dynamic_region; /* the arena of dynamic shared memory */
static std::map<const module *, region> static_regions;

constexpr size_t arena_bytes = 256 << 10;
alignas(256) static char arena[arena_bytes];
constexpr size_t arena_begin = 4 << 10; /* what is before and behind is nobody's */

/* Of the launch and block that run. */
static const launch *running;
static const module *code;
static region *static_region;
static uint64_t serial = 1, first_of_launch = 1, first_of_block = 1;

/* Order between blocks by atomics: a block that has fenced releases what it wrote at the address of
 * its atomics; one that uses the same address later comes after it. */
struct release {
    uint64_t first, last; /* serial numbers of the block */
    uint32_t barrier;     /* what it did before this time is released, */
    uint32_t by;          /* and what this thread did */
};
static std::map<const void *, std::vector<release>> releases; /* of the launch */
static std::vector<const std::vector<release> *> acquired;    /* by the block */
static bool fenced;                                           /* the block has */

/* Past the functions that sanitizers watch, which would fill shadows of their own. */
static void *reserve(size_t bytes)
{
    long address = syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0l);
    if (address == -1)
        return nullptr;
    (void)madvise(reinterpret_cast<void *>(address), bytes, MADV_DONTDUMP);
    return reinterpret_cast<void *>(address);
}

static bool make_cells(region *r)
{
    size_t words = r->addresses.bytes / 4 + 2;
    r->words = static_cast<cell *>(reserve(words * sizeof(cell)));
    r->bytes = static_cast<cell *>(reserve(words * 4 * sizeof(cell)));
    return r->words && r->bytes;
}

bool shadow_reserve()
{
    size_t bytes = device_range * max_devices;
    device_region.addresses = {0, bytes};
    dynamic_region.addresses = {reinterpret_cast<uintptr_t>(arena) + arena_begin, 0};
    region all = {{0, arena_bytes}, nullptr, nullptr, true};
    if (!make_cells(&device_region) || !make_cells(&all))
        return false;
    dynamic_region.words = all.words;
    dynamic_region.bytes = all.bytes;
    dynamic_region.shared = true;
    states = static_cast<uint8_t *>(reserve(bytes));
    return states;
}

static uint8_t *state_of(const void *address)
{
    return states + (static_cast<const char *>(address) - device_base);
}

void shadow_allocated(const void *address, size_t bytes)
{
    memset(state_of(address), UNWRITTEN, bytes);
}

void shadow_freed(const void *address, size_t bytes)
{
    memset(state_of(address), FREED, bytes);
}

/*
 * Reports
 */
static std::string describe(const void *address)
{
    char text[256];
    nearest n;
    if (device_of(address) < 0) {
        uintptr_t a = reinterpret_cast<uintptr_t>(address);
        if (a - reinterpret_cast<uintptr_t>(arena) < arena_bytes)
            snprintf(text, sizeof text, "byte %td of %zu bytes of dynamic shared memory",
                     static_cast<const char *>(address) - arena -
                         static_cast<ptrdiff_t>(arena_begin),
                     running ? running->shared_bytes : 0);
        else if (static_region && static_region->addresses.has(a, 1))
            snprintf(text, sizeof text, "a __shared__ variable");
        else
            snprintf(text, sizeof text, "memory of the host");
    } else if (!nearest_allocation(address, &n)) {
        snprintf(text, sizeof text, "device memory, of which nothing is allocated");
    } else if (n.beyond >= 0) {
        snprintf(text, sizeof text, "%td bytes behind the end of an allocation of %zu bytes",
                 n.beyond, n.bytes);
    } else if (static_cast<const char *>(address) < n.address) {
        snprintf(text, sizeof text, "%td bytes before an allocation of %zu bytes", -n.beyond,
                 n.bytes);
    } else {
        snprintf(text, sizeof text, "byte %td of an allocation of %zu bytes",
                 static_cast<const char *>(address) - n.address, n.bytes);
    }
    return text;
}

static const char *const verbs[] = {"reads", "writes", "updates"};

/* An access in a kernel, while it is checked. */
struct access {
    const void *address;
    size_t bytes;
    tc_cuda_host_access_kind kind;
    const void *pc;
};

[[noreturn]] static void refuse(const access &a, const char *what)
{
    fail_access(a.pc, "%s: %s %zu bytes at %p, %s", what, verbs[a.kind], a.bytes, a.address,
                describe(a.address).c_str());
}

[[noreturn]] static void race(const access &a, record other, bool other_writes)
{
    char who[128];
    if (other.serial() >= first_of_block) {
        uint3 index = now.threads[other.thread()].index;
        snprintf(who, sizeof who, "thread (%u,%u,%u) with no barrier in between", index.x, index.y,
                 index.z);
    } else {
        snprintf(who, sizeof who, "another block of the launch");
    }
    fail_access(a.pc, "race: %s %zu bytes at %p (%s) %s by %s", verbs[a.kind], a.bytes, a.address,
                describe(a.address).c_str(), other_writes ? "written" : "read", who);
}

/*
 * Order
 */
static bool released_before(record r)
{
    for (const std::vector<release> *list : acquired) {
        auto i =
            std::lower_bound(list->begin(), list->end(), r.serial(),
                             [](const release &one, uint64_t wanted) { return one.last < wanted; });
        for (; i != list->end() && i->first <= r.serial(); ++i)
            if (r.serial() < i->last || r.time() < i->barrier || r.thread() == i->by)
                return true;
    }
    return false;
}

/* Of a record of this launch, and for shared memory of this block. */
static inline bool before_now(record r, const thread *t, uint64_t spread)
{
    if (r.serial() < first_of_block)
        return spread == MANY_BLOCKS ? !acquired.empty() : released_before(r);
    if (spread == MANY_BLOCKS)
        return !acquired.empty();
    if (r.serial() < serial || r.time() < now.barrier)
        return true;
    if (spread == ONE_THREAD && r.thread() == t->number)
        return true;
    return spread != ONE_BLOCK && r.thread() / 32 == t->number / 32 && r.time() < t->synced;
}

static inline record stamp(const thread *t)
{
    return {serial << 32 | static_cast<uint64_t>(now.time) << 14 |
            static_cast<uint64_t>(t->number) << flag_bits};
}

static inline void note_read(cell *c, uint64_t from, const thread *t, record mine)
{
    record r = c->read;
    if (r.serial() < from) {
        c->read = mine;
    } else if (r.serial() < first_of_block || r.flags() == MANY_BLOCKS) {
        c->read.bits = mine.bits | MANY_BLOCKS;
    } else if (before_now(r, t, r.flags())) {
        c->read = mine;
    } else {
        bool warp = r.flags() <= ONE_WARP && r.thread() / 32 == t->number / 32;
        c->read.bits = mine.bits | (warp ? ONE_WARP : ONE_BLOCK);
    }
}

static inline void check_cell(cell *c, bool shared, uint64_t from, const access &a, const thread *t,
                              record mine)
{
    record w = c->write;
    if (a.kind == TC_ACCESS_READ) {
        /* Nothing is new where the same read, or one by many, is noted: a write since then would
         * have been a race with it. */
        record last = c->read;
        if (last.bits == mine.bits ||
            (last.serial() >= from && last.flags() == MANY_BLOCKS && w.serial() < from))
            return;
    }
    bool written = w.serial() >= from;
    if (written && !before_now(w, t, ONE_THREAD) &&
        !(a.kind == TC_ACCESS_ATOMIC && w.flags() & atomic_flag))
        race(a, w, true);
    if (!written && shared && a.kind != TC_ACCESS_WRITE)
        refuse(a, "shared memory that nobody has written");
    if (a.kind == TC_ACCESS_READ) {
        note_read(c, from, t, mine);
        return;
    }
    if (c->read.serial() >= from && !before_now(c->read, t, c->read.flags()))
        race(a, c->read, false);
    c->write.bits = mine.bits | (a.kind == TC_ACCESS_ATOMIC ? atomic_flag : 0);
}

/* Bytes [begin, end) of a word, which is kept by bytes from now on. */
static void check_bytes(const region &r, size_t word, size_t begin, size_t end, uint64_t from,
                        const access &a, const thread *t, record mine)
{
    cell *w = &r.words[word], *b = &r.bytes[word * 4];
    if (w->write.serial() < from || !(w->write.flags() & split_flag)) {
        b[0] = b[1] = b[2] = b[3] = *w;
        w->write.bits = mine.bits | split_flag;
        w->read.bits = 0;
    }
    for (size_t i = begin; i < end; i++)
        check_cell(&b[i], r.shared, from, a, t, mine);
}

static void check_races(const region &r, size_t offset, const access &a, const thread *t)
{
    uint64_t from = r.shared ? first_of_block : first_of_launch;
    size_t end = offset + a.bytes;
    record mine = stamp(t);
    while (offset < end) {
        size_t word = offset / 4, next = std::min(end, (word + 1) * 4);
        cell *w = &r.words[word];
        bool split = w->write.serial() >= from && w->write.flags() & split_flag;
        if (next - offset == 4 && !split)
            check_cell(w, r.shared, from, a, t, mine);
        else
            check_bytes(r, word, offset - word * 4, next - word * 4, from, a, t, mine);
        offset = next;
    }
}

/*
 * Device memory
 */
static const char *state_error(uint8_t state)
{
    return state == FREED       ? "memory that was freed"
           : state == UNWRITTEN ? "memory that nobody has written"
                                : "outside of all allocations";
}

/* For the sizes of most accesses, at once. */
static inline bool all_written(const uint8_t *state, size_t bytes)
{
    uint32_t word;
    uint64_t wide;
    if (bytes == 4) {
        memcpy(&word, state, 4);
        return word == 0x03030303u;
    }
    if (bytes % 8 != 0)
        return false;
    for (size_t i = 0; i < bytes; i += 8) {
        memcpy(&wide, state + i, 8);
        if (wide != 0x0303030303030303u)
            return false;
    }
    return true;
}

/* The place that holds an access; NULL when none does. */
static const tc_cuda_host_bound *last_bound; /* of the launch */

static const tc_cuda_host_bound *find_bound(const bounds &within, const void *address, size_t bytes,
                                            bool write)
{
    for (const tc_cuda_host_bound &b : *within) {
        range r = {reinterpret_cast<uintptr_t>(b.address), b.bytes};
        if (r.has(reinterpret_cast<uintptr_t>(address), bytes) && (b.writable || !write))
            return &b;
    }
    return nullptr;
}

/* Most accesses are beside the one before. */
static inline bool in_last_bound(const access &a)
{
    const tc_cuda_host_bound *b = last_bound;
    size_t offset = reinterpret_cast<uintptr_t>(a.address) -
                    reinterpret_cast<uintptr_t>(b ? b->address : nullptr);
    return b && offset < b->bytes && a.bytes <= b->bytes - offset &&
           (b->writable || a.kind == TC_ACCESS_READ);
}

/* Where an access is that no place holds: beside the nearest one. */
static std::string describe_bounds(const bounds &within, const void *address)
{
    const char *a = static_cast<const char *>(address);
    const tc_cuda_host_bound *best = nullptr;
    ptrdiff_t distance = 0;
    for (const tc_cuda_host_bound &b : *within) {
        const char *begin = static_cast<const char *>(b.address);
        ptrdiff_t d = a < begin ? a - begin
                      : a - begin < static_cast<ptrdiff_t>(b.bytes)
                          ? 0
                          : a - begin - static_cast<ptrdiff_t>(b.bytes) + 1;
        if (!best || std::abs(d) < std::abs(distance)) {
            best = &b;
            distance = d;
        }
    }
    char text[160] = "the node has no operands";
    if (best && distance == 0)
        snprintf(text, sizeof text, "byte %td of %s %d of %zu bytes, which is not to be written",
                 a - static_cast<const char *>(best->address), best->what, best->index,
                 best->bytes);
    else if (best)
        snprintf(text, sizeof text, "%td bytes %s %s %d of %zu bytes",
                 distance > 0 ? distance - 1 : -distance,
                 distance > 0 ? "behind the end of" : "before", best->what, best->index,
                 best->bytes);
    return text;
}

static void check_device(const access &a, const thread *t)
{
    if (running->within && !in_last_bound(a) &&
        !(last_bound = find_bound(running->within, a.address, a.bytes, a.kind != TC_ACCESS_READ)))
        fail_access(a.pc, "outside of the operands: %s %zu bytes at %p, %s", verbs[a.kind], a.bytes,
                    a.address, describe_bounds(running->within, a.address).c_str());
    size_t offset = static_cast<size_t>(static_cast<const char *>(a.address) - device_base);
    if (static_cast<int>(offset / device_range) != running->device)
        refuse(a, "memory of another device");
    uint8_t *state = states + offset;
    for (size_t i = all_written(state, a.bytes) ? a.bytes : 0; i < a.bytes; i++) {
        bool good = a.kind == TC_ACCESS_WRITE ? state[i] & UNWRITTEN : state[i] == WRITTEN;
        if (!good)
            refuse({static_cast<const char *>(a.address) + i, a.bytes, a.kind, a.pc},
                   state_error(state[i]));
    }
    if (a.kind == TC_ACCESS_WRITE && !all_written(state, a.bytes))
        memset(state, WRITTEN, a.bytes);
    check_races(device_region, offset, a, t);
}

static std::set<const int *> excuses;

static bool excused()
{
    for (const int *fault : excuses)
        if (*state_of(fault) == WRITTEN && *fault != 0)
            return true;
    return false;
}

cudaError_t shadow_copy(const void *to, const void *from, size_t bytes, const bounds &within)
{
    for (const void *end : {from, to}) {
        if (!end || device_of(end) < 0)
            continue;
        if (within && !find_bound(within, end, bytes, end == to)) {
            lose_device(cudaErrorIllegalAddress,
                        std::string(from ? "a copy of " : "a fill of ") + std::to_string(bytes) +
                            " bytes " + (end == to ? "writes" : "reads") +
                            " outside of the operands: " + describe_bounds(within, end));
            return cudaErrorIllegalAddress;
        }
        const uint8_t *state = state_of(end);
        for (size_t i = 0; i < bytes; i++) {
            /* Copies within devices take what is not known with them. */
            bool unknown = end == from && device_of(to) < 0 && state[i] == UNWRITTEN && !excused();
            if (state[i] & UNWRITTEN && !unknown)
                continue;
            char text[160];
            snprintf(text, sizeof text,
                     "a %s of %zu bytes %s at byte %zu %s: ", from ? "copy" : "fill", bytes,
                     end == from ? "reads" : "writes", i, state_error(state[i]));
            lose_device(cudaErrorIllegalAddress,
                        text + describe(static_cast<const char *>(end) + i));
            return cudaErrorIllegalAddress;
        }
    }
    if (device_of(to) < 0)
        return cudaSuccess;
    if (from && device_of(from) >= 0)
        memmove(state_of(to), state_of(from), bytes);
    else
        memset(state_of(to), WRITTEN, bytes);
    return cudaSuccess;
}

cudaError_t shadow_forget(void *memory, size_t bytes)
{
    if (device_of(memory) < 0)
        return cudaErrorInvalidValue;
    cudaError_t error = shadow_copy(memory, nullptr, bytes, nullptr);
    if (error == cudaSuccess)
        memset(state_of(memory), UNWRITTEN, bytes);
    return error;
}

/*
 * Launches
 */
void shadow_begin_launch(const launch &l)
{
    running = &l;
    code = module_of(l.kernel);
    static_region = nullptr;
    if (code) {
        region &r = static_regions[code];
        if (!r.words) {
            r.addresses = code->variables;
            r.addresses.begin &= ~static_cast<uintptr_t>(3);
            r.addresses.bytes += 3;
            r.shared = true;
            (void)make_cells(&r);
        }
        static_region = &r;
    }
    dynamic_region.addresses.bytes = l.shared_bytes;
    first_of_launch = serial + 1;
    last_bound = nullptr;
    releases.clear();
}

void shadow_begin_block()
{
    first_of_block = ++serial;
    now.time = now.barrier = 1;
    acquired.clear();
    fenced = false;
}

static void next_time()
{
    if (++now.time >> time_bits == 0)
        return;
    /* A new number for the block; what was before counts as in order. */
    serial++;
    now.time = now.barrier = 1;
    for (uint32_t i = 0; i < now.count; i++)
        now.threads[i].synced = 0;
}

void shadow_barrier()
{
    next_time();
    now.barrier = now.time;
}

void shadow_warp_sync(thread *warp, uint32_t members)
{
    next_time();
    for (uint32_t lane = 0; lane < 32; lane++)
        if (members >> lane & 1u)
            warp[lane].synced = now.time;
}

/* An atomic of a block that has fenced, or in a launch where one has. */
static void order_blocks(const void *address, const thread *t)
{
    auto found = releases.find(address);
    if (found != releases.end() &&
        std::find(acquired.begin(), acquired.end(), &found->second) == acquired.end())
        acquired.push_back(&found->second);
    if (!fenced)
        return;
    std::vector<release> &list = releases[address];
    if (list.empty() || list.back().last != serial || list.back().by != t->number)
        list.push_back({first_of_block, serial, now.barrier, t->number});
    list.back().barrier = now.barrier;
}

static void check(const access &a, thread *t)
{
    uintptr_t at = reinterpret_cast<uintptr_t>(a.address);
    if (at - reinterpret_cast<uintptr_t>(device_base) < device_range * max_devices) {
        check_device(a, t);
        return;
    }
    if (at - tc_cuda_host_stack < TC_STACK_BYTES)
        return;
    for (region *r : {&dynamic_region, static_region}) {
        if (r && r->addresses.has(at, a.bytes)) {
            check_races(*r, at - r->addresses.begin, a, t);
            return;
        }
    }
    if (at - reinterpret_cast<uintptr_t>(arena) < arena_bytes)
        refuse(a, "outside of shared memory");
    if (a.kind == TC_ACCESS_READ) {
        range arguments = {reinterpret_cast<uintptr_t>(running->arguments.get()),
                           running->argument_bytes};
        if (arguments.has(at, a.bytes))
            return;
        if (code)
            for (const range &r : code->constant)
                if (r.has(at, a.bytes))
                    return;
    }
    refuse(a, "not memory of the device");
}

} // namespace cuda_host

using namespace cuda_host;

void *tc_cuda_host_shared(void)
{
    return arena + arena_begin;
}

void tc_cuda_host_excuse(const int *fault)
{
    std::lock_guard<std::recursive_mutex> guard(execution_lock);
    if (device_of(fault) >= 0)
        excuses.insert(fault);
}

void tc_cuda_host_fence(void)
{
    fenced = fenced || current;
}

void tc_cuda_host_access(const void *address, size_t bytes, tc_cuda_host_access_kind kind,
                         const void *pc)
{
    if (current)
        check({address, bytes, kind, pc}, current);
}

void tc_cuda_host_atomic(const volatile void *address, unsigned bytes, const void *pc)
{
    if (!current)
        return;
    const void *at = const_cast<const void *>(address);
    check({at, bytes, TC_ACCESS_ATOMIC, pc}, current);
    if (fenced || !releases.empty())
        order_blocks(at, current);
}

void tc_cuda_host_undefined(const char *what, const char *file, unsigned line)
{
    if (current)
        fail_thread(cudaErrorIllegalAddress, "%s at %s:%u", what, base_name(file), line);
    fprintf(stderr, "cuda_host: %s at %s:%u\n", what, base_name(file), line);
    abort();
}

void *tc_cuda_host_memcpy(void *to, const void *from, size_t bytes, const void *pc)
{
    return tc_cuda_host_memmove(to, from, bytes, pc);
}

void *tc_cuda_host_memmove(void *to, const void *from, size_t bytes, const void *pc)
{
    if (bytes) {
        tc_cuda_host_access(from, bytes, TC_ACCESS_READ, pc);
        tc_cuda_host_access(to, bytes, TC_ACCESS_WRITE, pc);
    }
    return memmove(to, from, bytes);
}

void *tc_cuda_host_memset(void *to, int value, size_t bytes, const void *pc)
{
    if (bytes)
        tc_cuda_host_access(to, bytes, TC_ACCESS_WRITE, pc);
    return memset(to, value, bytes);
}
