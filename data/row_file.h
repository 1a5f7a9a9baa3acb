// The rows of .jsonl and .json files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lowrank/core/json.h"
#include "lowrank/data/sources.h"

namespace lowrank::data {

struct RowFileFacts {
  bool had_bom = false, had_crlf = false;
};

/// The JSON of a row. DataError beginning with `where`: NUL, lone surrogates, not UTF-8, JSON that is wrong.
core::Json parse_row(std::string_view text, const std::string& where);

/// Calls `row` with each row ("train.jsonl line 12", "alpaca.json row 3") and the bytes of the file that are behind it.
/// DataError: no rows, what parse_row refuses, a line over the limit of LineReader.
RowFileFacts for_each_row(const Source& source,
                          const std::function<void(const core::JsonView& row, std::uint64_t bytes_done)>& row);

}  // namespace lowrank::data
