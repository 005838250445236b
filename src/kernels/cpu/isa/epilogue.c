/* What follows a product, for every instruction set (see ../epilogue.h). */
#include "kernels/cpu/epilogue.h"

#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/kernel.h"

/* Elements of a residual of 16 bits are widened so many at a time. */
#define PIECE 256

/* Of which a vector takes as many as it has lanes. */
#if TC_VECTOR_BYTES == 64
#define TIMES_f32(x) x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x
#define TIMES_f64(x) x, x, x, x, x, x, x, x
#elif TC_VECTOR_BYTES == 32
#define TIMES_f32(x) x, x, x, x, x, x, x, x
#define TIMES_f64(x) x, x, x, x
#else
#define TIMES_f32(x) x, x, x, x
#define TIMES_f64(x) x, x
#endif

#define S          float
#define V          tc_f32v
#define NAME(name) tc_f32_##name
#define LANES      TC_F32_LANES
#define SPLAT(x)     \
    {                \
        TIMES_f32(x) \
    }
#define NARROW 1
#include "epilogue_body.h"

#define S          double
#define V          tc_f64v
#define NAME(name) tc_f64_##name
#define LANES      TC_F64_LANES
#define SPLAT(x)     \
    {                \
        TIMES_f64(x) \
    }
#define NARROW 0
#include "epilogue_body.h"

extern const tc_epilogue_code TC_ISA_NAME(tc_epilogue_code);
const tc_epilogue_code TC_ISA_NAME(tc_epilogue_code) = {tc_f32_finish, tc_f64_finish};
