# Installation: programs, libraries, headers, the CMake package shunt::shunt and the pkg-config file.
include(CMakePackageConfigHelpers)

install(TARGETS shunt EXPORT shunt_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(target IN ITEMS shunt_preload shunt_launcher)
    if(TARGET ${target})
        install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    endif()
endforeach()
if(EXISTS ${CMAKE_SOURCE_DIR}/include/shunt)
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/shunt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/shunt)
install(EXPORT shunt_targets NAMESPACE shunt:: FILE shuntTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/shuntConfig.cmake.in ${CMAKE_BINARY_DIR}/shuntConfig.cmake
    INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/shuntConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/shuntConfig.cmake ${CMAKE_BINARY_DIR}/shuntConfigVersion.cmake DESTINATION ${package_dir})

# Relative to the file itself: cmake --install --prefix may put it anywhere.
file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_SOURCE_DIR}/cmake/shunt.pc.in ${CMAKE_BINARY_DIR}/shunt.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/shunt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
