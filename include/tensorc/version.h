/* Version of the library. */
#ifndef TENSORC_VERSION_H
#define TENSORC_VERSION_H

#include <tensorc/status.h>

/** Version of the headers. */
#define TC_VERSION_MAJOR 0
#define TC_VERSION_MINOR 1
#define TC_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the linked library, such as "0.1.0". Thread-safe. */
TC_API const char *tc_version(void);

#ifdef __cplusplus
}
#endif

#endif
