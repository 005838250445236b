#include "model.h"

#include <stdio.h>
#include <string.h>

/* The port of that name, which must have that dtype and rank. */
static tc_status find_port(const char *path, const tc_signature_port *ports, size_t count,
                           const char *name, tc_dtype dtype, int32_t rank, tc_value *out)
{
    for (size_t i = 0; i < count; i++) {
        *out = ports[i].value;
        if (strcmp(ports[i].name, name) == 0 && tc_value_dtype(*out) == dtype &&
            tc_value_shape(*out).rank == rank)
            return TC_OK;
    }
    return tc_kernel_fail(TC_FAILED_PRECONDITION,
                          "'%s': signature \"classify\" has no \"%s\" of dtype %s and rank %d",
                          path, name, tc_dtype_name(dtype), (int)rank);
}

tc_status model_open(const char *path, tc_runtime *runtime, const char *device, model *m)
{
    *m = (model){0};
    TC_TRY(tc_saved_model_load(path, NULL, &m->saved));
    tc_session_options options = {
        .struct_size = sizeof options, .runtime = runtime, .device = device};
    TC_TRY(tc_saved_model_session(m->saved, &options, &m->session));
    const tc_signature *signature = tc_saved_model_find(m->saved, "classify");
    if (!signature)
        return tc_kernel_fail(TC_FAILED_PRECONDITION, "'%s' has no signature \"classify\"", path);
    tc_value images, classes;
    TC_TRY(find_port(path, signature->inputs, signature->n_inputs, "images", TC_U8, 3, &images));
    TC_TRY(find_port(path, signature->outputs, signature->n_outputs, "class", TC_I64, 1, &classes));
    return tc_session_compile(m->session, TC_FETCHES(images), TC_FETCHES(classes), TC_NO_TARGETS,
                              NULL, &m->classify);
}

void model_close(model *m)
{
    tc_callable_release(m->classify);
    tc_session_release(m->session);
    tc_saved_model_release(m->saved);
    *m = (model){0};
}

static void print_ports(const char *title, const tc_signature_port *ports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[256];
        tc_shape shape = tc_value_shape(ports[i].value);
        tc_shape_format(&shape, text, sizeof text);
        printf("  %-8s %-14s %s %s\n", i ? "" : title, ports[i].name,
               tc_dtype_name(tc_value_dtype(ports[i].value)), text);
    }
}

void model_print(const model *m)
{
    for (size_t i = 0; i < tc_saved_model_signature_count(m->saved); i++) {
        const tc_signature *s = tc_saved_model_signature(m->saved, i);
        printf("signature \"%s\"\n", s->name);
        print_ports("inputs", s->inputs, s->n_inputs);
        print_ports("outputs", s->outputs, s->n_outputs);
    }
}
