#include "clients.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct service {
    const model *model;
    tc_tensor *images;
    int64_t requests;
    atomic_llong taken;
    double *latencies; /* seconds, one per request */
} service;

typedef struct client {
    service *service;
    pthread_t thread;
    tc_status status;
    char message[512];
} client;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static tc_status answer_requests(service *s)
{
    int64_t count = tc_tensor_shape(s->images)->dims[0].size;
    size_t bytes = tc_tensor_bytes(s->images) / (size_t)count;
    tc_tensor *image, *predicted = NULL;
    TC_TRY(tc_tensor_create(TC_U8, TC_SHAPE(1, 28, 28), &image));
    tc_status status = TC_OK;
    while (status == TC_OK) {
        long long request = atomic_fetch_add(&s->taken, 1);
        if (request >= s->requests)
            break;
        double begin = now();
        memcpy(tc_tensor_data(image),
               (const char *)tc_tensor_data(s->images) + (size_t)(request % count) * bytes, bytes);
        /* The first answer makes the output, which the others are written to. */
        status = tc_callable_run(s->model->classify, &image, &predicted, NULL);
        s->latencies[request] = now() - begin;
    }
    tc_tensor_release(image);
    tc_tensor_release(predicted);
    return status;
}

static void *run_client(void *argument)
{
    client *c = argument;
    c->status = answer_requests(c->service);
    if (c->status != TC_OK)
        snprintf(c->message, sizeof c->message, "%s", tc_error_message());
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, int64_t count, double share)
{
    return sorted[(int64_t)(share * (double)(count - 1) + 0.5)];
}

static tc_status join_clients(client *list, int64_t started)
{
    tc_status status = TC_OK;
    for (int64_t i = 0; i < started; i++) {
        pthread_join(list[i].thread, NULL);
        if (status == TC_OK && list[i].status != TC_OK)
            status = tc_kernel_fail(list[i].status, "%s", list[i].message);
    }
    return status;
}

tc_status serve_clients(const model *m, tc_tensor *images, int64_t clients, int64_t requests)
{
    service s = {.model = m, .images = images, .requests = requests};
    s.latencies = calloc((size_t)requests, sizeof *s.latencies);
    client *list = calloc((size_t)clients, sizeof *list);
    tc_status status = TC_OK;
    if (!s.latencies || !list)
        status = tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory for %lld clients",
                                (long long)clients);
    double begin = now();
    int64_t started = 0;
    for (; status == TC_OK && started < clients; started++) {
        list[started].service = &s;
        if (pthread_create(&list[started].thread, NULL, run_client, &list[started]) != 0) {
            status = tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "client %lld has no thread",
                                    (long long)started);
            break;
        }
    }
    tc_status served = list ? join_clients(list, started) : status;
    double seconds = now() - begin;
    if (status == TC_OK)
        status = served;
    if (status == TC_OK) {
        qsort(s.latencies, (size_t)requests, sizeof *s.latencies, ascending);
        printf("%lld clients, %lld requests: %.0f requests/s, latency p50 %.0f us, p90 %.0f us, "
               "p99 %.0f us\n",
               (long long)clients, (long long)requests, (double)requests / seconds,
               1e6 * percentile(s.latencies, requests, 0.5),
               1e6 * percentile(s.latencies, requests, 0.9),
               1e6 * percentile(s.latencies, requests, 0.99));
    }
    free(s.latencies);
    free(list);
    return status;
}
