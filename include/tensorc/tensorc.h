/*
 * libtensorc: tensors, dataflow graphs, training and inference in C.
 */
#ifndef TENSORC_TENSORC_H
#define TENSORC_TENSORC_H

#include <tensorc/data.h>
#include <tensorc/device.h>
#include <tensorc/extend.h>
#include <tensorc/gradients.h>
#include <tensorc/graph.h>
#include <tensorc/layers.h>
#include <tensorc/losses.h>
#include <tensorc/metrics.h>
#include <tensorc/ops.h>
#include <tensorc/optimizers.h>
#include <tensorc/serialize.h>
#include <tensorc/session.h>
#include <tensorc/status.h>
#include <tensorc/tensor.h>
#include <tensorc/training.h>
#include <tensorc/types.h>

/** Version of the library: the headers' numbers and what the linked library says. */
#define TC_VERSION_MAJOR 0
#define TC_VERSION_MINOR 1
#define TC_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/** "0.1.0" of the linked library. Thread-safe. */
TC_API const char *tc_version(void);

#ifdef __cplusplus
}
#endif

#endif
