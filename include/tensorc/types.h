/*
 * Plain value types shared by every header: element types, shapes, source locations, optional
 * arguments.
 */
#ifndef TENSORC_TYPES_H
#define TENSORC_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tensorc/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Largest rank of a tensor. */
#define TC_MAX_RANK 8

/** Element type. The numbers are stored in files and never change. */
typedef enum tc_dtype {
    TC_DTYPE_INVALID = 0,
    TC_F32 = 1,
    TC_F64 = 2,
    TC_F16 = 3,
    TC_BF16 = 4,
    TC_I8 = 5,
    TC_I16 = 6,
    TC_I32 = 7,
    TC_I64 = 8,
    TC_U8 = 9,
    TC_U16 = 10,
    TC_U32 = 11,
    TC_U64 = 12,
    TC_BOOL = 13, /**< one byte, 0 or 1 */
    /* Reserved numbers, rejected by this version. */
    TC_F8E4M3 = 14,
    TC_F8E5M2 = 15,
    TC_I4 = 16,
    TC_U4 = 17,
    TC_C64 = 18,
    TC_C128 = 19,
    TC_STRING = 20,
    TC_DTYPE_COUNT = 21
} tc_dtype;

/** Short lower-case name such as "f32"; "invalid" for anything else. Thread-safe. */
TC_API const char *tc_dtype_name(tc_dtype dtype);

/** Bits of one element; 0 for TC_DTYPE_INVALID and TC_STRING. Thread-safe. */
TC_API int32_t tc_dtype_bits(tc_dtype dtype);

/** Dtype of that name, TC_DTYPE_INVALID when there is none. Thread-safe. */
TC_API tc_dtype tc_dtype_from_name(const char *name);

/** One dimension: its size, or -1 when unknown. An unknown dimension may carry a name; equal names
 * mean equal sizes. */
typedef struct tc_dim {
    int64_t size;
    const char *name; /**< NULL for known and anonymous dimensions */
} tc_dim;

/** Shape of a tensor or value. Rank 0 is a scalar. Inside a graph, names are interned: equal names
 * are equal pointers. */
typedef struct tc_shape {
    int32_t rank;
    tc_dim dims[TC_MAX_RANK];
} tc_shape;

/**
 * Shape of the first `rank` elements of `dims`; a rank outside 0..TC_MAX_RANK gives a shape of rank
 * -1, which every function that takes a shape rejects.
 */
static inline tc_shape tc_shape_make(size_t rank, const tc_dim *dims)
{
    tc_shape shape;
    shape.rank = rank > TC_MAX_RANK ? -1 : (int32_t)rank;
    for (size_t i = 0; i < TC_MAX_RANK; i++) {
        shape.dims[i].size = i < rank ? dims[i].size : 0;
        shape.dims[i].name = i < rank ? dims[i].name : NULL;
    }
    return shape;
}

/** Shape of known sizes (or -1) without names. */
static inline tc_shape tc_shape_of(size_t rank, const int64_t *sizes)
{
    tc_shape shape;
    shape.rank = rank > TC_MAX_RANK ? -1 : (int32_t)rank;
    for (size_t i = 0; i < TC_MAX_RANK; i++) {
        shape.dims[i].size = i < rank ? sizes[i] : 0;
        shape.dims[i].name = NULL;
    }
    return shape;
}

/** Number of elements; -1 when a dimension is unknown, the rank is invalid or the product
 * overflows. Thread-safe. */
TC_API int64_t tc_shape_size(const tc_shape *shape);

/** True when ranks, sizes and names agree. Thread-safe. */
TC_API bool tc_shape_equal(const tc_shape *a, const tc_shape *b);

/**
 * Writes the shape as "[batch, 28, ?]" into `buffer`, always terminated, cut where it does not fit.
 * Returns the length of the whole text. Thread-safe.
 */
TC_API size_t tc_shape_format(const tc_shape *shape, char *buffer, size_t size);

/** Where a node was built: the call itself and, for library layers, the caller's line that led to
 * it. */
typedef struct tc_location {
    const char *file; /**< copied by the graph */
    int32_t line;
    const char *outer_file; /**< NULL when there is no outer call */
    int32_t outer_line;
} tc_location;

/** The location file:line inside a layer that was itself called at `caller`. */
static inline tc_location tc_location_within(const char *file, int32_t line, tc_location caller)
{
    tc_location here;
    here.file = file;
    here.line = line;
    here.outer_file = caller.outer_file ? caller.outer_file : caller.file;
    here.outer_line = caller.outer_file ? caller.outer_line : caller.line;
    return here;
}

static inline tc_location tc_location_make(const char *file, int32_t line)
{
    tc_location here;
    here.file = file;
    here.line = line;
    here.outer_file = NULL;
    here.outer_line = 0;
    return here;
}

/** The calling line. */
#define TC_HERE tc_location_make(__FILE__, __LINE__)
/** The calling line, inside a layer that was called at `caller`. */
#define TC_WITHIN(caller) tc_location_within(__FILE__, __LINE__, caller)

/** Integer option where zero is a real choice: unset means the documented default. */
typedef struct tc_optional_int {
    bool has;
    int64_t value;
} tc_optional_int;

/** Floating-point option where zero is a real choice: unset means the documented default. */
typedef struct tc_optional_float {
    bool has;
    double value;
} tc_optional_float;

/** What operators that differ in training and inference do (dropout, batch normalization). */
typedef enum tc_mode {
    TC_MODE_AUTO =
        0, /**< a run that updates variables is a training run, any other an inference run */
    TC_MODE_TRAINING = 1,
    TC_MODE_INFERENCE = 2
} tc_mode;

/**
 * Reads an options struct that begins with its size: the `from_size` bytes that the caller's struct
 * has, and zeros for the fields it lacks (a caller built against an older header), or for all where
 * `from_size` is 0.
 */
static inline void tc_options_read(void *to, size_t size, const void *from, size_t from_size)
{
    memset(to, 0, size);
    if (from_size > 0)
        memcpy(to, from, from_size < size ? from_size : size);
}

/** Declares `local`, read from the possibly NULL `options`: `TC_OPTIONS(tc_gelu_options, o,
 * options);` */
#define TC_OPTIONS(type, local, options) \
    type local;                          \
    tc_options_read(&local, sizeof local, (options), (options) ? (options)->struct_size : 0)

/** List of integers, borrowed for the call. */
typedef struct tc_ints {
    const int64_t *data;
    size_t count;
} tc_ints;

#ifndef __cplusplus

/** A dimension of unknown size with a name. */
#define TC_DIM(dim_name) ((tc_dim){-1, (dim_name)})

/** Sets a tc_optional_int or tc_optional_float option: `.axis = TC_SOME(0)`. */
#define TC_SOME(number) \
    {                   \
        true, (number)  \
    }

/** A tc_ints of at least one integer: `.axes = TC_INTS(0, 2)`. */
#define TC_INTS(...)                           \
    ((tc_ints){(const int64_t[]){__VA_ARGS__}, \
               sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)})

static inline tc_dim tc_dim_from_int(int64_t size)
{
    return (tc_dim){size, NULL};
}

static inline tc_dim tc_dim_from_dim(tc_dim dim)
{
    return dim;
}

#define TC_DIM_OF_(d)                             _Generic((d), tc_dim : tc_dim_from_dim, default : tc_dim_from_int)(d)
#define TC_SHAPE_1_(a)                            TC_DIM_OF_(a)
#define TC_SHAPE_2_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_1_(__VA_ARGS__)
#define TC_SHAPE_3_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_2_(__VA_ARGS__)
#define TC_SHAPE_4_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_3_(__VA_ARGS__)
#define TC_SHAPE_5_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_4_(__VA_ARGS__)
#define TC_SHAPE_6_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_5_(__VA_ARGS__)
#define TC_SHAPE_7_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_6_(__VA_ARGS__)
#define TC_SHAPE_8_(a, ...)                       TC_DIM_OF_(a), TC_SHAPE_7_(__VA_ARGS__)
#define TC_COUNT_(a, b, c, d, e, f, g, h, n, ...) n
#define TC_CONCAT_(a, b)                          a##b
#define TC_SHAPE_N_(n, ...)                       TC_CONCAT_(TC_SHAPE_, n)(__VA_ARGS__)

/** A shape of rank 1 to 8 from integers and TC_DIM names: `TC_SHAPE(TC_DIM("batch"), 784)`; -1 is
 * an anonymous unknown size. */
#define TC_SHAPE(...)                                                \
    tc_shape_make(TC_COUNT_(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0), \
                  (const tc_dim[]){TC_SHAPE_N_(                      \
                      TC_COUNT_(__VA_ARGS__, 8_, 7_, 6_, 5_, 4_, 3_, 2_, 1_, 0_), __VA_ARGS__)})

/** The shape of a scalar. */
#define TC_SCALAR tc_shape_make(0, NULL)

/*
 * Builders with optional arguments are macros `tc_op(required..., .option = value, ...)` over the
 * function `tc_op_at(TC_HERE, required..., &(tc_op_options){.option = value, .struct_size =
 * sizeof(tc_op_options)})`.
 */
#define TC_BUILD1(op, ...)              TC_BUILD1_(op, __VA_ARGS__, .struct_size = sizeof(op##_options))
#define TC_BUILD1_(op, a, ...)          op##_at(TC_HERE, a, &(op##_options){__VA_ARGS__})
#define TC_BUILD2(op, ...)              TC_BUILD2_(op, __VA_ARGS__, .struct_size = sizeof(op##_options))
#define TC_BUILD2_(op, a, b, ...)       op##_at(TC_HERE, a, b, &(op##_options){__VA_ARGS__})
#define TC_BUILD3(op, ...)              TC_BUILD3_(op, __VA_ARGS__, .struct_size = sizeof(op##_options))
#define TC_BUILD3_(op, a, b, c, ...)    op##_at(TC_HERE, a, b, c, &(op##_options){__VA_ARGS__})
#define TC_BUILD4(op, ...)              TC_BUILD4_(op, __VA_ARGS__, .struct_size = sizeof(op##_options))
#define TC_BUILD4_(op, a, b, c, d, ...) op##_at(TC_HERE, a, b, c, d, &(op##_options){__VA_ARGS__})
#define TC_BUILD5(op, ...)              TC_BUILD5_(op, __VA_ARGS__, .struct_size = sizeof(op##_options))
#define TC_BUILD5_(op, a, b, c, d, e, ...) \
    op##_at(TC_HERE, a, b, c, d, e, &(op##_options){__VA_ARGS__})

#endif

#ifdef __cplusplus
}
#endif

#endif
