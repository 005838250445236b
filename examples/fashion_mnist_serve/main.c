/* Serves a saved model: knows nothing of the network but the file. */
#include <stdio.h>
#include <string.h>

#include <tensorc/tensorc.h>

#include "clients.h"
#include "model.h"
#include "options.h"

#define SIDE 28

/* Two rows of pixels per line of text, by brightness. */
static void draw(const unsigned char *pixels)
{
    static const char ramp[] = " .:-=+*#%@";
    for (int row = 0; row < SIDE; row += 2) {
        putchar(' ');
        putchar(' ');
        for (int column = 0; column < SIDE; column++) {
            int light = pixels[row * SIDE + column] + pixels[(row + 1) * SIDE + column];
            putchar(ramp[light * (int)(sizeof ramp - 2) / 510]);
        }
        putchar('\n');
    }
}

static void show(const unsigned char *pixels, int64_t predicted, int64_t truth)
{
    draw(pixels);
    printf("  predicted %s, true %s\n\n", tc_fashion_mnist_class(predicted),
           tc_fashion_mnist_class(truth));
}

/* Runs over all test images and counts the rightly classified. */
static tc_status classify_all(const model *m, tc_batches *batches, int64_t drawn, int64_t *correct)
{
    int64_t seen = 0;
    *correct = 0;
    for (;;) {
        tc_tensor *columns[2], *predicted = NULL;
        tc_status status = tc_batches_next(batches, columns);
        if (status == TC_OUT_OF_RANGE)
            return TC_OK;
        TC_TRY(status);
        TC_TRY(tc_callable_run(m->classify, columns, &predicted, NULL));
        const unsigned char *pixels = tc_tensor_data(columns[0]);
        const unsigned char *truths = tc_tensor_data(columns[1]);
        const int64_t *guesses = tc_tensor_data(predicted);
        for (int64_t i = 0; i < tc_tensor_size(predicted); i++, seen++) {
            if (seen < drawn)
                show(pixels + i * SIDE * SIDE, guesses[i], truths[i]);
            *correct += guesses[i] == truths[i];
        }
        tc_tensor_release(predicted);
    }
}

static tc_status test(const model *m, const tc_image_data *data, const serve_options *o,
                      int64_t *correct)
{
    tc_column columns[] = {{.data = data->test_images}, {.data = data->test_labels}};
    tc_batches_options in_order = {.struct_size = sizeof in_order,
                                   .batch_size = o->batch,
                                   .no_shuffle = true,
                                   .keep_partial = true};
    tc_batches *batches;
    TC_TRY(tc_batches_create(columns, 2, &in_order, &batches));
    tc_status status = classify_all(m, batches, o->show, correct);
    tc_batches_destroy(batches);
    return status;
}

static tc_status run(const serve_options *o, tc_runtime **runtime, model *m, tc_image_data *data)
{
    tc_runtime_options options = {.struct_size = sizeof options, .threads = (int32_t)o->threads};
    TC_TRY(tc_runtime_create(&options, runtime));
    TC_TRY(model_open(o->model, *runtime, o->device, m));
    model_print(m);
    TC_TRY(tc_fashion_mnist_load(o->data, data));
    int64_t correct;
    TC_TRY(test(m, data, o, &correct));
    if (o->clients > 0)
        TC_TRY(serve_clients(m, data->test_images, o->clients, o->requests));
    printf("test accuracy: %.2f%%\n",
           100.0 * (double)correct / (double)tc_tensor_size(data->test_labels));
    return TC_OK;
}

int main(int argc, char **argv)
{
    serve_options options;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* lines appear when they are written, in pipes too */
    int exit_status = serve_options_parse(argc, argv, &options);
    if (exit_status >= 0)
        return exit_status;
    tc_runtime *runtime = NULL;
    model m = {0};
    tc_image_data data = {0};
    tc_status status = run(&options, &runtime, &m, &data);
    if (status != TC_OK)
        fprintf(stderr, "%s: %s: %s\n", argv[0], tc_status_name(status), tc_error_message());
    model_close(&m);
    tc_runtime_release(runtime);
    tc_image_data_release(&data);
    return status == TC_OK ? 0 : 1;
}
