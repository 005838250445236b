# What `cmake --install` puts into place: headers, both libraries, the tool, and the files by
# which pkg-config and CMake find them.

include(CMakePackageConfigHelpers)

install(DIRECTORY include/tensorc DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS tensorc tensorc_static EXPORT tensorc)
if(TARGET tensorc_tool)
    file(RELATIVE_PATH lib_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(tensorc_tool PROPERTIES INSTALL_RPATH $ORIGIN/${lib_from_bin})
    install(TARGETS tensorc_tool)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_STRIP)
    set(installed_library "\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/libtensorc.so.${PROJECT_VERSION}")
    install(CODE "execute_process(COMMAND ${CMAKE_STRIP} --strip-unneeded \"${installed_library}\" COMMAND_ERROR_IS_FATAL ANY)")
endif()

list(TRANSFORM TC_LIBRARIES PREPEND "-l" OUTPUT_VARIABLE private_libraries)
list(JOIN private_libraries " " TC_PRIVATE_LIBRARIES)
file(RELATIVE_PATH TC_PREFIX_FROM_PC ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" TC_PREFIX_FROM_PC ${TC_PREFIX_FROM_PC})
configure_file(cmake/tensorc.pc.in tensorc.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tensorc.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tensorc)
install(EXPORT tensorc NAMESPACE tensorc:: FILE tensorcConfig.cmake DESTINATION ${package_dir})
write_basic_package_version_file(tensorcConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tensorcConfigVersion.cmake DESTINATION ${package_dir})
