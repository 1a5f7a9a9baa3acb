# What the command loads where it computes on GPUs, and is not linked with; both need a LibTorch with CUDA.
# lowrank_cuda.so: kernels of our own (kernels/cuda/), where nvcc is found: in CUDA_HOME, on the PATH, or PyPI's beside its torch (nvidia-cuda-nvcc).
# lowrank_nccl.so: sums between GPUs (train/ranks/nccl_wire.cpp), where NCCL's header and library are: NCCL_HOME, the system's, or beside PyPI's torch.
# LOWRANK_CUDA=OFF, LOWRANK_NCCL=OFF: not wanted.
option(LOWRANK_CUDA "Build the module of kernels for GPUs, where nvcc is there" ON)
option(LOWRANK_NCCL "Build the module that sums gradients between GPUs, where CUDA and NCCL are there" ON)
if(NOT TARGET lowrank-command OR NOT EXISTS "${LOWRANK_TORCH_ROOT}/lib/libtorch_cuda.so")
  return()
endif()
file(GLOB beside LIST_DIRECTORIES true "${LOWRANK_TORCH_ROOT}/../nvidia/*")
set(places ${beside} $ENV{NCCL_HOME} $ENV{CUDA_HOME} /usr/local/cuda)
find_path(LOWRANK_CUDA_INCLUDE crt/host_config.h PATHS ${places} PATH_SUFFIXES include)
file(GLOB runtimes "${LOWRANK_TORCH_ROOT}/../nvidia/*/lib/libcudart.so.*" "$ENV{CUDA_HOME}/lib64/libcudart.so" "/usr/local/cuda/lib64/libcudart.so")
if(NOT LOWRANK_CUDA_INCLUDE OR NOT runtimes)
  message(STATUS "CUDA: its headers or libcudart.so were not found (CUDA_HOME); GPUs do without kernels of our own and NCCL")
  return()
endif()
list(GET runtimes 0 runtime)

# lowrank_gpu_module(NAME FOLDER USES libraries... SOURCES files...)
function(lowrank_gpu_module name folder)
  cmake_parse_arguments(M "" "" "USES;SOURCES;INCLUDES" ${ARGN})
  add_library(${name} MODULE ${M_SOURCES})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so" LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
  target_include_directories(${name} PRIVATE "${PROJECT_BINARY_DIR}/include/${folder}")
  target_include_directories(${name} SYSTEM PRIVATE ${M_INCLUDES} "${LOWRANK_CUDA_INCLUDE}")
  target_link_libraries(${name} PRIVATE lowrank::torch ${M_USES} "${runtime}")
  foreach(library IN LISTS M_USES runtime)
    cmake_path(GET library PARENT_PATH place)
    target_link_options(${name} PRIVATE "-Wl,-rpath,${place}")
  endforeach()
  lowrank_options(${name})
  add_dependencies(lowrank-command ${name})
  install(TARGETS ${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lowrank OPTIONAL)
endfunction()

if(LOWRANK_CUDA)
  find_program(LOWRANK_NVCC nvcc HINTS ${places} PATH_SUFFIXES bin)
  if(LOWRANK_NVCC)
    message(STATUS "CUDA: ${LOWRANK_NVCC}")
    # Products and sums are rounded one by one, as on the CPU; code for every generation of GPUs, and for those to come.
    set(object "${PROJECT_BINARY_DIR}/kernels_cuda.o")
    add_custom_command(OUTPUT "${object}" VERBATIM DEPENDS kernels/cuda/kernels.cu kernels/cuda/codes.cuh kernels/cuda/dropout.cuh
                       kernels/cuda/launch.cuh kernels/cuda/cuda_module.h kernels/cuda/kernels.h kernels/weight_codes.h
      COMMAND "${LOWRANK_NVCC}" -ccbin "${CMAKE_CXX_COMPILER}" -std=c++17 -O2 -fmad=false -arch=all-major -Xcompiler -fPIC
              -I "${PROJECT_BINARY_DIR}/include/kernels" -I "${LOWRANK_CUDA_INCLUDE}" -c "${PROJECT_SOURCE_DIR}/kernels/cuda/kernels.cu" -o "${object}")
    lowrank_gpu_module(lowrank_cuda kernels SOURCES kernels/cuda/module.cpp "${object}")
  else()
    message(STATUS "CUDA: no nvcc (CUDA_HOME, or PyPI's nvidia-cuda-nvcc); LibTorch's ops take the place of kernels of our own")
  endif()
endif()

if(LOWRANK_NCCL)
  find_path(LOWRANK_NCCL_INCLUDE nccl.h PATHS ${places} PATH_SUFFIXES include)
  find_file(LOWRANK_NCCL_LIBRARY NAMES libnccl.so.2 libnccl.so PATHS ${places} /usr/lib /usr/local/lib
            PATH_SUFFIXES lib lib64 "lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  if(LOWRANK_NCCL_INCLUDE AND LOWRANK_NCCL_LIBRARY)
    message(STATUS "NCCL: ${LOWRANK_NCCL_LIBRARY}")
    lowrank_gpu_module(lowrank_nccl train SOURCES train/ranks/nccl_module.cpp INCLUDES "${LOWRANK_NCCL_INCLUDE}" USES "${LOWRANK_NCCL_LIBRARY}")
  else()
    message(STATUS "NCCL: nccl.h or libnccl.so.2 was not found (NCCL_HOME); sums of GPUs go through the machine's memory")
  endif()
endif()
