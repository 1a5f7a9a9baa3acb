# lowrank::arrow: Arrow's C++ libraries, which read Parquet, where they are found; else there is no such target.
#
# PyPI's pyarrow ships them with their headers. Searched in this order: LOWRANK_ARROW (a CMake or environment variable: the pyarrow folder;
# OFF: none), python3's, .deps/venv's and .deps/python's.
function(lowrank_arrow_libraries root result)
  set(${result} "" PARENT_SCOPE)
  file(GLOB arrow "${root}/libarrow.so.*")
  file(GLOB parquet "${root}/libparquet.so.*")
  if(arrow AND parquet AND EXISTS "${root}/include/parquet/arrow/reader.h")
    list(GET arrow 0 arrow)
    list(GET parquet 0 parquet)
    set(${result} "${parquet};${arrow}" PARENT_SCOPE)
  endif()
endfunction()

function(lowrank_find_arrow)
  set(places "")
  if(NOT DEFINED LOWRANK_ARROW AND DEFINED ENV{LOWRANK_ARROW})
    set(LOWRANK_ARROW "$ENV{LOWRANK_ARROW}")
  endif()
  if(DEFINED LOWRANK_ARROW)
    list(APPEND places "${LOWRANK_ARROW}")
  else()
    foreach(python python3 "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../.deps/venv/bin/python3"
                   "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../.deps/python/bin/python3")
      execute_process(COMMAND ${python} -c
          "import importlib.util as u; s = u.find_spec('pyarrow'); print(s.submodule_search_locations[0] if s else '')"
        OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(found)
        list(APPEND places "${found}")
      endif()
    endforeach()
  endif()
  foreach(root IN LISTS places)
    lowrank_arrow_libraries("${root}" libraries)
    if(libraries)
      set(LOWRANK_ARROW_ROOT "${root}" PARENT_SCOPE)
      add_library(lowrank::arrow INTERFACE IMPORTED GLOBAL)
      set_property(TARGET lowrank::arrow PROPERTY INTERFACE_COMPILE_OPTIONS "SHELL:-idirafter \"${root}/include\"")
      set_property(TARGET lowrank::arrow PROPERTY INTERFACE_LINK_LIBRARIES "${libraries}")
      set_property(TARGET lowrank::arrow PROPERTY INTERFACE_LINK_OPTIONS "-Wl,-rpath,${root}")
      message(STATUS "Arrow: ${root}")
      return()
    endif()
  endforeach()
endfunction()

# lowrank_parquet: the plugin liblowrank_parquet.so, which has Arrow and is loaded when a Parquet file comes: a start of the command
# without one need not load it. Programs find it by their run path: in the build tree that of all programs (of those of another project that
# adds this one, by linking), installed in lib/lowrank.
function(lowrank_parquet_plugin)
  add_library(lowrank_parquet MODULE "${PROJECT_SOURCE_DIR}/formats/parquet_plugin.cpp")
  target_include_directories(lowrank_parquet PRIVATE "${PROJECT_BINARY_DIR}/include/formats")
  target_link_libraries(lowrank_parquet PRIVATE lowrank_core lowrank::arrow)
  target_compile_features(lowrank_parquet PRIVATE cxx_std_20)
  set(place "${PROJECT_BINARY_DIR}/lib/lowrank")
  set_target_properties(lowrank_parquet PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${place}" CXX_VISIBILITY_PRESET hidden
                        INSTALL_RPATH "$ORIGIN;${LOWRANK_ARROW_ROOT}")
  lowrank_options(lowrank_parquet)
  add_dependencies(lowrank_formats lowrank_parquet)
  target_link_libraries(lowrank_formats PRIVATE ${CMAKE_DL_LIBS})
  target_link_options(lowrank_formats INTERFACE
    "$<INSTALL_INTERFACE:-Wl,-rpath,$<INSTALL_PREFIX>/${CMAKE_INSTALL_LIBDIR}/lowrank>")
  if(LOWRANK_MAIN_PROJECT)
    set(CMAKE_BUILD_RPATH "${CMAKE_BUILD_RPATH};${place}" PARENT_SCOPE)
  else()
    target_link_options(lowrank_formats INTERFACE "$<BUILD_INTERFACE:-Wl,-rpath,${place}>")
  endif()
endfunction()

if(NOT TARGET lowrank::arrow)
  lowrank_find_arrow()
endif()
