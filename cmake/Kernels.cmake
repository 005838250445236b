# CPU kernels. The files of isa/ are bodies: each is compiled once per instruction set, and names
# what it defines with TC_ISA_SUFFIX. The others are compiled once and choose at run time.

#
# The bodies are vectorized by hand; unrolling beyond that (-O3) doubles the library and gains nothing
# measurable. The scalar level, a fallback, is kept small.

set(kernel_options $<$<NOT:$<CONFIG:Release>>:-O1> -fno-trapping-math)
set(vector_options $<$<CONFIG:Release>:-ftree-vectorize>)

file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/cpu/*.c)
if(sources)
    tc_add_objects(tc_kernels_cpu SOURCES ${sources} OPTIONS ${kernel_options})
endif()

set(isa_scalar_level 0)
set(isa_avx2_level 1)
set(isa_avx2_flags ${vector_options} -mavx2 -mfma -mf16c -mbmi2)
set(isa_avx512_level 2)
set(isa_avx512_flags ${isa_avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl
    -mprefer-vector-width=512)
set(isa_neon_level 3)
set(isa_neon_flags ${vector_options})

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(TC_ISAS scalar avx2 avx512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(TC_ISAS scalar neon)
else()
    set(TC_ISAS scalar)
endif()

file(GLOB bodies CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/cpu/isa/*.c)
if(bodies)
    foreach(isa ${TC_ISAS})
        tc_add_objects(tc_kernels_cpu_${isa} SOURCES ${bodies}
            OPTIONS ${kernel_options} ${isa_${isa}_flags})
        target_compile_definitions(tc_kernels_cpu_${isa} PRIVATE
            TC_ISA_SUFFIX=${isa} TC_ISA_LEVEL=${isa_${isa}_level})
    endforeach()
endif()
