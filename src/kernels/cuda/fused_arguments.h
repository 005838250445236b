/* Arguments of generated kernels, for them and for those who launch them. */
#ifndef TC_KERNELS_CUDA_FUSED_ARGUMENTS_H
#define TC_KERNELS_CUDA_FUSED_ARGUMENTS_H

/* Sizes are of merged dimensions, outermost first: [0] along rows, [1] along columns; strides
 * are in elements. */
#define FUSED_ARGUMENTS              \
    struct fused_arguments {         \
        const void *inputs[16];      \
        void *outputs[8];            \
        double *partials;            \
        long long rows, columns;     \
        long long chunk, chunks;     \
        long long row_length;        \
        long long sizes[2][8];       \
        long long strides[16][2][8]; \
    };

FUSED_ARGUMENTS

#define FUSED_TEXT(...)      #__VA_ARGS__
#define FUSED_TEXT_(...)     FUSED_TEXT(__VA_ARGS__)
#define FUSED_ARGUMENTS_TEXT FUSED_TEXT_(FUSED_ARGUMENTS)

#endif
