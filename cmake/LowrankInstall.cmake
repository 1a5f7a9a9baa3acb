# install(): the libraries that were built with their headers, the command, and a package for find_package(lowrank).
#
# Each library is a component of the package with a file of targets of its own, so that what `make build` leaves out can stay
# out: what is not built is not installed, and lowrankConfig.cmake tells by the libraries that lie in the prefix.
if(LOWRANK_SANITIZE)
  return()
endif()
include(CMakePackageConfigHelpers)
set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/lowrank)
get_property(_targets GLOBAL PROPERTY LOWRANK_TARGETS)
set(LOWRANK_COMPONENTS "")  # each needs only those before it, as the folders do
set(LOWRANK_COMPONENT_TABLE "")

foreach(_target IN LISTS _targets)
  get_target_property(_component ${_target} EXPORT_NAME)
  get_target_property(_type ${_target} TYPE)
  get_target_property(_links ${_target} INTERFACE_LINK_LIBRARIES)
  get_target_property(_headers ${_target} LOWRANK_HEADERS)
  set(_needs "")
  set(_files "")  # what must be there for it to be installed
  foreach(_link IN LISTS _links)
    if(_link IN_LIST _targets)
      get_target_property(_need ${_link} EXPORT_NAME)
      list(APPEND _needs ${_need})
      list(APPEND _files "$<TARGET_FILE:${_link}>")
    elseif(_link STREQUAL "lowrank::torch")
      list(APPEND _needs torch)
    endif()
  endforeach()
  list(APPEND LOWRANK_COMPONENTS ${_component})
  string(APPEND LOWRANK_COMPONENT_TABLE "set(_lowrank_needs_${_component} ${_needs})\n")

  set(_archive "")
  if(NOT _type STREQUAL "INTERFACE_LIBRARY")
    set(_files "$<TARGET_FILE:${_target}>")
    set(_archive "${CMAKE_INSTALL_LIBDIR}/${CMAKE_STATIC_LIBRARY_PREFIX}${_target}${CMAKE_STATIC_LIBRARY_SUFFIX}")
    string(APPEND LOWRANK_COMPONENT_TABLE "set(_lowrank_archive_${_component} \${PACKAGE_PREFIX_DIR}/${_archive})\n")
  endif()
  install(TARGETS ${_target} EXPORT lowrankTargets-${_component} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} OPTIONAL)
  install(EXPORT lowrankTargets-${_component} NAMESPACE lowrank:: DESTINATION ${_package})
  # The else: a library of an earlier installation would no longer fit the headers.
  install(CODE "
    set(built TRUE)
    foreach(file IN ITEMS ${_files})
      if(NOT EXISTS \"\${file}\")
        set(built FALSE)
      endif()
    endforeach()
    if(built)
      foreach(header IN ITEMS ${_headers})
        get_filename_component(folder \"lowrank/\${header}\" DIRECTORY)
        file(INSTALL \"${PROJECT_SOURCE_DIR}/\${header}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}/\${folder}\")
      endforeach()
    elseif(NOT \"${_archive}\" STREQUAL \"\")
      message(STATUS \"Not built, not installed: ${_archive}\")
      file(REMOVE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${_archive}\")
    endif()")
endforeach()

configure_package_config_file(cmake/lowrankConfig.cmake.in ${PROJECT_BINARY_DIR}/lowrankConfig.cmake
                              INSTALL_DESTINATION ${_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lowrankConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lowrankConfig.cmake ${PROJECT_BINARY_DIR}/lowrankConfigVersion.cmake
              cmake/LowrankDependencies.cmake cmake/LowrankTorch.cmake
        DESTINATION ${_package})
if(TARGET lowrank_parquet)
  install(TARGETS lowrank_parquet LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lowrank OPTIONAL)
endif()
if(TARGET lowrank-command)
  # A package brings LibTorch along (LowrankPackage.cmake); elsewhere it is where the build found it.
  set_target_properties(lowrank_verbs PROPERTIES INSTALL_RPATH "$ORIGIN;${LOWRANK_TORCH_ROOT}/lib")
  install(TARGETS lowrank_verbs LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lowrank OPTIONAL)
  install(FILES "$<TARGET_FILE_DIR:lowrank_verbs>/verbs.json" DESTINATION ${CMAKE_INSTALL_LIBDIR}/lowrank OPTIONAL)
  install(TARGETS lowrank-command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} OPTIONAL)
  # What shells and man show of the verbs, as the command itself prints it.
  install(CODE "
    set(command \"$<TARGET_FILE:lowrank-command>\")
    set(shown \"${PROJECT_BINARY_DIR}/shown\")
    if(EXISTS \"\${command}\")
      file(MAKE_DIRECTORY \"\${shown}\")
      foreach(what IN ITEMS
          \"completion bash:lowrank:${CMAKE_INSTALL_DATADIR}/bash-completion/completions\"
          \"completion zsh:_lowrank:${CMAKE_INSTALL_DATADIR}/zsh/site-functions\"
          \"completion fish:lowrank.fish:${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d\"
          \"man:lowrank.1:${CMAKE_INSTALL_MANDIR}/man1\")
        string(REPLACE \":\" \";\" parts \"\${what}\")
        list(GET parts 0 words)
        list(GET parts 1 file)
        list(GET parts 2 place)
        string(REPLACE \" \" \";\" words \"\${words}\")
        execute_process(COMMAND \"\${command}\" \${words} OUTPUT_FILE \"\${shown}/\${file}\" RESULT_VARIABLE failed)
        if(failed)
          message(FATAL_ERROR \"\${command} could not be run for \${file}\")
        endif()
        file(INSTALL \"\${shown}/\${file}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/\${place}\")
      endforeach()
    endif()")
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
