/*
 * Convolution and its two gradients: what prepare decides and who computes it. cuDNN
 * (conv2d_dnn.cu) does where it can, the kernels of conv2d.cu everything else.
 */
#ifndef TC_KERNELS_CUDA_CONV2D_CUH
#define TC_KERNELS_CUDA_CONV2D_CUH

#include "kernels/cuda/dnn.cuh"
#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/images.cuh"

enum tc_cuda_conv_kind {
    TC_CUDA_CONV,             /* y [images, filters, oh, ow] of x and w */
    TC_CUDA_CONV_GRAD_INPUT,  /* x [images, channels, h, w] of w and y */
    TC_CUDA_CONV_GRAD_FILTER, /* w [filters, channels / groups, kh, kw] of x and y */
};

/** Geometry; passed to kernels. What is counted in a launch stays in 32 bits. */
struct tc_cuda_conv {
    tc_cuda_conv_kind kind;
    tc_cuda_axis axis[2];
    int32_t images; /* of the launch */
    int32_t groups;
    int32_t channels, filters;               /* of one group */
    int64_t image_channels, image_filters;   /* of all */
    int64_t x_plane, y_plane;                /* elements: h w, oh ow */
    int32_t w_plane;                         /* kh kw */
    int32_t depth;                           /* what an element of the result sums, at most */
    int32_t splits, split_depth;             /* the sum of a launch is cut into so many parts */
    int32_t parts;                           /* of all launches, added in their order */
    tc_cuda_planes x, y, w;                  /* indices in them */
    tc_cuda_divisor row_tiles, column_tiles; /* of the product, of the largest class */
    tc_cuda_divisor classes[2]; /* of pixels of x that meet the same elements of the kernel */
    tc_cuda_divisor by_groups, by_filters, by_image_filters;
};

struct tc_cuda_conv_params {
    tc_cuda_conv conv;
    tc_cuda_epilogue epilogue;
    int64_t count; /* elements of the result; 0: nothing to do */
    int64_t images;
    int64_t at_a_time; /* images of a launch, or planes of the result */
    int32_t tile_rows;
    int64_t blocks; /* tiles of a launch */
    /* Of cuDNN; plan.index 0: the library's own kernels compute. */
    tc_dnn_plan plan;
    bool fused;          /* the plan computes the epilogue too */
    size_t result_bytes; /* of the workspace before the plan's: its result, beside a residual */
};

#ifdef TC_CUDA_CUDNN
/** Fills plan, fused and result_bytes of `params`, whose other fields are. */
tc_status tc_cuda_conv_plan(const tc_prepare *prepare, tc_cuda_conv_params *params);

/** Computes the convolution, or the whole node where fused, into `result`. */
tc_status tc_cuda_conv_run(const tc_cuda_conv_params *params, const void *const *inputs,
                           void *result, void *workspace, const tc_kernel_context *context);
#endif

#endif
