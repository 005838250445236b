#include "core/broadcast.h"

#include "core/shape.h"

void tc_broadcast_merge(tc_broadcast *broadcast, const tc_shape *out, int32_t inputs,
                        int64_t (*strides)[TC_MAX_RANK])
{
    int rank = 0;
    broadcast->count = tc_shape_size(out);
    for (int d = 0; d < out->rank; d++) {
        int64_t size = out->dims[d].size;
        if (size == 1)
            continue;
        bool joins = rank > 0;
        for (int i = 0; joins && i < inputs; i++)
            joins = broadcast->strides[i][rank - 1] == strides[i][d] * size;
        rank += !joins;
        broadcast->dims[rank - 1] = joins ? broadcast->dims[rank - 1] * size : size;
        for (int i = 0; i < inputs; i++)
            broadcast->strides[i][rank - 1] = strides[i][d];
    }
    broadcast->rank = rank;
    broadcast->inner = rank ? broadcast->dims[rank - 1] : 1;
}

void tc_broadcast_plan(tc_broadcast *broadcast, const tc_prepare *prepare)
{
    const tc_shape *out = &prepare->outputs[0].shape;
    int64_t strides[TC_BROADCAST_INPUTS][TC_MAX_RANK] = {{0}};
    for (int i = 0; i < prepare->n_inputs; i++) {
        const tc_shape *in = &prepare->inputs[i].shape;
        int64_t dense[TC_MAX_RANK];
        tc_shape_strides(in, dense);
        for (int d = 0, shift = out->rank - in->rank; d < in->rank; d++)
            strides[i][d + shift] = in->dims[d].size == 1 ? 0 : dense[d];
    }
    tc_broadcast_merge(broadcast, out, prepare->n_inputs, strides);
}
