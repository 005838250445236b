/* Every operator of the library. */
#ifndef TENSORC_OPS_H
#define TENSORC_OPS_H

#include <tensorc/ops/attention.h>
#include <tensorc/ops/conv.h>
#include <tensorc/ops/dynamic.h>
#include <tensorc/ops/elementwise.h>
#include <tensorc/ops/linalg.h>
#include <tensorc/ops/nn.h>
#include <tensorc/ops/random.h>
#include <tensorc/ops/reduce.h>
#include <tensorc/ops/shape.h>
#include <tensorc/ops/state.h>

#endif
