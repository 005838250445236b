# Programs written against the public headers and the shared library alone.

# tc_add_program(<target> <file>...)
function(tc_add_program target)
    add_executable(${target} ${ARGN})
    target_link_libraries(${target} PRIVATE tc_flags tensorc m)
endfunction()

file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/*.c)
if(sources)
    tc_add_program(tensorc_tool ${sources})
    set_target_properties(tensorc_tool PROPERTIES OUTPUT_NAME tensorc)
endif()

file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/benchmarks/*.c)
if(sources)
    tc_add_program(tc_bench ${sources})
endif()

# An example is a file, or a folder of files.
file(GLOB examples CONFIGURE_DEPENDS LIST_DIRECTORIES true ${PROJECT_SOURCE_DIR}/examples/*)
foreach(example ${examples})
    cmake_path(GET example STEM name)
    if(IS_DIRECTORY ${example})
        file(GLOB sources CONFIGURE_DEPENDS ${example}/*.c)
    elseif(example MATCHES "\\.c$")
        set(sources ${example})
    else()
        set(sources)
    endif()
    if(sources)
        tc_add_program(${name} ${sources})
    endif()
endforeach()
