/* The smallest program outside the project: it includes, links and runs. */

#include <tensorc/tensorc.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    tc_tensor *tensor;
    if (tc_tensor_create_scalar(TC_F32, 42.0, &tensor) != TC_OK) {
        fprintf(stderr, "%s\n", tc_error_message());
        return 1;
    }
    double value = tc_tensor_get(tensor, 0);
    tc_tensor_release(tensor);
    printf("%s %g\n", tc_dtype_name(TC_F32), value);
    return value == 42.0 ? 0 : 1;
}
