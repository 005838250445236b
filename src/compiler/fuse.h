/*
 * Groups of element-wise nodes: what pass_fuse_elementwise.c, which finds them, and fuse_build.c,
 * which makes a node of each, share. Nodes and values are those before the pass.
 */
#ifndef TC_COMPILER_FUSE_H
#define TC_COMPILER_FUSE_H

#include "compiler/pass.h"
#include "core/fused_program.h"

/** What a node is in a group. */
typedef enum fuse_role {
    FUSE_NONE,
    FUSE_COMPUTE, /**< an instruction */
    FUSE_REDUCE,  /**< a reduction along the last axes */
    FUSE_REPEAT,  /**< its input 0, seen with more elements */
    FUSE_SHARE    /**< the same, divided by the number of columns */
} fuse_role;

/** A node that could be in a group. */
typedef struct fuse_node {
    int32_t group; /**< -1: in none */
    int32_t code;
    uint8_t role;     /**< fuse_role */
    uint8_t extent;   /**< tc_fused_extent of its value */
    uint8_t operands; /**< how many of its inputs are read */
    bool kept_dims;   /**< REDUCE, REPEAT, SHARE: reduced axes have size 1 */
    int32_t axes;     /**< of those, how many last axes are reduced; -1: broadcasting decides */
    int32_t read;     /**< outside consumers that read it, fetches among them */
    int32_t shaped;   /**< outside consumers that use its shape alone */
} fuse_node;

/** A value from outside of a group. */
typedef struct fuse_load {
    tc_edge edge;
    int32_t shift; /**< as in tc_fused_input */
} fuse_load;

typedef struct fuse_group {
    int32_t parent;     /**< the group that this one became part of; itself for a group */
    int32_t domain;     /**< class of its shape */
    int32_t kept, rows; /**< classes of values per row, -1 until there are any */
    tc_edge like;       /**< a value of the domain's shape */
    int32_t columns;
    bool open; /**< nothing outside depends on it yet */
    bool reads_variable;
    int32_t writes; /**< nodes that write before the first read of a variable */
    int32_t last;   /**< its last node */
    int32_t n_nodes, n_instructions, n_reductions, n_constants, n_loads;
    fuse_load loads[TC_FUSED_INPUTS];
    double constants[TC_FUSED_CONSTANTS];
    tc_dtype constant_dtypes[TC_FUSED_CONSTANTS];
} fuse_group;

typedef struct fuser {
    tc_pass_context *pass;
    fuse_node *nodes;
    int32_t *classes; /**< of values, by pass->first: equal for shapes that agree in every run */
    int32_t *values;  /**< of nodes in the group that is being built: values of the program */
    int32_t
        *wider; /**< of classes: the one that they are broadcast to though no sizes say so, -1 */
    tc_edge *first_of; /**< of classes: the first value */
    int32_t n_classes;
    int32_t writes; /**< nodes so far that write */
    tc_map known_classes;
    TC_VECTOR(fuse_group) groups;
} fuser;

static inline const tc_value_info *fuse_info(const fuser *f, tc_edge edge)
{
    return &f->pass->old[edge.node]->outputs[edge.output];
}

static inline int32_t fuse_class(const fuser *f, tc_edge edge)
{
    return f->classes[f->pass->first[edge.node] + edge.output];
}

static inline int32_t fuse_root(fuser *f, int32_t group)
{
    while (group >= 0 && f->groups.data[group].parent != group) {
        int32_t *parent = &f->groups.data[group].parent;
        *parent = f->groups.data[*parent].parent;
        group = *parent;
    }
    return group;
}

/** True where `edge` is broadcast to `shape`, of class `class`, whatever the unknown sizes are. */
bool fuse_fits(const fuser *f, tc_edge edge, int32_t class, const tc_shape *shape);

/** Finds the classes of the outputs of `node`, whose role is known and those of its inputs. */
tc_status fuse_classify(fuser *f, const tc_node *node, int32_t old);

/** Axes behind the last one of `operand` of a member that is `as`; -1: it does not fit. */
int32_t fuse_shift(const fuser *f, const fuse_group *g, const tc_node *node, const fuse_node *as,
                   int32_t operand);

/** The number that `edge`, of one element, holds where it can be part of a program. */
bool fuse_constant(const fuser *f, tc_edge edge, double *value);

/**
 * Makes the node of `group` whose members are `members` in order, in place of the last of them, and
 * lets what they computed be its outputs. `*made` false: it cannot be done, nothing has changed.
 */
tc_status fuse_build(fuser *f, int32_t group, const int32_t *members, int32_t count, bool *made);

#endif
