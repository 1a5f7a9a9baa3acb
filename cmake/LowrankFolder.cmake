# lowrank_folder(NAME USES targets... [WITHOUT files...] [PART part FILES patterns... [PART_USES targets...]]
#                [BASE base BASE_FILES patterns... BASE_USES targets...])
#
# One top-level folder is one static library lowrank_NAME (alias lowrank::NAME), made of every .cpp in it. Its headers are
# reached as "lowrank/NAME/x.h" through one link, <build>/include/NAME/lowrank/NAME -> the folder, which only this target
# and those that use it see: an include that points upwards does not compile.
# WITHOUT: sources that are left out, because what they use is not there, or that stand in for it where it is.
# The sources that FILES (patterns) takes go into a second library, lowrank_NAME_PART, on LibTorch: so parsers stay
# free of it and can be built without it (LOWRANK_WITHOUT_TORCH): what runs under sanitizers in `make test`.
# Those that BASE_FILES takes go into lowrank_NAME_BASE, which the folder's library uses: the little of a folder on LibTorch
# that does without it.
function(lowrank_folder name)
  cmake_parse_arguments(F "" "PART;BASE" "USES;WITHOUT;FILES;PART_USES;BASE_FILES;BASE_USES" ${ARGN})
  set(dir "${PROJECT_SOURCE_DIR}/${name}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${dir}/*.cpp")
  foreach(file IN LISTS F_WITHOUT)
    list(REMOVE_ITEM sources "${dir}/${file}")
  endforeach()
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}" "${dir}/*.h")
  lowrank_take("${F_FILES}" part_sources part_headers)
  lowrank_take("${F_BASE_FILES}" base_sources base_headers)

  set(include_dir "${PROJECT_BINARY_DIR}/include/${name}")
  file(MAKE_DIRECTORY "${include_dir}/lowrank")
  file(CREATE_LINK "${dir}" "${include_dir}/lowrank/${name}" SYMBOLIC)

  if(F_BASE)
    lowrank_library(lowrank_${name}_${F_BASE} ${name}_${F_BASE} "${base_sources}" "${F_BASE_USES}")
    target_include_directories(lowrank_${name}_${F_BASE} PUBLIC $<BUILD_INTERFACE:${include_dir}>)
    set_target_properties(lowrank_${name}_${F_BASE} PROPERTIES LOWRANK_HEADERS "${base_headers}")
    list(APPEND F_USES lowrank_${name}_${F_BASE})
  endif()
  lowrank_library(lowrank_${name} ${name} "${sources}" "${F_USES}")
  target_include_directories(lowrank_${name} PUBLIC $<BUILD_INTERFACE:${include_dir}>)
  set_target_properties(lowrank_${name} PROPERTIES LOWRANK_HEADERS "${headers}")
  if(F_PART AND NOT LOWRANK_WITHOUT_TORCH)
    lowrank_library(lowrank_${name}_${F_PART} ${name}_${F_PART} "${part_sources}" "lowrank_${name};${F_PART_USES}")
    set_target_properties(lowrank_${name}_${F_PART} PROPERTIES LOWRANK_HEADERS "${part_headers}")
  endif()
endfunction()

# Of lowrank_folder: moves the sources that the patterns take, and the headers beside them, from `sources` and `headers` into lists
# of their own.
macro(lowrank_take patterns taken_sources taken_headers)
  set(${taken_sources} "")
  foreach(pattern IN ITEMS ${patterns})
    file(GLOB_RECURSE found CONFIGURE_DEPENDS "${dir}/${pattern}")
    list(APPEND ${taken_sources} ${found})
  endforeach()
  set(${taken_headers} "")
  foreach(source IN LISTS ${taken_sources})
    list(REMOVE_ITEM sources "${source}")
    string(REPLACE "${PROJECT_SOURCE_DIR}/" "" header "${source}")
    string(REGEX REPLACE "\\.cpp$" ".h" header "${header}")
    if(header IN_LIST headers)
      list(APPEND ${taken_headers} "${header}")
      list(REMOVE_ITEM headers "${header}")
    endif()
  endforeach()
endmacro()

function(lowrank_library target alias sources uses)
  if(NOT sources)
    message(FATAL_ERROR "${target} has no source file")
  endif()
  add_library(${target} STATIC ${sources})
  add_library(lowrank::${alias} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${alias})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PUBLIC ${uses})
  lowrank_options(${target})
  if(LOWRANK_WITHOUT_TORCH)  # that every file compiles by itself is shown by the other builds; in batches this one takes a third of the time
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
  get_target_property(linked ${target} LINK_LIBRARIES)
  if(linked MATCHES "lowrank::torch|lowrank_(kernels|lora|models|eval|train|recipes)")
    lowrank_use_precompiled_header(${target} torch_pch)
  else()
    lowrank_use_precompiled_header(${target} plain_pch)
  endif()
  set_property(GLOBAL APPEND PROPERTY LOWRANK_TARGETS ${target})
endfunction()

# A precompiled header: what nearly every file that uses it includes. LibTorch's module and autograd headers stay out: g++ works through the
# templates of a precompiled header again in every file, so that they would cost 4 s in each file that does not need them.
function(lowrank_precompiled_header name)
  cmake_parse_arguments(P "" "" "HEADERS;USES" ${ARGN})
  file(WRITE "${PROJECT_BINARY_DIR}/${name}.cpp" "")
  add_library(${name} STATIC "${PROJECT_BINARY_DIR}/${name}.cpp")
  target_link_libraries(${name} PRIVATE fmt::fmt nlohmann_json::nlohmann_json ${P_USES})
  lowrank_options(${name})
  target_precompile_headers(${name} PRIVATE ${P_HEADERS} <fmt/format.h>)
endfunction()

function(lowrank_use_precompiled_header target name)
  if(TARGET ${name})
    target_precompile_headers(${target} REUSE_FROM ${name})
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")  # must be compiled as the header was: -fPIC, not -fPIE
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIC)
    endif()
  endif()
endfunction()

# What Linux distributions build with: stack canaries, checked libc calls, pages probed one by one, indirect jumps to marked places alone.
# docs/reliability.md has what it costs.
set(LOWRANK_HARDENING -fstack-protector-strong -fstack-clash-protection $<$<CONFIG:Release>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND LOWRANK_HARDENING -fcf-protection)
endif()
include(CheckPIESupported)
check_pie_supported()

# Warnings and sanitizers, for our own targets only; and g++ collects its garbage seldom, which takes a twentieth off the time of a build
# (and adds 50 MB to the memory of each of its processes). -Wrestrict has false positives in g++ 12 (string + string), -Warray-bounds
# and -Wstringop-overflow where std::string comes from a precompiled header.
function(lowrank_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow
                                           $<$<BOOL:${LOWRANK_WERROR}>:-Werror>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE "SHELL:--param ggc-min-expand=200" "SHELL:--param ggc-min-heapsize=400000")
  endif()
  # No path of the machine that built it is in a binary, but where it looks for its libraries.
  target_compile_options(${target} PRIVATE "-ffile-prefix-map=${PROJECT_BINARY_DIR}=build" "-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.")
  if(LOWRANK_HARDENED AND NOT LOWRANK_SANITIZE)
    target_compile_options(${target} PRIVATE ${LOWRANK_HARDENING})
    target_link_options(${target} PRIVATE LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
  endif()
  if(LOWRANK_SANITIZE)
    # -Wmaybe-uninitialized has false positives in instrumented code; -Wtsan speaks of a fence in LibTorch's headers.
    set(sanitizers address,undefined)
    set(unwarned "")
    if(LOWRANK_SANITIZE STREQUAL "thread")
      set(sanitizers thread)
      set(unwarned -Wno-tsan)
    endif()
    target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized ${unwarned} -fsanitize=${sanitizers} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${sanitizers})
  endif()
  if(LOWRANK_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link -Wno-unknown-warning-option)
  endif()
endfunction()

# lowrank::lowrank: everything, with the umbrella header "lowrank/lowrank.h".
function(lowrank_umbrella)
  set(include_dir "${PROJECT_BINARY_DIR}/include/umbrella")
  file(MAKE_DIRECTORY "${include_dir}/lowrank")
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/lowrank.h" "${include_dir}/lowrank/lowrank.h" SYMBOLIC)
  add_library(lowrank INTERFACE)
  add_library(lowrank::lowrank ALIAS lowrank)
  target_link_libraries(lowrank INTERFACE lowrank_recipes lowrank_lora_modules)
  set_target_properties(lowrank PROPERTIES EXPORT_NAME lowrank LOWRANK_HEADERS lowrank.h)
  target_include_directories(lowrank INTERFACE $<BUILD_INTERFACE:${include_dir}>
                                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_property(GLOBAL APPEND PROPERTY LOWRANK_TARGETS lowrank)
endfunction()
