# install(): headers by folder, the libraries, and a package for find_package(lowrank).
if(LOWRANK_SANITIZE)
  return()
endif()
include(CMakePackageConfigHelpers)
get_property(_targets GLOBAL PROPERTY LOWRANK_TARGETS)
install(TARGETS ${_targets} EXPORT lowrankTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(_folder core formats kernels data lora models eval train)
  install(DIRECTORY ${_folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lowrank FILES_MATCHING PATTERN "*.h")
endforeach()
install(FILES cmake/lowrank.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lowrank)
set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/lowrank)
install(EXPORT lowrankTargets NAMESPACE lowrank:: DESTINATION ${_package})
configure_package_config_file(cmake/lowrankConfig.cmake.in ${PROJECT_BINARY_DIR}/lowrankConfig.cmake
                              INSTALL_DESTINATION ${_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lowrankConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lowrankConfig.cmake ${PROJECT_BINARY_DIR}/lowrankConfigVersion.cmake
              cmake/LowrankDependencies.cmake cmake/LowrankTorch.cmake
        DESTINATION ${_package})
if(TARGET lowrank-command)
  install(TARGETS lowrank-command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
