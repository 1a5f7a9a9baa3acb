# lowrank::torch: LibTorch >= 2.7 as one imported target; or else LOWRANK_TORCH_PROBLEM, one sentence with its remedy.
#
# Searched in this order: Torch_DIR (a CMake or environment variable), the LibTorch that an installed package was built with
# (lowrankConfig.cmake sets LOWRANK_BUILT_TORCH and LOWRANK_BUILT_TORCH_VERSION), the torch package of python3, .deps/venv as
# scripts/bootstrap.sh leaves it. An installed package takes the version that it was built with alone: LibTorch keeps no ABI
# between versions. LibTorch's own CMake package is not used: it wants a CUDA toolkit at configure time for CUDA builds and
# adds flags of its own; the libraries by path are all that is needed.

# The version of the LibTorch in `root`, "" where there is none: torch/headeronly/version.h since 2.9, the other before.
function(lowrank_torch_version root result)
  set(${result} "" PARENT_SCOPE)
  foreach(file include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h)
    if(EXISTS "${root}/${file}" AND EXISTS "${root}/lib/libtorch_cpu.so")
      file(READ "${root}/${file}" text)
      if(text MATCHES "TORCH_VERSION_MAJOR[ \t]+([0-9]+)")
        set(major "${CMAKE_MATCH_1}")
        string(REGEX MATCH "TORCH_VERSION_MINOR[ \t]+([0-9]+)" _ "${text}")
        set(minor "${CMAKE_MATCH_1}")
        string(REGEX MATCH "TORCH_VERSION_PATCH[ \t]+([0-9]+)" _ "${text}")
        set(${result} "${major}.${minor}.${CMAKE_MATCH_1}" PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
endfunction()

# Why this LibTorch cannot be used, without its subject; "" when it can.
function(lowrank_torch_objection root version result)
  set(${result} "" PARENT_SCOPE)
  if(NOT version)
    set(${result} "holds no LibTorch (lib/libtorch_cpu.so and a version header)" PARENT_SCOPE)
  elseif(version VERSION_LESS 2.7)
    set(${result} "is LibTorch ${version}, and 2.7 or newer is needed" PARENT_SCOPE)
  elseif(LOWRANK_BUILT_TORCH_VERSION AND NOT version VERSION_EQUAL LOWRANK_BUILT_TORCH_VERSION)
    set(${result} "is LibTorch ${version}" PARENT_SCOPE)
  else()
    # A LibTorch that loads the system's libprotobuf crashes at start beside the system's libsentencepiece.
    find_program(LOWRANK_READELF readelf)
    if(LOWRANK_READELF)
      execute_process(COMMAND ${LOWRANK_READELF} -d "${root}/lib/libtorch_cpu.so" OUTPUT_VARIABLE needed ERROR_QUIET)
      if(needed MATCHES "libprotobuf(-lite)?\\.so")
        set(${result} "loads the system's libprotobuf, which crashes beside libsentencepiece (the PyPI wheel does not)" PARENT_SCOPE)
      endif()
    endif()
  endif()
endfunction()

# Sets LOWRANK_TORCH_ROOT and LOWRANK_TORCH_VERSION, or LOWRANK_TORCH_PROBLEM.
function(lowrank_find_torch)
  set(LOWRANK_TORCH_PROBLEM "" PARENT_SCOPE)
  if(LOWRANK_BUILT_TORCH_VERSION)
    set(built "lowrank was built with LibTorch ${LOWRANK_BUILT_TORCH_VERSION} at ${LOWRANK_BUILT_TORCH}")
    set(remedy "give -DTorch_DIR=<libtorch>/share/cmake/Torch of a LibTorch ${LOWRANK_BUILT_TORCH_VERSION} (pip install \
torch==${LOWRANK_BUILT_TORCH_VERSION} brings one), or build lowrank again with the LibTorch that is there")
  endif()
  set(objections "")

  if(NOT Torch_DIR AND DEFINED ENV{Torch_DIR})
    set(Torch_DIR "$ENV{Torch_DIR}")
  endif()
  if(Torch_DIR)  # what is asked for is taken or refused; nothing else is looked for
    get_filename_component(root "${Torch_DIR}/../../.." REALPATH)
    lowrank_torch_version("${root}" version)
    lowrank_torch_objection("${root}" "${version}" objection)
    if(NOT objection)
      set(LOWRANK_TORCH_ROOT "${root}" PARENT_SCOPE)
      set(LOWRANK_TORCH_VERSION "${version}" PARENT_SCOPE)
    elseif(LOWRANK_BUILT_TORCH_VERSION)
      set(LOWRANK_TORCH_PROBLEM "${built}, and Torch_DIR=${Torch_DIR} ${objection}: ${remedy}" PARENT_SCOPE)
    else()
      set(LOWRANK_TORCH_PROBLEM "Torch_DIR=${Torch_DIR} ${objection}: give the share/cmake/Torch folder of another LibTorch, or \
none and run scripts/bootstrap.sh" PARENT_SCOPE)
    endif()
    return()
  endif()

  set(places "")
  if(LOWRANK_BUILT_TORCH)
    list(APPEND places "${LOWRANK_BUILT_TORCH}")
  endif()
  foreach(python python3 "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../.deps/venv/bin/python3")
    execute_process(COMMAND ${python} -c
        "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(found)
      list(APPEND places "${found}")
    endif()
  endforeach()
  foreach(root IN LISTS places)
    lowrank_torch_version("${root}" version)
    lowrank_torch_objection("${root}" "${version}" objection)
    if(NOT objection)
      set(LOWRANK_TORCH_ROOT "${root}" PARENT_SCOPE)
      set(LOWRANK_TORCH_VERSION "${version}" PARENT_SCOPE)
      return()
    elseif(root STREQUAL "${LOWRANK_BUILT_TORCH}")
      string(APPEND objections ", which ${objection} now")
    else()
      string(APPEND objections ", and ${root} ${objection}")
    endif()
  endforeach()
  if(LOWRANK_BUILT_TORCH_VERSION)
    set(LOWRANK_TORCH_PROBLEM "${built}${objections}: ${remedy}" PARENT_SCOPE)
  else()
    set(LOWRANK_TORCH_PROBLEM "LibTorch was not found${objections}: run scripts/bootstrap.sh, or give \
-DTorch_DIR=<libtorch>/share/cmake/Torch" PARENT_SCOPE)
  endif()
endfunction()

function(lowrank_torch_target root)
  add_library(lowrank::torch INTERFACE IMPORTED GLOBAL)
  # After the system's folders: the wheel's include folder also carries fmt's headers, of another version than the system's
  # library. -idirafter makes them system headers too (our -Werror does not see them).
  set_property(TARGET lowrank::torch PROPERTY INTERFACE_COMPILE_OPTIONS
    "SHELL:-idirafter \"${root}/include\""
    "SHELL:-idirafter \"${root}/include/torch/csrc/api/include\""
    -fopenmp)  # without it at::parallel_for runs on one thread
  set(libs "")
  foreach(lib torch torch_cpu c10)
    list(APPEND libs "${root}/lib/lib${lib}.so")
  endforeach()
  if(EXISTS "${root}/lib/libtorch_cuda.so")  # registers its kernels although nothing names it
    list(APPEND libs "-Wl,--no-as-needed" "${root}/lib/libtorch_cuda.so" "${root}/lib/libc10_cuda.so" "-Wl,--as-needed")
  endif()
  # The OpenMP runtime that LibTorch brings (of another name in some wheels), so that there is one pool of threads.
  file(GLOB gomp "${root}/lib/libgomp*.so*")
  if(gomp)
    list(GET gomp 0 gomp)
  else()
    set(gomp gomp)
  endif()
  list(APPEND libs "${gomp}")
  set_property(TARGET lowrank::torch PROPERTY INTERFACE_LINK_LIBRARIES "${libs};Threads::Threads")
  set_property(TARGET lowrank::torch PROPERTY INTERFACE_LINK_OPTIONS "-Wl,-rpath,${root}/lib")
endfunction()

if(NOT TARGET lowrank::torch)
  lowrank_find_torch()
  if(NOT LOWRANK_TORCH_PROBLEM)
    lowrank_torch_target("${LOWRANK_TORCH_ROOT}")
    message(STATUS "LibTorch ${LOWRANK_TORCH_VERSION}: ${LOWRANK_TORCH_ROOT}")
  endif()
endif()
