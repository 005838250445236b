# CMocka tests. tests/<folder>/test_<unit>.c becomes the program and the test
# test_<folder>_<unit> with the label <folder>; `ctest -L <folder>` runs one folder.

pkg_check_modules(CMOCKA REQUIRED cmocka)
set(TENSORC_TEST_TIMEOUT 300 CACHE STRING "Seconds after which a test has failed")
set(tests_dir ${PROJECT_SOURCE_DIR}/tests)

add_library(tc_test_flags INTERFACE)
# CMocka gives every test a state that few of them use, and texts made by snprintf may be cut.
target_compile_options(tc_test_flags INTERFACE -Wno-unused-parameter
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>)

add_library(tc_test INTERFACE)
target_include_directories(tc_test INTERFACE ${tests_dir})
target_include_directories(tc_test SYSTEM INTERFACE ${CMOCKA_INCLUDE_DIRS})
target_link_directories(tc_test INTERFACE ${CMOCKA_LIBRARY_DIRS})
target_link_libraries(tc_test INTERFACE tc_internal tc_test_flags tensorc_static ${CMOCKA_LIBRARIES})

file(GLOB support CONFIGURE_DEPENDS ${tests_dir}/support/*.c)
if(support)
    add_library(tc_test_support OBJECT ${support})
    target_link_libraries(tc_test_support PRIVATE tc_test)
    set(support $<TARGET_OBJECTS:tc_test_support>)
endif()

# tc_add_test_program(<target> LABEL <folder> SOURCES <file>...): linked statically, so that it
# reaches inside. The target tests_<folder> builds all programs of a folder.
function(tc_add_test_program target)
    cmake_parse_arguments(arg "" "LABEL" "SOURCES" ${ARGN})
    add_executable(${target} ${arg_SOURCES} ${support})
    target_link_libraries(${target} PRIVATE tc_test)
    if(NOT TARGET tests_${arg_LABEL})
        add_custom_target(tests_${arg_LABEL})
    endif()
    add_dependencies(tests_${arg_LABEL} ${target})
endfunction()

# Sanitizers stop a program whose allocation fails; the tests want the library to see it.
set(test_environment
    TENSORC_TEST_DATA=${tests_dir}/data
    TENSORC_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
    TENSORC_CACHE=${PROJECT_BINARY_DIR}/kernels
    ASAN_OPTIONS=allocator_may_return_null=1
    TSAN_OPTIONS=allocator_may_return_null=1
    UBSAN_OPTIONS=print_stacktrace=1)

# tc_add_test(<name> LABEL <folder> COMMAND <command>... [ENVIRONMENT <NAME=value>...]):
# exit status 77 is a skip.
function(tc_add_test name)
    cmake_parse_arguments(arg "" "LABEL" "COMMAND;ENVIRONMENT" ${ARGN})
    add_test(NAME ${name} COMMAND ${arg_COMMAND})
    set_tests_properties(${name} PROPERTIES
        LABELS "${arg_LABEL}"
        TIMEOUT ${TENSORC_TEST_TIMEOUT}
        SKIP_RETURN_CODE 77
        ENVIRONMENT "${test_environment};${arg_ENVIRONMENT}")
endfunction()

file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${tests_dir} ${tests_dir}/test_*.c)
foreach(source ${sources})
    if(source MATCHES "^((([^/]+)(/.+)?)/)test_([^/]+)\\.c$")
        string(REPLACE "/" "_" name test_${CMAKE_MATCH_1}${CMAKE_MATCH_5})
        set(label ${CMAKE_MATCH_3})
        tc_add_test_program(${name} LABEL ${label} SOURCES ${tests_dir}/${source})
        tc_add_test(${name} LABEL ${label} COMMAND ${name})
    endif()
endforeach()

# Tests of tools run them.
if(TARGET tests_tools AND TARGET tensorc_tool)
    add_dependencies(tests_tools tensorc_tool)
endif()

# The driver of the op cases is one program that runs once per instruction set.
file(GLOB sources CONFIGURE_DEPENDS ${tests_dir}/ops/*.c)
list(FILTER sources EXCLUDE REGEX "/test_[^/]*$")
if(sources)
    tc_add_test_program(test_ops LABEL ops SOURCES ${sources})
    foreach(isa ${TC_ISAS})
        tc_add_test(test_ops_${isa} LABEL ops COMMAND test_ops ENVIRONMENT TENSORC_CPU_ISA=${isa})
    endforeach()
endif()

# Fuzz targets replay their corpus as a test; with TENSORC_FUZZER they are fuzzers as well.
file(GLOB sources CONFIGURE_DEPENDS ${tests_dir}/fuzz/fuzz_*.c)
foreach(source ${sources})
    cmake_path(GET source STEM name)
    string(REGEX REPLACE "^fuzz_" "" corpus ${name})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes)
    tc_add_test_program(${name}_replay LABEL fuzz
        SOURCES ${source} ${tests_dir}/fuzz/replay_main.c)
    tc_add_test(${name} LABEL fuzz COMMAND ${name}_replay ${tests_dir}/fuzz/corpus/${corpus})
    if(TENSORC_FUZZER)
        tc_add_test_program(${name} LABEL fuzz SOURCES ${source})
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    endif()
endforeach()

# Programs of others know nothing of sanitizers, so what they use is tested without.
if(NOT TENSORC_SANITIZE AND NOT TENSORC_COVERAGE)
    tc_add_test(test_install LABEL install COMMAND ${tests_dir}/install/run.sh ${PROJECT_BINARY_DIR})
endif()

if(TARGET tensorc_cuda AND TARGET tensorc_tool)
    tc_add_test(test_cuda_plugin LABEL cuda COMMAND ${tests_dir}/cuda/plugin.sh ${PROJECT_BINARY_DIR})
    add_executable(test_cuda_static ${tests_dir}/cuda/static.c)
    target_link_libraries(test_cuda_static PRIVATE tc_flags tensorc_cuda_static)
    set_target_properties(test_cuda_static PROPERTIES LINKER_LANGUAGE CXX)
    tc_add_test(test_cuda_static LABEL cuda COMMAND test_cuda_static)
endif()
