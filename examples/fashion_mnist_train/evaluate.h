/* Accuracy and confusion on the test images. */
#ifndef FASHION_MNIST_TRAIN_EVALUATE_H
#define FASHION_MNIST_TRAIN_EVALUATE_H

#include "network.h"

#define CLASSES 10

/** confusion[true][predicted]; filled by evaluate. */
typedef int64_t confusion_matrix[CLASSES][CLASSES];

/** Classifies all of `images` (u8 [n, 28, 28]) with labels u8 [n] in inference mode; `*correct` of
 * them rightly. */
tc_status evaluate(tc_session *session, const network *n, tc_tensor *images, tc_tensor *labels,
                   int64_t *correct, confusion_matrix confusion);

void print_confusion(confusion_matrix confusion);

#endif
