/*
 * Devices of nodes: what the passes place and transfer share. Rules that hold wherever a node was
 * meant to run:
 *
 * - feeds are on the CPU, and so is what only orders other nodes;
 * - what the device has no kernel for runs on the CPU;
 * - writes, the variables they write and other writes of these lie on one device;
 * - a view is where its input is.
 */
#ifndef TC_COMPILER_PLACEMENT_H
#define TC_COMPILER_PLACEMENT_H

#include "compiler/pass.h"

typedef struct tc_placement_work {
    tc_pass_context *pass;
    tc_node **nodes; /* in index order; their device is what is wanted */
    int32_t count;
    int32_t *owner;       /* per node: union-find of writes and variables; itself for others */
    int32_t *root;        /* per node: of a view the node that computes what it shows; itself */
    int32_t *no_kernel;   /* per device: the reason, -1 until it is needed */
    const bool *free;     /* per node: nobody meant it to be where it is; NULL: none */
    tc_value_info *infos; /* room for the inputs of any node */
    tc_arena arena;
} tc_placement_work;

/** Finds owners and roots. tc_placement_end is due whatever happens then. */
tc_status tc_placement_begin(tc_pass_context *pass, tc_placement_work *work);
void tc_placement_end(tc_placement_work *work);

/** The number of a reason of the program, -1 when memory is exhausted. `text` must live as long as
 * the program. */
int32_t tc_placement_reason(tc_pass_context *pass, const char *text);
/** Puts `node` on `device`. */
tc_status tc_placement_put(tc_pass_context *pass, tc_node *node, int32_t device,
                           const char *reason);
/** Whether a node that computes has a kernel on `device`. */
bool tc_placement_possible(tc_placement_work *work, const tc_node *node, int32_t device);
/** Moves what cannot run where it is wanted to the CPU, together with what must stay with it. */
tc_status tc_placement_settle(tc_placement_work *work);
/** Moves views to what they show. */
tc_status tc_placement_move_views(tc_placement_work *work);
/** The node that stands for a write or variable and all that lie on one device with it. */
int32_t tc_placement_owner(tc_placement_work *work, int32_t node);

/** place_auto.c: takes free nodes from device 1 to the CPU where a run is expected to be shorter
 * then. */
tc_status tc_placement_choose(tc_placement_work *work);

#endif
