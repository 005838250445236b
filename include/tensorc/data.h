/*
 * Data: reading data sets, and shuffled batches prepared in the background.
 */
#ifndef TENSORC_DATA_H
#define TENSORC_DATA_H

#include <tensorc/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Files
 */

/**
 * Reads an IDX file (the format of MNIST: http://yann.lecun.com/exdb/mnist), plain or
 * gzip-compressed, as a tensor of its dtype and shape that the caller owns. Errors: NOT_FOUND,
 * PERMISSION_DENIED, DATA_LOSS naming file, field and offset, RESOURCE_EXHAUSTED. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_idx_load(const char *path, tc_tensor **out);

/** A data set of labelled images, in a part to train on and one to test on. */
typedef struct tc_image_data {
    tc_tensor *train_images; /**< u8 [n, 28, 28] */
    tc_tensor *train_labels; /**< u8 [n], class ids 0..9 */
    tc_tensor *test_images;
    tc_tensor *test_labels;
} tc_image_data;

/**
 * Loads Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 60,000 + 10,000 images of 28 x 28, ten
 * classes. `folder` NULL: $TENSORC_FASHION_MNIST when set, else where Debian's package
 * dataset-fashion-mnist puts it. The caller releases the tensors with tc_image_data_release.
 * Errors: NOT_FOUND naming package and folder; as tc_idx_load. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_fashion_mnist_load(const char *folder, tc_image_data *out);
/** Name of a class 0..9, such as "Ankle boot"; "?" for other numbers. */
TC_API const char *tc_fashion_mnist_class(int64_t id);
/** Releases the tensors and clears the struct. NULL is allowed. */
TC_API void tc_image_data_release(tc_image_data *data);

/*
 * Batches
 */
typedef struct tc_batches tc_batches;

/**
 * One column of a data set: rows along axis 0, delivered as value * scale + offset in `dtype`,
 * computed in f32 for f32 and in f64 otherwise. Integers are rounded towards zero, kept within
 * their range, and 0 for NaN. `data` of f16 and bf16 can only be delivered as it is.
 */
typedef struct tc_column {
    tc_tensor *data; /**< [rows, ...]; retained; must not change */
    tc_dtype dtype;  /**< of the batches: f32, f64, i32, i64 or that of `data`; TC_DTYPE_INVALID:
                        that of `data` */
    double scale;    /**< 0: 1 */
    double offset;
} tc_column;

typedef struct tc_batches_options {
    size_t struct_size;
    int64_t batch_size; /**< rows of a batch; default 32 */
    uint64_t seed;      /**< of the order; default 0 */
    bool no_shuffle;    /**< rows in their order */
    bool keep_partial;  /**< an epoch ends with a smaller batch where rows are left over; default:
                           they are dropped */
    int32_t prefetch;   /**< batches prepared ahead; default 4 */
} tc_batches_options;

/** Where a sequence of batches stands: all there is to its state. */
typedef struct tc_batches_position {
    int64_t epoch; /**< from 0 */
    int64_t batch; /**< of the epoch: the one that tc_batches_next gives next */
} tc_batches_position;

/**
 * Starts one background thread that prepares batches of `count` columns with equal numbers of rows.
 * The order of epoch e is a function of seed and e alone. The caller owns `*out`. Errors:
 * INVALID_ARGUMENT, RESOURCE_EXHAUSTED.
 */
TC_MUST_USE TC_API tc_status tc_batches_create(const tc_column *columns, size_t count,
                                               const tc_batches_options *options, tc_batches **out);
/** Stops the thread; tensors that tc_batches_next gave become invalid. NULL is allowed. */
TC_API void tc_batches_destroy(tc_batches *batches);

/**
 * Waits for the next batch and writes one borrowed tensor [rows, ...] per column, valid until the
 * next call on `batches`. OUT_OF_RANGE (without a message) at the end of an epoch; the call after
 * it begins the next one. Does not allocate. One thread at a time.
 */
TC_MUST_USE TC_API tc_status tc_batches_next(tc_batches *batches, tc_tensor **columns);

/** Batches of one epoch. */
TC_API int64_t tc_batches_per_epoch(const tc_batches *batches);
/** The position after the batches given so far; at the end of an epoch, once that was reported, the
 * next epoch's start. */
TC_API tc_batches_position tc_batches_tell(const tc_batches *batches);
/** Continues at `position`. Errors: OUT_OF_RANGE. One thread at a time. */
TC_MUST_USE TC_API tc_status tc_batches_seek(tc_batches *batches, tc_batches_position position);

#ifdef __cplusplus
}
#endif

#endif
