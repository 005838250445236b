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

/** Geometry; passed to kernels. */
struct tc_cuda_conv {
    tc_cuda_conv_kind kind;
    tc_cuda_axis axis[2];
    int64_t images, groups;
    int64_t channels, filters;         /* of one group */
    int64_t x_plane, y_plane, w_plane; /* elements: h w, oh ow, kh kw */
    int64_t columns;             /* of the product; of grad_input those of the largest class */
    int64_t depth;               /* products that an element of the result sums, at most */
    int32_t classes[2];          /* of pixels of x that meet the same elements of the kernel */
    int64_t splits, split_depth; /* the sum is cut into so many parts, added in their order */
};

struct tc_cuda_conv_params {
    tc_cuda_conv conv;
    tc_cuda_epilogue epilogue;
    int64_t count; /* elements of the result; 0: nothing to do */
    int32_t tile_rows;
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
