#include "lowrank/data/unpaired.h"

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/sources.h"

namespace lowrank::data {
namespace {

/// Ends the reading of a file.
struct Enough {};

}  // namespace

const char* liked_key(const core::JsonView& row) {
  if (!row.has("messages") && !row.has("conversations") && !row.has("completion")) return nullptr;
  for (const char* key : {"label", "kto_tag"}) {
    if (row.has_value(key) && row.at(key).is_bool()) return key;
  }
  return nullptr;
}

std::string UnpairedRows::text() const {
  return core::format_count(liked + disliked) + " rows are answers with a word on whether they were liked (" +
         core::format_count(liked) + ") or not (" + core::format_count(disliked) +
         "), KTO's form, which no verb learns from: `finetune` takes those that were liked, without that key, and "
         "`align dpo` pairs of a liked and a disliked answer to one prompt";
}

UnpairedRows count_unpaired(const std::vector<std::filesystem::path>& paths, const FileOptions& files) {
  UnpairedRows found;
  std::vector<std::string> said_when_they_are_read;
  for (const Source& source : find_sources(paths, Format::kAuto, said_when_they_are_read, files)) {
    if (source.kind == SourceKind::kText) continue;
    bool first = true;
    try {
      for_each_row(source, [&](const core::JsonView& row, std::uint64_t) {
        const char* const key = liked_key(row);
        if (first && key == nullptr) throw Enough();
        first = false;
        ++(key == nullptr ? found.others : row.at(key).as_bool() ? found.liked : found.disliked);
      });
    } catch (const Enough&) {
    }
  }
  return found;
}

}  // namespace lowrank::data
