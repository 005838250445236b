#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* The Castagnoli polynomial with its bits reversed. */
#define TC_CRC32C_POLYNOMIAL 0x82f63b78u

/*
 * tables[k][b]: the CRC of byte b followed by k zero bytes, so that eight bytes can be looked up at
 * once.
 */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? TC_CRC32C_POLYNOMIAL : 0);
        tables[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t crc = tables[k - 1][byte];
            tables[k][byte] = crc >> 8 ^ tables[0][crc & 0xff];
        }
}

uint32_t tc_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    pthread_once(&tables_once, make_tables);
    const unsigned char *p = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = tables[7][crc & 0xff] ^ tables[6][crc >> 8 & 0xff] ^ tables[5][crc >> 16 & 0xff] ^
              tables[4][crc >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^
              tables[0][p[7]];
    }
    for (; size; size--, p++)
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

#define TC_CRC32C_HARDWARE 1

static bool hardware_present(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, const void *data,
                                                                  size_t size)
{
    const unsigned char *p = data;
    uint64_t wide = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size; size--, p++)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return ~crc;
}

#elif defined(__aarch64__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#define TC_CRC32C_HARDWARE 1
#define TC_HWCAP_CRC32     (1ul << 7) /* HWCAP_CRC32 of the kernel's asm/hwcap.h */

static bool hardware_present(void)
{
    return (getauxval(AT_HWCAP) & TC_HWCAP_CRC32) != 0;
}

/*
 * Assembler rather than arm_acle.h, which hides its functions unless the whole file is compiled for
 * +crc.
 */
static uint32_t crc32c_hardware(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    for (; size; size--, p++)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p));
    return ~crc;
}

#endif

uint32_t tc_crc32c(uint32_t crc, const void *data, size_t size)
{
#if defined(TC_CRC32C_HARDWARE)
    if (hardware_present())
        return crc32c_hardware(crc, data, size);
#endif
    return tc_crc32c_portable(crc, data, size);
}
