/*
 * What is known of every byte that kernels may reach: whether it belongs to an allocation, was ever
 * written, and which threads touched it last.
 */
#ifndef TC_CUDA_HOST_SHADOW_H
#define TC_CUDA_HOST_SHADOW_H

#include "block.h"
#include "emulation.h"

namespace cuda_host
{

/** Makes room for what is known of all device memory. False: no memory. */
bool shadow_reserve();
void shadow_allocated(const void *address, size_t bytes);
void shadow_freed(const void *address, size_t bytes);
/** Checks a copy (`from` NULL: a fill) and notes what it writes. A failure has lost the device. */
cudaError_t shadow_copy(const void *to, const void *from, size_t bytes, const bounds &within);

/** Nobody has written these bytes. A failure, as nobody may, has lost the device. */
cudaError_t shadow_forget(void *memory, size_t bytes);

void shadow_begin_launch(const launch &l);
void shadow_begin_block();
/** All threads of the block have met. */
void shadow_barrier();
/** `members` of a warp have met in __syncwarp. */
void shadow_warp_sync(thread *warp, uint32_t members);

} // namespace cuda_host

#endif
