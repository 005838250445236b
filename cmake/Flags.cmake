# Compiler and linker flags of everything in the project.

option(TENSORC_WERROR "Treat compiler warnings as errors" $ENV{CI})
set(TENSORC_SANITIZE "" CACHE STRING "Sanitizers to build with, for example address,undefined")
option(TENSORC_COVERAGE "Record which lines the tests reach" OFF)
option(TENSORC_FUZZER "Link tests/fuzz with libFuzzer (needs clang)" OFF)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

# The same source gives the same bits: no fused multiply-add unless the code asks for one, no
# reordering of floating-point arithmetic, and no absolute paths inside the products.
set(host_options
    -ffp-contract=off -fno-math-errno
    -ffunction-sections -fdata-sections
    -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:${host_options}>")
add_link_options(LINKER:--gc-sections)
add_compile_definitions(_GNU_SOURCE)

set(CMAKE_C_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g3")

if(TENSORC_SANITIZE)
    set(CMAKE_C_FLAGS_DEBUG "-O1 -g")
    add_compile_options(-fsanitize=${TENSORC_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${TENSORC_SANITIZE})
endif()
if(TENSORC_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()
if(TENSORC_FUZZER)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Kept apart from the flags above because generated code is not held to them.
add_library(tc_flags INTERFACE)
target_compile_options(tc_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
    $<$<BOOL:${TENSORC_WERROR}>:-Werror>)
