/* Every operator of the library. */
#ifndef TENSORC_OPS_H
#define TENSORC_OPS_H

#include <tensorc/ops/conv.h>
#include <tensorc/ops/elementwise.h>
#include <tensorc/ops/linalg.h>

#endif
