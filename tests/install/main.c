/* The smallest program outside the project that builds a graph and runs it. */

#include <tensorc/tensorc.h>

#include <stdio.h>

static tc_status run(tc_graph *g, double *result)
{
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), 3));
    tc_value y = tc_reduce_sum(tc_relu(tc_matmul(x, tc_ones(g, TC_F32, TC_SHAPE(3, 2)))));
    tc_session *session;
    tc_tensor *fed, *sum = NULL;
    TC_TRY(tc_session_create(g, NULL, &session));
    float data[2][3] = {{1, 2, 3}, {4, 5, -20}};
    TC_TRY(tc_tensor_create_copy(TC_F32, TC_SHAPE(2, 3), data, &fed));
    TC_TRY(tc_session_run(session, TC_FEEDS({x, fed}), TC_FETCHES(y), TC_NO_TARGETS, &sum, NULL));
    *result = tc_tensor_get(sum, 0);
    tc_tensor_release(sum);
    tc_tensor_release(fed);
    tc_session_release(session);
    return TC_OK;
}

int main(void)
{
    tc_graph *graph = tc_graph_create();
    double result = 0;
    if (run(graph, &result) != TC_OK) {
        fprintf(stderr, "%s\n", tc_error_message());
        return 1;
    }
    tc_graph_release(graph);
    printf("tensorc %s: %g\n", tc_version(), result);
    return result == 12 ? 0 : 1;
}
