/*
 * libtensorc: tensors, dataflow graphs, training and inference in C. Includes every public header.
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
#include <tensorc/types.h>
#include <tensorc/version.h>

#endif
