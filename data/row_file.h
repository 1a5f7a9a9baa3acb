// The rows of files, whatever their format.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/json_faults.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/text_stream.h"

namespace lowrank::data {

struct RowFileFacts {
  bool had_bom = false, had_crlf = false;
  std::vector<std::string> notes;  // what should be said of the file
};

/// Calls `row` with each row ("train.jsonl line 12", "alpaca.json row 3") and the bytes of the file that are behind it.
/// JSON: a row a line, one after the other, one array, or one object that holds the array ({"data": […]}); by content.
/// Tables: the first record names the columns, and every value is a string. DataError: no rows, what parse_row and
/// TableReader refuse, a record with more or fewer fields than columns, a row over the limit of LineReader. Rows come as the
/// source's map makes them, turns that stand in a text as turns.
RowFileFacts for_each_row(const Source& source,
                          const std::function<void(const core::JsonView& row, std::uint64_t bytes_done)>& row);

}  // namespace lowrank::data
