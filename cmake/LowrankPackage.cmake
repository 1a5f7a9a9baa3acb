# CPack: `make deb` makes one Debian package of the command, the library, headers, manual page and completion, and what the
# command loads of LibTorch and of Arrow (lib/lowrank/, found by its RUNPATH): on the machine that it is installed on nothing
# else is needed than what it names. Programs of one's own still need a LibTorch's headers (docs/install.md).
if(LOWRANK_SANITIZE OR NOT TARGET lowrank-command OR NOT LOWRANK_MAIN_PROJECT)
  return()
endif()
set(arrow "")
if(LOWRANK_ARROW_ROOT)
  lowrank_arrow_libraries("${LOWRANK_ARROW_ROOT}" arrow)
endif()
install(FILES ${LOWRANK_TORCH_ROOT}/lib/libtorch_cpu.so ${LOWRANK_TORCH_ROOT}/lib/libc10.so ${arrow}
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/lowrank COMPONENT bundled EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME lowrank)
set(CPACK_PACKAGE_VENDOR "the lowrank authors")
set(CPACK_PACKAGE_CONTACT "the lowrank authors <lowrank@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Low-rank fine-tuning of Hugging Face language models")
set(CPACK_PACKAGE_INSTALL_DIRECTORY lowrank)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL Unspecified bundled)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, libsqlite3-0")  # pull and push speak https; studies
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${LOWRANK_TORCH_ROOT}/lib ${LOWRANK_ARROW_ROOT})
include(CPack)
