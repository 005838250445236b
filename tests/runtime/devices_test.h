/* What the tests of devices share: training the model of model.h on any device, and comparing. */
#ifndef TC_TEST_RUNTIME_DEVICES_TEST_H
#define TC_TEST_RUNTIME_DEVICES_TEST_H

#include "../support/loopback.h"
#include "../support/test.h"
#include "model.h"

/** Contents of all variables of a store, one after the other. */
typedef struct contents {
    unsigned char *data;
    size_t size;
    uint64_t step;
} contents;

static inline tc_status contents_add(void *context, const tc_variable_info *variable)
{
    contents *c = context;
    if (!variable->tensor)
        return TC_OK;
    size_t bytes = tc_tensor_bytes(variable->tensor);
    c->data = realloc(c->data, c->size + bytes + 1);
    assert_non_null(c->data);
    memcpy(c->data + c->size, tc_tensor_data(variable->tensor), bytes);
    c->size += bytes;
    return TC_OK;
}

static inline contents contents_of(tc_session *s)
{
    contents c = {0};
    assert_ok(tc_store_visit(tc_session_store(s), contents_add, &c, &c.step));
    return c;
}

static inline bool contents_equal(const contents *a, const contents *b)
{
    return a->size == b->size && a->step == b->step &&
           (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

static inline void contents_free(contents *c)
{
    free(c->data);
    *c = (contents){0};
}

/** Nothing of the backend is left, and it was never given what it should not be. */
static inline void assert_clean(void)
{
    assert_string_equal(loopback_violation(), "");
    assert_int_equal(loopback_live_bytes(), 0);
    assert_int_equal(loopback_pinned_bytes(), 0);
    assert_int_equal(loopback_live_objects(), 0);
}

/** Whether there is a GPU, or its emulation. */
static inline bool has_cuda(void)
{
    tc_device_info infos[8];
    size_t count;
    bool found = false;
    assert_ok(tc_device_list(NULL, infos, 8, &count, NULL, 0));
    for (size_t i = 0; i < count && i < 8; i++)
        found |= strcmp(infos[i].name, "cuda:0") == 0;
    return found;
}

/** One training step of `m`. */
static inline tc_status model_step(test_model *m, tc_session *s, tc_tensor **loss,
                                   const tc_run_options *options)
{
    return tc_session_run(s, TC_FEEDS({m->x, m->features}, {m->y, m->labels}), TC_FETCHES(m->loss),
                          TC_TARGETS(m->train), loss, options);
}

/** A session of `graph` whose nodes run on `device`. */
static inline tc_session *session_on(tc_graph *graph, const char *device)
{
    tc_session *s;
    const tc_session_options o = {.struct_size = sizeof o, .device = device};
    assert_ok(tc_session_create(graph, &o, &s));
    return s;
}

#endif
