# The CUDA backend, a plug-in that libtensorc loads at run time: libtensorc_cuda.so, built where the
# CUDA Toolkit is found. It links nothing of libtensorc and exports one symbol. tensorc_cuda_static
# is for programs that are linked statically and register it themselves.

option(TENSORC_CUDA "Build the CUDA backend where the CUDA Toolkit is found" ON)
set(TENSORC_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90-real;100-real;120"
    CACHE STRING "Compute capabilities that CUDA kernels are compiled for, the last one as PTX too")

# The pure files of core that both sides are built with.
set(TC_CUDA_CORE attr broadcast dtype shape slice window fused_program)
list(TRANSFORM TC_CUDA_CORE PREPEND ${PROJECT_SOURCE_DIR}/src/core/)
list(TRANSFORM TC_CUDA_CORE APPEND .c)
list(APPEND TC_CUDA_CORE ${PROJECT_SOURCE_DIR}/src/kernels/cuda/host.c)
file(GLOB TC_CUDA_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/cuda/*.cu)

if(NOT TENSORC_CUDA OR TENSORC_SANITIZE OR TENSORC_COVERAGE)
    return()
endif()
find_program(TC_NVCC nvcc
    HINTS ${CUDAToolkit_ROOT}/bin $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
if(NOT TC_NVCC)
    message(STATUS "CUDA: no nvcc found, the CUDA backend is not built")
    return()
endif()
if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${TC_NVCC})
endif()
set(CMAKE_CUDA_ARCHITECTURES ${TENSORC_CUDA_ARCHITECTURES})
if(CCACHE_PROGRAM AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
enable_language(CXX CUDA)
find_package(CUDAToolkit 12.8 QUIET)
find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(NOT CUDAToolkit_FOUND OR NOT CUDNN_INCLUDE_DIR)
    message(STATUS "CUDA: the toolkit (12.8 or newer) or cuDNN (9) is not found, the CUDA backend is not built")
    return()
endif()
message(STATUS "CUDA: ${CUDAToolkit_VERSION}, for ${TENSORC_CUDA_ARCHITECTURES}")

add_library(tc_cuda_objects OBJECT ${TC_CUDA_SOURCES})
target_include_directories(tc_cuda_objects PRIVATE include src)
target_include_directories(tc_cuda_objects SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR})
target_compile_definitions(tc_cuda_objects PRIVATE TC_CUDA_CUDNN)
target_compile_options(tc_cuda_objects PRIVATE
    -Xcompiler=-fPIC,-fvisibility=hidden,-ffunction-sections,-fdata-sections,-Wall,-Wextra
    -std=c++20 --expt-relaxed-constexpr $<$<BOOL:${TENSORC_WERROR}>:-Werror=all-warnings>)
# Most of the plug-in is machine code for one architecture or another, which compresses well. (What
# the newer way makes is not for drivers of before CUDA 12.4.)
if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 13)
    target_compile_options(tc_cuda_objects PRIVATE --compress-mode=size)
else()
    target_compile_options(tc_cuda_objects PRIVATE -Xfatbin=-compress-all)
endif()
# cuBLASLt and cuDNN are loaded when the first kernel needs them: libraries.cu.
set(TC_CUDA_LIBRARIES CUDA::cudart_static CUDA::nvrtc ${CMAKE_DL_LIBS})

add_library(tensorc_cuda MODULE $<TARGET_OBJECTS:tc_cuda_objects> ${TC_CUDA_CORE})
target_include_directories(tensorc_cuda PRIVATE include src)
target_link_libraries(tensorc_cuda PRIVATE tc_flags ${TC_CUDA_LIBRARIES})
target_link_options(tensorc_cuda PRIVATE LINKER:-z,defs LINKER:--as-needed LINKER:--exclude-libs,ALL
    LINKER:--version-script=${PROJECT_SOURCE_DIR}/src/kernels/cuda/plugin.map)
set_target_properties(tensorc_cuda PROPERTIES LINKER_LANGUAGE CXX
    BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR}
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/cuda/plugin.map)

add_library(tensorc_cuda_static STATIC $<TARGET_OBJECTS:tc_cuda_objects>)
target_link_libraries(tensorc_cuda_static PUBLIC tensorc_static ${TC_CUDA_LIBRARIES})
set_target_properties(tensorc_cuda_static PROPERTIES OUTPUT_NAME tensorc_cuda LINKER_LANGUAGE CXX)

# What the GPU benchmark compares products with.
add_executable(cublaslt_gemm benchmarks/peers/cublaslt_gemm.cu)
target_link_libraries(cublaslt_gemm PRIVATE CUDA::cudart_static CUDA::cublasLt)
set_target_properties(cublaslt_gemm PROPERTIES LINKER_LANGUAGE CXX)
