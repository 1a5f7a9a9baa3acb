#include "lowrank/core/module.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "lowrank/core/error.h"

namespace lowrank::core {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> places(const Module& module) {
  if (const char* named = std::getenv(module.variable); named != nullptr && *named != '\0') return {named};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  return {program / module.file, program.parent_path() / "lib" / "lowrank" / module.file, fs::path(LOWRANK_LIBDIR) / module.file,
          program.parent_path() / module.file};
}

}  // namespace

LoadedSymbol module_symbol(const Module& module, const char* symbol) {
  for (const fs::path& place : places(module)) {
    std::error_code error;
    if (!fs::is_regular_file(place, error)) continue;
    void* loaded = ::dlopen(place.c_str(), RTLD_NOW | (module.global ? RTLD_GLOBAL : RTLD_LOCAL));
    void* found = loaded == nullptr ? nullptr : ::dlsym(loaded, symbol);
    if (found == nullptr) throw IoError(std::string(module.library) + " could not be loaded: " + ::dlerror());
    return {found, place.string()};
  }
  return {};
}

}  // namespace lowrank::core
