// Private to formats/: what liblowrank_parquet.so, which has Arrow, gives to the library that loads it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lowrank/core/file_ref.h"
#include "lowrank/core/json.h"

namespace lowrank::formats {

using ColumnarRow = std::function<void(core::Json row, double share)>;

/// One build makes both sides, so that C++ may go between them. Its symbol is named with a number that changes with it.
struct ParquetPlugin {
  void (*read_rows)(const core::FileRef& file, const std::string& name, const ColumnarRow& row);  // for_each_columnar_row
};
constexpr const char* kParquetLibrary = "liblowrank_parquet.so";
constexpr const char* kParquetSymbol = "lowrank_parquet_plugin_2";

}  // namespace lowrank::formats
