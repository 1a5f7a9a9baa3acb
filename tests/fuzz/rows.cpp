// Files of rows and of text. The first byte says which: J lines of JSON, A one JSON document, C commas, T tabs, else text.
#include "fuzz.h"
#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/preference_rows.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/rows.h"
#include "lowrank/data/text_documents.h"

using namespace lowrank::data;

LOWRANK_FUZZ_TARGET(rows) {
  if (input.empty()) return;
  const char kind = input[0];
  input.remove_prefix(1);
  const bool json = kind == 'J' || kind == 'A', table = kind == 'C' || kind == 'T';
  const char* const name = kind == 'J'   ? "x.jsonl"
                           : kind == 'A' ? "x.json"
                           : kind == 'C' ? "x.csv"
                           : kind == 'T' ? "x.tsv"
                                         : "x.txt";
  const auto file = lowrank::core::FileRef::named(lowrank_fuzz::file_with(name, input));
  if (!json && !table) {
    (void)for_each_document(file, [](std::string, std::int64_t, bool, std::uint64_t) {});
    return;
  }
  const ChatLayout layout;
  RowReader rows(name, Format::kAuto, layout);
  PairReader pairs(name, layout, true);
  const Source source{file, json ? SourceKind::kJson : SourceKind::kTable};
  for_each_row(source, [&](const lowrank::core::JsonView& row, std::uint64_t) {
    lowrank_fuzz::succeeds([&] { (void)pairs.read(row); });  // most rows are none of pairs
    (void)rows.read(row);
  });
}
