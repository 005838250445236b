/* Trains a network on Fashion-MNIST, keeps checkpoints, saves the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorc/tensorc.h>

#include "evaluate.h"
#include "network.h"
#include "options.h"
#include "progress.h"

#define POSITION_BLOB "batches"

typedef struct trainer {
    train_options options;
    tc_image_data data;
    tc_graph *graph;
    network network;
    tc_runtime *runtime;
    tc_session *session;
    tc_callable *step;
    tc_batches *batches;
    progress progress;
} trainer;

/*
 * Setting up
 */

/* The first `limit` rows of `whole`, sharing its memory; `whole` itself where limit is 0 or covers
 * it. */
static tc_status first_rows(tc_tensor *whole, int64_t limit, tc_tensor **out)
{
    tc_shape shape = *tc_tensor_shape(whole);
    if (limit == 0 || limit >= shape.dims[0].size) {
        *out = tc_tensor_retain(whole);
        return TC_OK;
    }
    shape.dims[0].size = limit;
    return tc_tensor_wrap(tc_tensor_dtype(whole), shape, tc_tensor_data(whole), NULL, NULL, out);
}

static tc_status create_batches(trainer *t)
{
    const train_options *o = &t->options;
    tc_tensor *images, *labels;
    TC_TRY(first_rows(t->data.train_images, o->limit, &images));
    TC_TRY(first_rows(t->data.train_labels, o->limit, &labels));
    tc_column columns[] = {{.data = images}, {.data = labels, .dtype = TC_I32}};
    tc_batches_options shuffled = {
        .struct_size = sizeof shuffled, .batch_size = o->batch, .seed = (uint64_t)o->seed};
    tc_status status = tc_batches_create(columns, 2, &shuffled, &t->batches);
    tc_tensor_release(images);
    tc_tensor_release(labels);
    return status;
}

static tc_status create_session(trainer *t)
{
    const train_options *o = &t->options;
    tc_runtime_options runtime = {.struct_size = sizeof runtime, .threads = (int32_t)o->threads};
    TC_TRY(tc_runtime_create(&runtime, &t->runtime));
    t->graph = tc_graph_create_with(
        &(tc_graph_options){.struct_size = sizeof(tc_graph_options), .seed = (uint64_t)o->seed});
    int64_t steps = o->epochs * tc_batches_per_epoch(t->batches);
    t->network = network_build(t->graph, o->network, o->learning_rate, steps);
    TC_TRY(tc_session_create(t->graph,
                             &(tc_session_options){.struct_size = sizeof(tc_session_options),
                                                   .runtime = t->runtime,
                                                   .device = o->device},
                             &t->session));
    const network *n = &t->network;
    return tc_session_compile(t->session, TC_FETCHES(n->images, n->labels),
                              TC_FETCHES(n->loss, n->correct), TC_TARGETS(n->train), NULL,
                              &t->step);
}

/*
 * Checkpoints: the variables, and where the batches stand
 */
static tc_status save_checkpoint(trainer *t)
{
    tc_batches_position position = tc_batches_tell(t->batches);
    tc_blob blob = {.name = POSITION_BLOB, .data = &position, .size = sizeof position};
    return tc_checkpoint_save(t->session, t->options.checkpoints,
                              &(tc_checkpoint_options){.struct_size = sizeof(tc_checkpoint_options),
                                                       .blobs = &blob,
                                                       .n_blobs = 1},
                              NULL, 0);
}

static tc_status resume(trainer *t)
{
    char path[4096];
    void *blob;
    size_t size;
    TC_TRY(tc_checkpoint_latest(t->options.checkpoints, path, sizeof path));
    TC_TRY(tc_checkpoint_restore(t->session, path, NULL));
    TC_TRY(tc_checkpoint_read_blob(path, POSITION_BLOB, &blob, &size));
    tc_batches_position position = {.epoch = -1};
    if (size == sizeof position)
        memcpy(&position, blob, size);
    tc_blob_free(blob);
    TC_TRY(tc_batches_seek(t->batches, position));
    printf("resumed from %s, epoch %lld, step %lld\n", path, (long long)position.epoch + 1,
           (long long)position.batch);
    return TC_OK;
}

/*
 * Training
 */
static tc_status train_epoch(trainer *t, tc_tensor **results)
{
    const train_options *o = &t->options;
    int64_t epoch = tc_batches_tell(t->batches).epoch;
    progress_begin_epoch(&t->progress);
    for (;;) {
        tc_tensor *columns[2];
        tc_status status = tc_batches_next(t->batches, columns);
        if (status == TC_OUT_OF_RANGE)
            return TC_OK;
        TC_TRY(status);
        TC_TRY(tc_callable_run(t->step, columns, results, NULL));
        int64_t done = tc_batches_tell(t->batches).batch;
        progress_step(&t->progress, epoch, done, o->batch, tc_tensor_get(results[0], 0),
                      (int64_t)tc_tensor_get(results[1], 0));
        if (o->checkpoint_every > 0 && done % o->checkpoint_every == 0)
            TC_TRY(save_checkpoint(t));
    }
}

static tc_status train(trainer *t, int64_t *correct, confusion_matrix confusion)
{
    tc_tensor *results[2] = {NULL, NULL}; /* made by the first step, then reused */
    const train_options *o = &t->options;
    tc_status status = TC_OK;
    bool evaluated = false;
    while (status == TC_OK && tc_batches_tell(t->batches).epoch < o->epochs) {
        int64_t epoch = tc_batches_tell(t->batches).epoch;
        status = train_epoch(t, results);
        if (status == TC_OK && o->checkpoints)
            status = save_checkpoint(t);
        if (status == TC_OK)
            status = evaluate(t->session, &t->network, t->data.test_images, t->data.test_labels,
                              correct, confusion);
        evaluated = true;
        if (status == TC_OK)
            progress_end_epoch(&t->progress, epoch,
                               (double)*correct / (double)tc_tensor_size(t->data.test_labels));
    }
    tc_tensor_release(results[0]);
    tc_tensor_release(results[1]);
    if (status == TC_OK && !evaluated)
        status = evaluate(t->session, &t->network, t->data.test_images, t->data.test_labels,
                          correct, confusion);
    return status;
}

static tc_status save_model(trainer *t)
{
    const network *n = &t->network;
    tc_signature_port inputs[] = {{"images", n->images}};
    tc_signature_port outputs[] = {{"class", n->predicted}, {"probabilities", n->probabilities}};
    tc_signature classify = {
        .name = "classify", .inputs = inputs, .n_inputs = 1, .outputs = outputs, .n_outputs = 2};
    return tc_saved_model_save(t->session, t->options.model, &classify, 1);
}

/* "DIR/fashion_mnist_serve" beside this program "DIR/fashion_mnist_train". */
static void print_next_command(const char *program, const char *model)
{
    const char *slash = strrchr(program, '/');
    printf("\nsaved model: %s\nserve it with: %.*sfashion_mnist_serve %s\n", model,
           slash ? (int)(slash - program) + 1 : 0, program, model);
}

static tc_status run(trainer *t, const char *program)
{
    int64_t correct = 0;
    confusion_matrix confusion;
    TC_TRY(tc_fashion_mnist_load(t->options.data, &t->data));
    TC_TRY(create_batches(t));
    TC_TRY(create_session(t));
    int64_t steps = tc_batches_per_epoch(t->batches);
    printf(
        "%s on Fashion-MNIST: %s, %lld epochs of %lld steps, batch %lld, seed %lld, %d threads\n",
        t->options.network, t->options.device ? t->options.device : "cpu",
        (long long)t->options.epochs, (long long)steps, (long long)t->options.batch,
        (long long)t->options.seed, (int)tc_runtime_threads(t->runtime));
    if (t->options.resume)
        TC_TRY(resume(t));
    t->progress = progress_create(t->options.epochs, steps);
    TC_TRY(train(t, &correct, confusion));
    print_confusion(confusion);
    TC_TRY(save_model(t));
    print_next_command(program, t->options.model);
    printf("test accuracy: %.2f%%\n",
           100.0 * (double)correct / (double)tc_tensor_size(t->data.test_labels));
    return TC_OK;
}

int main(int argc, char **argv)
{
    trainer t = {0};
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* lines appear when they are written, in pipes too */
    int status = train_options_parse(argc, argv, &t.options);
    if (status >= 0)
        return status;
    status = run(&t, argv[0]);
    if (status != TC_OK)
        fprintf(stderr, "%s: %s: %s\n", argv[0], tc_status_name((tc_status)status),
                tc_error_message());
    tc_batches_destroy(t.batches);
    tc_callable_release(t.step);
    tc_session_release(t.session);
    tc_runtime_release(t.runtime);
    tc_graph_release(t.graph);
    tc_image_data_release(&t.data);
    return status == TC_OK ? 0 : 1;
}
