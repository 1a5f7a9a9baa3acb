// Rows of Parquet and Arrow files as JSON values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "lowrank/core/json.h"

namespace lowrank::formats {

/// Whether this build has Arrow, which reads them.
bool reads_parquet();

/// Calls `row` with each row as an object, and the share of the file that is read with it. Of a Parquet file row group after row
/// group, a few hundred rows in memory at a time; of an Arrow file (either form, as Hugging Face's datasets keep their sets) batch by
/// batch as they were written. Texts, numbers, truth values, nulls, lists and structs are what they are in JSON; what JSON
/// has no form for (times, decimals) is text; bytes that are no UTF-8 are a value that is no text (see
/// data/json_faults.h). DataError beginning with `name`: a file that is damaged or cut off, a column of a type that is not
/// read; that Arrow is not there, and how to get it.
void for_each_columnar_row(const core::FileRef& file, const std::string& name,
                          const std::function<void(core::Json row, double share)>& row);

}  // namespace lowrank::formats
