// A C++17 program builds and runs a graph with the functions behind the macros.

#include <tensorc/tensorc.h>

#include <array>
#include <cstdio>

static tc_status run(tc_graph *g, double *result)
{
    const std::array<tc_dim, 2> dims{tc_dim{-1, "n"}, tc_dim{3, nullptr}};
    tc_value x = tc_placeholder_at(TC_HERE, g, "x", TC_F32, tc_shape_make(2, dims.data()));

    tc_dense_options dense{};
    dense.struct_size = sizeof dense;
    dense.name = "hidden";
    dense.activation = TC_ACT_RELU;
    dense.initializer = TC_INIT_ONES;
    tc_value loss = tc_reduce_sum_at(TC_HERE, tc_dense_at(TC_HERE, x, 2, &dense), nullptr);

    tc_sgd_options sgd{};
    sgd.struct_size = sizeof sgd;
    sgd.learning_rate = 0.5f;
    tc_value step = tc_minimize_at(TC_HERE, tc_sgd_at(TC_HERE, g, &sgd), loss, nullptr);

    tc_session *session;
    tc_tensor *fed, *sum = nullptr;
    TC_TRY(tc_session_create(g, nullptr, &session));
    const float data[] = {1, 2, 3, 4, 5, -20};
    const int64_t sizes[] = {2, 3};
    TC_TRY(tc_tensor_create_copy(TC_F32, tc_shape_of(2, sizes), data, &fed));
    const tc_feed feed{x, fed};
    TC_TRY(tc_session_run(session, &feed, 1, &loss, 1, &step, 1, &sum, nullptr));
    TC_TRY(tc_session_run(session, &feed, 1, &loss, 1, TC_NO_TARGETS, &sum, nullptr));
    *result = tc_tensor_get(sum, 0);
    tc_tensor_release(sum);
    tc_tensor_release(fed);
    tc_session_release(session);
    return TC_OK;
}

int main()
{
    tc_graph *graph = tc_graph_create();
    double result = 0;
    if (run(graph, &result) != TC_OK) {
        std::fprintf(stderr, "%s\n", tc_error_message());
        return 1;
    }
    tc_graph_release(graph);
    // Both units give 6 for the first row and 0 for the second, so that the step makes their weights
    // 0.5, 0, -0.5 and their bias -0.5; then they give 0 and 11.5.
    std::printf("tensorc %s from C++: %g\n", tc_version(), result);
    return result == 23 ? 0 : 1;
}
