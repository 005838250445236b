/*
 * Hash map from byte strings or integers to 64-bit values. Open addressing; iteration is in
 * insertion order.
 */
#ifndef TC_BASE_MAP_H
#define TC_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * 64-bit hash of `size` bytes, the same on every machine and in every version (it is stored in
 * files).
 */
uint64_t tc_hash_bytes(const void *data, size_t size, uint64_t seed);
uint64_t tc_hash_string(const char *text);
/** Order-dependent mix of two hashes. */
uint64_t tc_hash_combine(uint64_t a, uint64_t b);

typedef struct tc_map_entry {
    uint64_t hash;
    const void *key; /* borrowed: must outlive the map */
    size_t key_size;
    uint64_t value;
} tc_map_entry;

/** Zero-initialize. Not thread-safe. */
typedef struct tc_map {
    tc_map_entry *entries; /* in insertion order */
    size_t count, capacity;
    uint32_t *slots; /* power of two; index + 1 */
    size_t slot_count;
} tc_map;

/** Pointer to the value of `key`, NULL when absent; valid until the next tc_map_put. */
uint64_t *tc_map_find(const tc_map *map, const void *key, size_t key_size);
/** Inserts or overwrites; false when memory is exhausted. The key is borrowed. */
bool tc_map_put(tc_map *map, const void *key, size_t key_size, uint64_t value);
uint64_t *tc_map_find_string(const tc_map *map, const char *key);
bool tc_map_put_string(tc_map *map, const char *key, uint64_t value);
void tc_map_free(tc_map *map);

#endif
