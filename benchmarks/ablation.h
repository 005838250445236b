/* What each compiler pass is worth. */
#ifndef TENSORC_BENCHMARKS_ABLATION_H
#define TENSORC_BENCHMARKS_ABLATION_H

#include <tensorc/tensorc.h>

/** A table per network: everything on, each pass off, everything off; kernel calls, bytes, time. */
tc_status ablation_print(tc_runtime *runtime, const char *filter);
/** The plan of each network as text into `<folder>/<name>.txt`. */
tc_status ablation_dump(tc_runtime *runtime, const char *folder);

#endif
