/* A program that links the library and the CUDA backend statically and registers it by itself. */
#include <stdio.h>
#include <string.h>

#include <tensorc/backend.h>
#include <tensorc/tensorc.h>

tc_status tensorc_backend(const tc_host *host, tc_backend **backend);

int main(void)
{
    char why[1024] = "";
    tc_device_info devices[8];
    size_t count = 0;
    if (tc_backend_register(tensorc_backend) != TC_OK ||
        tc_backend_register(tensorc_backend) != TC_ALREADY_EXISTS ||
        tc_device_list(NULL, devices, 8, &count, why, sizeof why) != TC_OK) {
        printf("%s\n", tc_error_message());
        return 1;
    }
    printf("%zu devices; %s\n", count, why);
    /* A card, or the reason of the backend itself, which no file was looked for. */
    bool found = count > 1 && strcmp(devices[1].name, "cuda:0") == 0;
    return found || strstr(why, "CUDA driver") ? 0 : 1;
}
