/* Loading a saved model and giving its variables to a session. */
#include <tensorc/tensorc.h>

#include "fuzz/container.h"

static void load(const char *path)
{
    tc_saved_model *model;
    if (tc_saved_model_load(path, NULL, &model) == TC_OK) {
        tc_session *session;
        if (tc_saved_model_session(model, NULL, &session) == TC_OK)
            tc_session_release(session);
        for (size_t i = 0; i < tc_saved_model_signature_count(model); i++) {
            const tc_signature *signature = tc_saved_model_signature(model, i);
            for (size_t k = 0; k < signature->n_outputs; k++)
                if (!tc_value_ok(signature->outputs[k].value))
                    abort();
        }
        tc_saved_model_release(model);
    }
    FILE *null = fopen("/dev/null", "w");
    if (null && tc_file_inspect(path, null) != TC_OK && !tc_error_message()[0])
        abort();
    if (null)
        fclose(null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    container_fuzz(data, size, load);
    return 0;
}
