/* Saved models in memory. */
#ifndef TC_SERIALIZE_SAVED_MODEL_H
#define TC_SERIALIZE_SAVED_MODEL_H

#include "serialize/graph_file.h"
#include "tensorc/serialize.h"

struct tc_saved_model {
    atomic_int references;
    tc_graph *graph;
    tc_signature *signatures; /* in the arena */
    size_t n_signatures;
    const char **names; /* of the variables */
    tc_tensor **tensors;
    size_t n_variables;
    tc_arena arena;
};

#endif
