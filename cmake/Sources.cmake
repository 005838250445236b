# How the folders of src/ become object libraries.

# tc_add_objects(<target> SOURCES <file>... [OPTIONS <flag>...]): objects of both products.
function(tc_add_objects target)
    cmake_parse_arguments(arg "" "" "SOURCES;OPTIONS" ${ARGN})
    add_library(${target} OBJECT ${arg_SOURCES})
    target_compile_options(${target} PRIVATE ${arg_OPTIONS})
    target_link_libraries(${target} PRIVATE tc_internal)
    set_property(GLOBAL APPEND PROPERTY TC_OBJECT_LIBRARIES ${target})
endfunction()

# tc_add_folder(<folder>): src/<folder> as tc_<folder>, or nothing where it holds no sources.
function(tc_add_folder folder)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*.c)
    if(sources)
        tc_add_objects(tc_${folder} SOURCES ${sources})
        if(TARGET tc_proto)
            add_dependencies(tc_${folder} tc_proto_sources)
        endif()
    endif()
endfunction()
