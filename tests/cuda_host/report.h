/* Names of code for people. */
#ifndef TC_CUDA_HOST_REPORT_H
#define TC_CUDA_HOST_REPORT_H

#include <string>

namespace cuda_host
{

/** The function's name as it was written, or its address. */
std::string kernel_name(const void *kernel);
/** "file:line" of an instruction, or an empty text where nothing is known of it. */
std::string code_location(const void *instruction);
/** The part of a path behind the last slash. */
const char *base_name(const char *path);

} // namespace cuda_host

#endif
