#include "bound.h"

#include <stdlib.h>

bound *bound_create(void)
{
    bound *b = calloc(1, sizeof *b);
    if (b)
        b->graph = tc_graph_create();
    return b;
}

tc_status bound_compile(bound *b, const tc_session_options *options, const tc_value *feeds,
                        size_t n_feeds, tc_value fetch, tc_value target)
{
    TC_TRY(tc_session_create(b->graph, options, &b->session));
    return tc_session_compile(b->session, feeds, n_feeds, &fetch, (size_t)tc_value_ok(fetch),
                              &target, (size_t)tc_value_ok(target), NULL, &b->callable);
}

tc_status bound_run(void *state)
{
    bound *b = state;
    const tc_run_options options = {.struct_size = sizeof options, .profile = b->profile};
    return tc_callable_run(b->callable, b->inputs, &b->output, b->profile ? &options : NULL);
}

void bound_destroy(void *state)
{
    bound *b = state;
    for (int i = 0; i < BOUND_INPUTS; i++)
        tc_tensor_release(b->inputs[i]);
    tc_tensor_release(b->output);
    tc_profile_destroy(b->profile);
    tc_callable_release(b->callable);
    tc_session_release(b->session);
    tc_graph_release(b->graph);
    free(b);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

tc_status random_floats(tc_shape shape, tc_tensor **out)
{
    TC_TRY(tc_tensor_create(TC_F32, shape, out));
    float *data = tc_tensor_data(*out);
    uint32_t state = 1;
    for (int64_t i = 0; i < tc_tensor_size(*out); i++)
        data[i] = (float)next_random(&state) / (float)(1 << 23) - 1;
    return TC_OK;
}

tc_status random_ids(tc_shape shape, int64_t ids, tc_tensor **out)
{
    TC_TRY(tc_tensor_create(TC_I64, shape, out));
    int64_t *data = tc_tensor_data(*out);
    uint32_t state = 2;
    for (int64_t i = 0; i < tc_tensor_size(*out); i++)
        data[i] = next_random(&state) % (uint32_t)ids;
    return TC_OK;
}
