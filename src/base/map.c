#include "base/map.h"

#include <string.h>

#include "base/alloc.h"

/*
 * XXH64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md): published, fast on long
 * weights, and with test vectors of its own, which a hash that is stored in files should have.
 */
#define PRIME_1 0x9E3779B185EBCA87u
#define PRIME_2 0xC2B2AE3D27D4EB4Fu
#define PRIME_3 0x165667B19E3779F9u
#define PRIME_4 0x85EBCA77C2B2AE63u
#define PRIME_5 0x27D4EB2F165667C5u

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

/* Little-endian whatever the machine; compilers make one load of it. */
static uint64_t read_64(const unsigned char *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

static uint32_t read_32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t round_64(uint64_t accumulator, uint64_t input)
{
    return rotate(accumulator + input * PRIME_2, 31) * PRIME_1;
}

static uint64_t merge(uint64_t hash, uint64_t accumulator)
{
    return (hash ^ round_64(0, accumulator)) * PRIME_1 + PRIME_4;
}

static uint64_t avalanche(uint64_t hash)
{
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    return hash ^ hash >> 32;
}

uint64_t tc_hash_bytes(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    size_t left = size;
    uint64_t hash;
    if (size >= 32) {
        uint64_t lanes[4] = {seed + PRIME_1 + PRIME_2, seed + PRIME_2, seed, seed - PRIME_1};
        for (; left >= 32; left -= 32, p += 32)
            for (int i = 0; i < 4; i++)
                lanes[i] = round_64(lanes[i], read_64(p + 8 * i));
        hash =
            rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
        for (int i = 0; i < 4; i++)
            hash = merge(hash, lanes[i]);
    } else {
        hash = seed + PRIME_5;
    }
    hash += (uint64_t)size;
    for (; left >= 8; left -= 8, p += 8)
        hash = rotate(hash ^ round_64(0, read_64(p)), 27) * PRIME_1 + PRIME_4;
    if (left >= 4) {
        hash = rotate(hash ^ read_32(p) * PRIME_1, 23) * PRIME_2 + PRIME_3;
        left -= 4;
        p += 4;
    }
    for (; left; left--, p++)
        hash = rotate(hash ^ *p * PRIME_5, 11) * PRIME_1;
    return avalanche(hash);
}

uint64_t tc_hash_string(const char *text)
{
    return tc_hash_bytes(text, strlen(text), 0);
}

uint64_t tc_hash_combine(uint64_t a, uint64_t b)
{
    return avalanche(merge(rotate(a, 27) + PRIME_5, b));
}

static uint64_t hash_key(const void *key, size_t key_size)
{
    return tc_hash_bytes(key, key_size, 0);
}

/* The slot that holds the key, or the free one where it belongs. Needs at least one free slot. */
static size_t find_slot(const tc_map *map, uint64_t hash, const void *key, size_t key_size)
{
    size_t mask = map->slot_count - 1;
    for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
        uint32_t index = map->slots[slot];
        if (index == 0)
            return slot;
        const tc_map_entry *entry = &map->entries[index - 1];
        if (entry->hash == hash && entry->key_size == key_size &&
            (key_size == 0 || memcmp(entry->key, key, key_size) == 0))
            return slot;
    }
}

uint64_t *tc_map_find(const tc_map *map, const void *key, size_t key_size)
{
    if (map->count == 0)
        return NULL;
    uint32_t index = map->slots[find_slot(map, hash_key(key, key_size), key, key_size)];
    return index ? &map->entries[index - 1].value : NULL;
}

/*
 * Room for one more entry, with at most three quarters of the slots taken. On failure the map is as
 * it was.
 */
static bool grow(tc_map *map)
{
    if (map->count >= UINT32_MAX - 1)
        return false;
    if (!tc_vector_reserve_bytes((void **)&map->entries, &map->capacity, map->count + 1,
                                 sizeof *map->entries))
        return false;
    if ((map->count + 1) * 4 <= map->slot_count * 3)
        return true;
    size_t slot_count = map->slot_count ? map->slot_count * 2 : 16;
    uint32_t *slots = tc_alloc_zero(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < map->count; i++) {
        size_t slot = map->entries[i].hash & (slot_count - 1);
        while (slots[slot])
            slot = (slot + 1) & (slot_count - 1);
        slots[slot] = (uint32_t)(i + 1);
    }
    tc_free(map->slots);
    map->slots = slots;
    map->slot_count = slot_count;
    return true;
}

bool tc_map_put(tc_map *map, const void *key, size_t key_size, uint64_t value)
{
    uint64_t hash = hash_key(key, key_size);
    if (map->count) {
        uint32_t index = map->slots[find_slot(map, hash, key, key_size)];
        if (index) {
            map->entries[index - 1].value = value;
            return true;
        }
    }
    if (!grow(map))
        return false;
    map->entries[map->count] = (tc_map_entry){hash, key, key_size, value};
    map->count++;
    map->slots[find_slot(map, hash, key, key_size)] = (uint32_t)map->count;
    return true;
}

uint64_t *tc_map_find_string(const tc_map *map, const char *key)
{
    return tc_map_find(map, key, strlen(key));
}

bool tc_map_put_string(tc_map *map, const char *key, uint64_t value)
{
    return tc_map_put(map, key, strlen(key), value);
}

void tc_map_free(tc_map *map)
{
    tc_free(map->entries);
    tc_free(map->slots);
    *map = (tc_map){0};
}
