/* Progress on a terminal as one line that is redrawn, elsewhere as plain lines. */
#ifndef FASHION_MNIST_TRAIN_PROGRESS_H
#define FASHION_MNIST_TRAIN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    bool terminal;
    int64_t epochs;
    int64_t steps;  /* per epoch */
    double started; /* seconds, of this epoch as far as this process ran it */
    double drawn;
    int64_t images;   /* of this epoch, by this process */
    int64_t examples; /* whose loss and hits are in the sums below */
    double loss;
    int64_t correct;
} progress;

double seconds_now(void);

progress progress_create(int64_t epochs, int64_t steps);
void progress_begin_epoch(progress *p);
/** Counts a step of `images` with their mean `loss` and `correct` hits; draws when it is time.
 * `step` from 1. */
void progress_step(progress *p, int64_t epoch, int64_t step, int64_t images, double loss,
                   int64_t correct);
/** Ends the epoch's line with the accuracy on the test images. */
void progress_end_epoch(progress *p, int64_t epoch, double test_accuracy);

#endif
