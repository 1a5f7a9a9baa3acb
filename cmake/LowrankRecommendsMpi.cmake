# Run by CPack on the tree that it packs: dpkg-shlibdeps would make a dependency of the MPI that lowrank_mpi.so is linked with. The
# command loads that module only where a launcher of MPI has started it, so the package recommends it (LowrankPackage.cmake).
file(GLOB_RECURSE modules "${CPACK_TEMPORARY_DIRECTORY}/lowrank_mpi.so")
find_program(READELF readelf REQUIRED)
foreach(module IN LISTS modules)
  execute_process(COMMAND "${READELF}" -d "${module}" OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "\\[libmpi[^]]*\\.so\\.[0-9]+\\]" names "${dynamic}")
  set(lines "")
  foreach(name IN LISTS names)
    string(REGEX REPLACE "\\[(.*)\\.so\\.([0-9]+)\\]" "\\1 \\2\n" line "${name}")
    string(APPEND lines "${line}")  # a library and its version, and no package after them
  endforeach()
  string(FIND "${module}" "${CPACK_PACKAGING_INSTALL_PREFIX}/" end REVERSE)
  string(SUBSTRING "${module}" 0 ${end} root)
  file(WRITE "${root}/debian/shlibs.local" "${lines}")  # where dpkg-shlibdeps looks first; CPack removes the folder
endforeach()
