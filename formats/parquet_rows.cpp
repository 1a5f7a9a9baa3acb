#include "lowrank/formats/parquet_rows.h"

#include <dlfcn.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/parquet_plugin.h"

namespace lowrank::formats {
namespace {

struct Loaded {
  const ParquetPlugin* plugin = nullptr;
  std::string why;  // there is none
};

/// By the program's own run path: beside it where it was built, in lib/lowrank of the prefix where it was installed.
/// Local: what Arrow brings along stands in nobody's way. It stays loaded.
Loaded load() {
  void* const library = dlopen(kParquetLibrary, RTLD_NOW | RTLD_LOCAL);
  void* const symbol = library == nullptr ? nullptr : dlsym(library, kParquetSymbol);
  if (symbol != nullptr) return {static_cast<const ParquetPlugin*>(symbol), ""};
  const char* const error = dlerror();
  return {nullptr, error == nullptr ? "it is of another lowrank" : error};
}

const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}

}  // namespace

bool reads_parquet() { return loaded().plugin != nullptr; }

void for_each_columnar_row(const core::FileRef& file, const std::string& name,
                          const std::function<void(core::Json, double)>& row) {
  if (loaded().plugin == nullptr) {
    throw DataError(name + " is a Parquet or Arrow file, and Arrow, which reads it, cannot be loaded (" +
                    core::printable(loaded().why, 300) +
                    "); put back the pyarrow that lowrank was built with, or install lowrank again, or write the file "
                    "as .jsonl (pandas: to_json(orient=\"records\", lines=True))");
  }
  loaded().plugin->read_rows(file, name, row);
}

}  // namespace lowrank::formats
