/* The variables of dynamic loss scaling, which the compiler, the store and checkpoints know. */
#ifndef TC_CORE_LOSS_SCALE_H
#define TC_CORE_LOSS_SCALE_H

/** f32 scalar: what gradients are multiplied with while they are computed. */
#define TC_LOSS_SCALE       "loss_scale/scale"
#define TC_LOSS_SCALE_FIRST 0x1p16
#define TC_LOSS_SCALE_LEAST 1.0
#define TC_LOSS_SCALE_MOST  0x1p24

/** i64 scalar: runs since the scale changed, all of whose gradients were finite. */
#define TC_LOSS_SCALE_STEPS "loss_scale/good_steps"
/** So many of them double the scale. */
#define TC_LOSS_SCALE_PATIENCE 2000

#endif
