# lowrank::torch: LibTorch >= 2.7 as one imported target.
#
# Searched in this order: Torch_DIR (a CMake or environment variable), the torch package of python3, .deps/venv as
# scripts/bootstrap.sh leaves it. LibTorch's own CMake package is not used: it wants a CUDA toolkit at configure time for
# CUDA builds and adds flags of its own; the libraries by path are all that is needed.
if(TARGET lowrank::torch)
  return()
endif()

set(_lowrank_torch_root "")
if(NOT Torch_DIR AND DEFINED ENV{Torch_DIR})
  set(Torch_DIR "$ENV{Torch_DIR}")
endif()
if(Torch_DIR)
  get_filename_component(_lowrank_torch_root "${Torch_DIR}/../../.." REALPATH)
  if(NOT EXISTS "${_lowrank_torch_root}/include/torch")
    message(FATAL_ERROR "Torch_DIR=${Torch_DIR} is not the share/cmake/Torch folder of a LibTorch: "
                        "${_lowrank_torch_root}/include/torch does not exist")
  endif()
else()
  foreach(_python python3 "${CMAKE_CURRENT_LIST_DIR}/../.deps/venv/bin/python3")
    execute_process(COMMAND ${_python} -c
        "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(_found AND EXISTS "${_found}/include/torch" AND EXISTS "${_found}/lib/libtorch_cpu.so")
      set(_lowrank_torch_root "${_found}")
      break()
    endif()
  endforeach()
endif()
if(NOT _lowrank_torch_root)
  message(FATAL_ERROR "LibTorch was not found: run scripts/bootstrap.sh, or give -DTorch_DIR=<libtorch>/share/cmake/Torch")
endif()

# The version: torch/headeronly/version.h since 2.9, torch/csrc/api/include/torch/version.h before.
set(_lowrank_torch_version "")
foreach(_file include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h)
  if(EXISTS "${_lowrank_torch_root}/${_file}" AND NOT _lowrank_torch_version)
    file(READ "${_lowrank_torch_root}/${_file}" _text)
    if(_text MATCHES "TORCH_VERSION_MAJOR[ \t]+([0-9]+)")
      set(_major "${CMAKE_MATCH_1}")
      string(REGEX MATCH "TORCH_VERSION_MINOR[ \t]+([0-9]+)" _ "${_text}")
      set(_minor "${CMAKE_MATCH_1}")
      string(REGEX MATCH "TORCH_VERSION_PATCH[ \t]+([0-9]+)" _ "${_text}")
      set(_lowrank_torch_version "${_major}.${_minor}.${CMAKE_MATCH_1}")
    endif()
  endif()
endforeach()
if(NOT _lowrank_torch_version)
  message(FATAL_ERROR "${_lowrank_torch_root} has no readable version header")
endif()
if(_lowrank_torch_version VERSION_LESS 2.7)
  message(FATAL_ERROR "LibTorch ${_lowrank_torch_version} at ${_lowrank_torch_root} is too old: 2.7 or newer is needed")
endif()

# A LibTorch that loads the system's libprotobuf crashes at start beside the system's libsentencepiece.
find_program(LOWRANK_READELF readelf)
if(LOWRANK_READELF)
  execute_process(COMMAND ${LOWRANK_READELF} -d "${_lowrank_torch_root}/lib/libtorch_cpu.so"
                  OUTPUT_VARIABLE _needed ERROR_QUIET)
  if(_needed MATCHES "libprotobuf(-lite)?\\.so")
    message(FATAL_ERROR "The LibTorch at ${_lowrank_torch_root} loads the system's libprotobuf, which crashes beside "
                        "libsentencepiece; use the PyPI wheel instead (scripts/bootstrap.sh installs it)")
  endif()
endif()

add_library(lowrank::torch INTERFACE IMPORTED GLOBAL)
# After the system's folders: the wheel's include folder also carries fmt's headers, of another version than the system's
# library. -idirafter makes them system headers too (our -Werror does not see them).
set_property(TARGET lowrank::torch PROPERTY INTERFACE_COMPILE_OPTIONS
  "SHELL:-idirafter ${_lowrank_torch_root}/include"
  "SHELL:-idirafter ${_lowrank_torch_root}/include/torch/csrc/api/include"
  -fopenmp)  # without it at::parallel_for runs on one thread
set(_lowrank_torch_libs "")
foreach(_lib torch torch_cpu c10)
  list(APPEND _lowrank_torch_libs "${_lowrank_torch_root}/lib/lib${_lib}.so")
endforeach()
if(EXISTS "${_lowrank_torch_root}/lib/libtorch_cuda.so")  # registers its kernels although nothing names it
  list(APPEND _lowrank_torch_libs "-Wl,--no-as-needed" "${_lowrank_torch_root}/lib/libtorch_cuda.so"
       "${_lowrank_torch_root}/lib/libc10_cuda.so" "-Wl,--as-needed")
endif()
# The OpenMP runtime that LibTorch brings (of another name in some wheels), so that there is one pool of threads.
file(GLOB _lowrank_torch_gomp "${_lowrank_torch_root}/lib/libgomp*.so*")
if(_lowrank_torch_gomp)
  list(GET _lowrank_torch_gomp 0 _lowrank_torch_gomp)
else()
  set(_lowrank_torch_gomp gomp)
endif()
list(APPEND _lowrank_torch_libs "${_lowrank_torch_gomp}")
set_property(TARGET lowrank::torch PROPERTY INTERFACE_LINK_LIBRARIES "${_lowrank_torch_libs};Threads::Threads")
set_property(TARGET lowrank::torch PROPERTY INTERFACE_LINK_OPTIONS "-Wl,-rpath,${_lowrank_torch_root}/lib")
set(LOWRANK_TORCH_VERSION "${_lowrank_torch_version}")
message(STATUS "LibTorch ${_lowrank_torch_version}: ${_lowrank_torch_root}")
