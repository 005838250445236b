#include "evaluate.h"

#include <stdio.h>
#include <string.h>

#define TEST_BATCH 500

static tc_status count_batches(tc_batches *batches, tc_callable *classify, int64_t *correct,
                               confusion_matrix confusion)
{
    for (;;) {
        tc_tensor *columns[2], *predicted = NULL;
        tc_status status = tc_batches_next(batches, columns);
        if (status == TC_OUT_OF_RANGE)
            return TC_OK;
        TC_TRY(status);
        TC_TRY(tc_callable_run(classify, columns, &predicted, NULL));
        const int64_t *guesses = tc_tensor_data(predicted);
        const uint8_t *truths = tc_tensor_data(columns[1]);
        for (int64_t i = 0; i < tc_tensor_size(predicted); i++) {
            confusion[truths[i]][guesses[i]]++;
            *correct += guesses[i] == truths[i];
        }
        tc_tensor_release(predicted);
    }
}

tc_status evaluate(tc_session *session, const network *n, tc_tensor *images, tc_tensor *labels,
                   int64_t *correct, confusion_matrix confusion)
{
    *correct = 0;
    memset(confusion, 0, sizeof(confusion_matrix));
    tc_column columns[] = {{.data = images}, {.data = labels}};
    tc_batches_options in_order = {.struct_size = sizeof in_order,
                                   .batch_size = TEST_BATCH,
                                   .no_shuffle = true,
                                   .keep_partial = true};
    tc_batches *batches;
    tc_callable *classify = NULL;
    TC_TRY(tc_batches_create(columns, 2, &in_order, &batches));
    tc_status status = tc_session_compile(session, TC_FETCHES(n->images), TC_FETCHES(n->predicted),
                                          TC_NO_TARGETS, NULL, &classify);
    if (status == TC_OK)
        status = count_batches(batches, classify, correct, confusion);
    tc_callable_release(classify);
    tc_batches_destroy(batches);
    return status;
}

void print_confusion(confusion_matrix confusion)
{
    printf("\nconfusion matrix (rows: true class, columns: predicted)\n%-12s", "");
    for (int j = 0; j < CLASSES; j++)
        printf("%6.5s", tc_fashion_mnist_class(j));
    printf("\n");
    for (int i = 0; i < CLASSES; i++) {
        printf("%-12s", tc_fashion_mnist_class(i));
        for (int j = 0; j < CLASSES; j++)
            printf("%6lld", (long long)confusion[i][j]);
        printf("\n");
    }
}
