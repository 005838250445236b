/* CRC-32C (Castagnoli), as in RFC 3720 appendix B.4. */
#ifndef TC_BASE_CRC32C_H
#define TC_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/**
 * CRC of `size` bytes continued from `crc` (0 to begin). Uses SSE4.2 where the processor has it.
 * Thread-safe.
 */
uint32_t tc_crc32c(uint32_t crc, const void *data, size_t size);

/** The same by tables, on any processor: what tc_crc32c falls back to. */
uint32_t tc_crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
