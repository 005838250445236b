/* Fits y = 3 x0 - 2 x1 + 1 to noisy samples by gradient descent. */
#include <stdio.h>

#include <tensorc/tensorc.h>

#define SAMPLES 256

static tc_status fit(tc_graph *g)
{
    /* The graph: a linear model, its loss, one training step. */
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 2));
    tc_value y = tc_placeholder(g, "y", TC_F32, TC_SHAPE(TC_DIM("batch"), 1));
    tc_value loss = tc_mean_squared_error(tc_dense(x, 1, .name = "linear"), y);
    tc_value train = tc_minimize(tc_sgd(g, .learning_rate = 0.1f), loss);

    /* The data. */
    float inputs[SAMPLES][2], targets[SAMPLES][1];
    for (int i = 0; i < SAMPLES; i++) {
        inputs[i][0] = (float)(i % 16) / 8 - 1;
        inputs[i][1] = (float)(i / 16) / 8 - 1;
        float noise = (float)(i * 37 % 11 - 5) / 100;
        targets[i][0] = 3 * inputs[i][0] - 2 * inputs[i][1] + 1 + noise;
    }
    tc_tensor *features, *labels, *value = NULL;
    TC_TRY(tc_tensor_wrap(TC_F32, TC_SHAPE(SAMPLES, 2), inputs, NULL, NULL, &features));
    TC_TRY(tc_tensor_wrap(TC_F32, TC_SHAPE(SAMPLES, 1), targets, NULL, NULL, &labels));

    /* The session: errors of the graph surface here, with node and line. */
    tc_session *session;
    TC_TRY(tc_session_create(g, NULL, &session));
    for (int step = 0; step <= 100; step++) {
        TC_TRY(tc_session_run(session, TC_FEEDS({x, features}, {y, labels}), TC_FETCHES(loss),
                              TC_TARGETS(train), &value, NULL));
        if (step % 20 == 0)
            printf("step %3d  loss %.6f\n", step, tc_tensor_get(value, 0));
    }
    tc_tensor *weights, *bias;
    TC_TRY(tc_store_read(tc_session_store(session), "linear/weights", &weights));
    TC_TRY(tc_store_read(tc_session_store(session), "linear/bias", &bias));
    printf("y = %.3f x0 + %.3f x1 + %.3f\n", tc_tensor_get(weights, 0), tc_tensor_get(weights, 1),
           tc_tensor_get(bias, 0));
    tc_tensor *all[] = {features, labels, value, weights, bias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        tc_tensor_release(all[i]);
    tc_session_release(session);
    return TC_OK;
}

int main(void)
{
    tc_graph *graph = tc_graph_create();
    tc_status status = fit(graph);
    if (status != TC_OK)
        fprintf(stderr, "%s: %s\n", tc_status_name(status), tc_error_message());
    tc_graph_release(graph);
    return status != TC_OK;
}
