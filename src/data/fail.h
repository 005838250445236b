/* Errors of this folder. */
#ifndef TC_DATA_FAIL_H
#define TC_DATA_FAIL_H

#include <tensorc/extend.h>

/* The public way to record an error is that of kernels. */
#define tc_data_fail tc_kernel_fail

#endif
