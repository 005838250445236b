/* Runs the cases of cases.def: test_ops [prefix of a case] [part/parts of the samples] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "ops/driver.h"

#define TC_CASE(name) extern const op_case op_case_##name;
#include "ops/cases.def"
#undef TC_CASE

static const struct {
    const char *name;
    const op_case *op;
} cases[] = {
#define TC_CASE(case_name) {#case_name, &op_case_##case_name},
#include "ops/cases.def"
#undef TC_CASE
    {NULL, NULL},
};

enum { status_skip = 77, printed_failures = 200 };

bool driver_fail(driver *d, const char *format, ...)
{
    if (++d->failures > printed_failures)
        return false;
    printf("FAIL %s", d->op ? d->op->op : "registry");
    if (d->sample)
        printf("/%s", d->sample);
    if (d->dtype)
        printf(" %s", tc_dtype_name(d->dtype));
    if (d->variant)
        printf(", %s", d->variant);
    printf(": ");
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    return false;
}

/* Which samples of all are run: those whose number leaves `part` when divided by `parts`. */
static int part, parts = 1, sample_number;

static void run_case(driver *d, const char *name, const op_case *op)
{
    int before = d->failures;
    d->op = op;
    d->runs = 0;
    d->worst_gradient = 0;
    if (!tc_registry_find_op(NULL, op->op))
        driver_fail(d, "there is no such operator");
    else if (op->n_samples == 0)
        driver_fail(d, "the case has no samples");
    for (int32_t i = 0; i < op->n_samples; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", (int)i);
        d->sample = op->samples[i].name ? op->samples[i].name : number;
        if (sample_number++ % parts == part)
            driver_sample(d, &op->samples[i]);
    }
    for (int32_t i = 0; i < op->n_bad; i++)
        driver_bad(d, &op->bad[i], (int)i);
    d->sample = NULL;
    printf("%s %s: %d samples, %d runs, %d refusals", d->failures == before ? "ok  " : "FAIL", name,
           (int)op->n_samples, d->runs, (int)op->n_bad);
    if (op->gradients)
        printf(", gradients within %.2g of the tolerance", d->worst_gradient);
    printf("\n");
}

int main(int argc, char **argv)
{
    const char *prefix = "";
    for (int i = 1; i < argc; i++)
        if (sscanf(argv[i], "%d/%d", &part, &parts) != 2)
            prefix = argv[i];
    if (part < 0 || part >= parts) {
        printf("part %d of %d: parts are counted from 0\n", part, parts);
        return EXIT_FAILURE;
    }
    driver d = {0};
    tc_status status = tc_cpu_isa_selected(&d.isa);
    if (status == TC_UNAVAILABLE) {
        printf("skipped: %s\n", tc_error_message());
        return status_skip;
    }
    if (status != TC_OK || tc_pool_create(3, &d.pool) != TC_OK) {
        printf("%s\n", tc_error_message());
        return EXIT_FAILURE;
    }
    status = test_device_open(&d.device);
    if (status == TC_UNAVAILABLE) {
        printf("skipped: %s\n", tc_error_message());
        tc_pool_destroy(d.pool);
        return status_skip;
    }
    if (status != TC_OK) {
        printf("%s\n", tc_error_message());
        return EXIT_FAILURE;
    }
    if (d.device)
        printf("device: %s\n", test_device_name(d.device));
    else
        printf("instruction set: %s\n", tc_isa_name(d.isa));
    const op_case *all[sizeof cases / sizeof cases[0]];
    size_t n_cases = 0;
    int found = 0;
    for (size_t i = 0; cases[i].name; i++) {
        all[n_cases++] = cases[i].op;
        if (strncmp(cases[i].name, prefix, strlen(prefix)) == 0) {
            found++;
            run_case(&d, cases[i].name, cases[i].op);
        }
    }
    if (!prefix[0] || strcmp(prefix, "registry") == 0) {
        d.op = NULL;
        driver_registry(&d, all, n_cases);
    } else if (!found) {
        printf("no case begins with '%s'\n", prefix);
        d.failures++;
    }
    test_device_close(d.device);
    tc_pool_destroy(d.pool);
    printf("%d failures\n", d.failures);
    return d.failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
