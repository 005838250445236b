# The CUDA backend without CUDA: src/kernels/cuda compiled by a C++ compiler against the emulation of
# tests/cuda_host, into lib/cuda_host/libtensorc_cuda.so beside lib/cuda_host/libtensorc_cuda_host.so,
# which takes the part of the CUDA runtime. Tests find it by TENSORC_PLUGIN_PATH.
#
# The code of kernels is instrumented as for the thread sanitizer, with hooks of our own that find
# races and wild accesses: not in builds with sanitizers, which it has nothing to do with.

if(TENSORC_SANITIZE OR TENSORC_COVERAGE)
    return()
endif()

set(TC_CUDA_HOST_DIR ${PROJECT_SOURCE_DIR}/tests/cuda_host)
include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
    set(reason "CUDA emulation: no C++ compiler found, kernels are not tested without a GPU")
    message(STATUS "${reason}")
    tc_add_test(test_cuda_host LABEL cuda_host COMMAND sh -c "echo '${reason}'; exit 77")
    return()
endif()
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
enable_language(CXX)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g")

set(warnings -Wall -Wextra -Wno-unknown-pragmas $<$<BOOL:${TENSORC_WERROR}>:-Werror>)
set(plain_options -O2 -g1 -gdwarf-4 -fPIC -ffp-contract=off -fno-math-errno
    -ffunction-sections -fdata-sections -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
set(kernel_options ${plain_options} -fsanitize=thread,bounds,alignment -fno-omit-frame-pointer
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)

# tc_cuda_host_target(<target> [<option>...]): with these options instead of the folder's, among
# which the preset's sanitizers are.
function(tc_cuda_host_target target)
    set_target_properties(${target} PROPERTIES
        COMPILE_OPTIONS "${ARGN}" LINK_OPTIONS "" CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON
        CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)
    target_compile_definitions(${target} PRIVATE TC_CUDA_HOST)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include
        ${PROJECT_SOURCE_DIR}/src)
    target_include_directories(${target} BEFORE PRIVATE ${TC_CUDA_HOST_DIR}/include)
endfunction()

set(lib_dir ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/cuda_host)

# The emulation itself.
file(GLOB sources CONFIGURE_DEPENDS ${TC_CUDA_HOST_DIR}/*.cpp)
list(FILTER sources EXCLUDE REGEX "/(hooks|bounded)\\.cpp$")
add_library(tc_cuda_host SHARED ${sources})
tc_cuda_host_target(tc_cuda_host ${plain_options} ${warnings})
set_target_properties(tc_cuda_host PROPERTIES OUTPUT_NAME tensorc_cuda_host
    CXX_VISIBILITY_PRESET default LIBRARY_OUTPUT_DIRECTORY ${lib_dir})
target_link_libraries(tc_cuda_host PRIVATE pthread dl)

# What every library of kernels has of its own.
add_library(tc_cuda_host_hooks OBJECT ${TC_CUDA_HOST_DIR}/hooks.cpp)
tc_cuda_host_target(tc_cuda_host_hooks ${plain_options} -fno-builtin ${warnings})

# What generated kernels are compiled with while tests run.
string(JOIN "\", \"" options_of_kernels -g1 -gdwarf-4 -fPIC -ffp-contract=off -fno-math-errno
    -fsanitize=thread,bounds,alignment)
set_source_files_properties(${TC_CUDA_HOST_DIR}/compile.cpp PROPERTIES COMPILE_DEFINITIONS
    "TC_CUDA_HOST_CXX=\"${CMAKE_CXX_COMPILER}\";TC_CUDA_HOST_INCLUDE=\"${TC_CUDA_HOST_DIR}/include\";TC_CUDA_HOST_HOOKS=\"$<TARGET_OBJECTS:tc_cuda_host_hooks>\";TC_CUDA_HOST_KERNEL_OPTIONS=\"${options_of_kernels}\"")
add_dependencies(tc_cuda_host tc_cuda_host_hooks)

# tc_cuda_host_kernels(<target> <file.cu>...): objects of kernels. Each file is included by one that
# a C++ compiler takes for its own.
function(tc_cuda_host_kernels target)
    set(wrappers)
    foreach(source ${ARGN})
        cmake_path(GET source STEM name)
        set(wrapper ${PROJECT_BINARY_DIR}/cuda_host/${target}/${name}.cpp)
        file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${source}\"\n")
        list(APPEND wrappers ${wrapper})
    endforeach()
    add_library(${target} OBJECT ${wrappers})
    tc_cuda_host_target(${target} ${kernel_options} ${warnings})
endfunction()

tc_cuda_host_kernels(tc_cuda_host_plugin_kernels ${TC_CUDA_SOURCES})
add_library(tc_cuda_host_plugin_core OBJECT ${TC_CUDA_CORE})
tc_cuda_host_target(tc_cuda_host_plugin_core ${plain_options})
add_library(tc_cuda_host_plugin_bounded OBJECT ${TC_CUDA_HOST_DIR}/bounded.cpp)
tc_cuda_host_target(tc_cuda_host_plugin_bounded ${plain_options} ${warnings})
add_library(tensorc_cuda_emulated MODULE
    $<TARGET_OBJECTS:tc_cuda_host_plugin_kernels> $<TARGET_OBJECTS:tc_cuda_host_plugin_core>
    $<TARGET_OBJECTS:tc_cuda_host_plugin_bounded> $<TARGET_OBJECTS:tc_cuda_host_hooks>)
set(plugin_map ${PROJECT_SOURCE_DIR}/src/kernels/cuda/plugin.map)
set_target_properties(tensorc_cuda_emulated PROPERTIES OUTPUT_NAME tensorc_cuda
    LINKER_LANGUAGE CXX LIBRARY_OUTPUT_DIRECTORY ${lib_dir} BUILD_RPATH $ORIGIN
    LINK_OPTIONS "LINKER:-z,defs;LINKER:--gc-sections;LINKER:--version-script=${plugin_map}"
    LINK_DEPENDS ${plugin_map})
target_link_libraries(tensorc_cuda_emulated PRIVATE tc_cuda_host pthread m)

# Tests of the emulation: kernels that are right and kernels that are wrong.
file(GLOB sources CONFIGURE_DEPENDS ${TC_CUDA_HOST_DIR}/test_*.cu)
foreach(source ${sources})
    cmake_path(GET source STEM unit)
    string(REGEX REPLACE "^test_" "test_cuda_host_" name ${unit})
    tc_cuda_host_kernels(${name}_objects ${source})
    target_include_directories(${name}_objects PRIVATE ${PROJECT_SOURCE_DIR}/tests ${TC_CUDA_HOST_DIR})
    target_include_directories(${name}_objects SYSTEM PRIVATE ${CMOCKA_INCLUDE_DIRS})
    add_executable(${name} $<TARGET_OBJECTS:${name}_objects> $<TARGET_OBJECTS:tc_cuda_host_hooks>)
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX LINK_OPTIONS "")
    target_link_directories(${name} PRIVATE ${CMOCKA_LIBRARY_DIRS})
    target_link_libraries(${name} PRIVATE tc_cuda_host ${CMOCKA_LIBRARIES} pthread)
    if(NOT TARGET tests_cuda_host)
        add_custom_target(tests_cuda_host)
    endif()
    add_dependencies(tests_cuda_host ${name})
    tc_add_test(${name} LABEL cuda_host COMMAND ${name})
endforeach()

# Training through the whole of the library, lanes and what is computed once, on the emulation.
foreach(name train lanes invariants)
    add_dependencies(test_runtime_devices_${name} tensorc_cuda_emulated)
    tc_add_test(test_runtime_devices_${name}_cuda LABEL cuda_host
        COMMAND test_runtime_devices_${name} ENVIRONMENT TENSORC_PLUGIN_PATH=${lib_dir})
endforeach()

# In f16, with a loss scale on the device.
add_dependencies(test_compiler_loss_scale tensorc_cuda_emulated)
tc_add_test(test_compiler_loss_scale_cuda LABEL cuda_host COMMAND test_compiler_loss_scale
    ENVIRONMENT TENSORC_PLUGIN_PATH=${lib_dir})

# Random numbers of the emulation are those of the CPU.
add_dependencies(test_kernels_random_device tensorc_cuda_emulated)
tc_add_test(test_kernels_random_device_cuda LABEL cuda_host COMMAND test_kernels_random_device
    ENVIRONMENT TENSORC_PLUGIN_PATH=${lib_dir} TENSORC_TEST_DEVICE=cuda:0)

# The operator cases on the emulation, in parts that run beside each other.
add_dependencies(test_ops tensorc_cuda_emulated)
set(parts 6)
foreach(part RANGE 1 ${parts})
    math(EXPR index "${part} - 1")
    tc_add_test(test_ops_cuda_${part} LABEL ops COMMAND test_ops ${index}/${parts}
        ENVIRONMENT TENSORC_PLUGIN_PATH=${lib_dir} TENSORC_TEST_DEVICE=cuda:0)
    set_tests_properties(test_ops_cuda_${part} PROPERTIES TIMEOUT 900)
endforeach()

# Random graphs, whole sessions.
add_dependencies(test_compiler_differential tensorc_cuda_emulated)
tc_add_test(test_compiler_differential_cuda LABEL compiler COMMAND test_compiler_differential 1 40
    ENVIRONMENT TENSORC_PLUGIN_PATH=${lib_dir} TENSORC_TEST_DEVICE=cuda:0)
