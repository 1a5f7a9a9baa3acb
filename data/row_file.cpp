#include "lowrank/data/row_file.h"

#include <algorithm>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_row.h"
#include "lowrank/core/text.h"
#include "lowrank/data/json_values.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/row_map.h"
#include "lowrank/data/standard_input.h"
#include "lowrank/data/table_reader.h"
#include "lowrank/data/text_documents.h"
#include "lowrank/data/turns_in_text.h"
#include "lowrank/formats/parquet_rows.h"

namespace lowrank::data {
namespace {

using See = std::function<void(const core::JsonView&, std::uint64_t)>;

constexpr std::size_t kHead = std::size_t{1} << 18;

[[noreturn]] void no_rows(const std::string& name, bool blank) {
  throw DataError(name + (blank ? " holds no rows" : " is empty") + "; expected one JSON object a line");
}

/// What an export writes for a row that it does not have is none that a reader could say something of.
core::Json checked_row(core::Json row, const std::string& where) {
  if (row.is_null()) throw DataError(where + ": the row is null, where an object is expected, such as {\"text\": \"…\"}; take it out of the file");
  return row;
}

RowFileFacts facts_of(const std::filesystem::path& file, const TextFacts& text, bool had_crlf) {
  RowFileFacts facts{text.had_bom, had_crlf, {}};
  if (std::string note = encoding_note(file, text); !note.empty()) facts.notes.push_back(std::move(note));
  return facts;
}

RowFileFacts rows_of_lines(const core::FileRef& file, const See& row) {
  LineReader reader(file);
  std::string_view line;
  bool any = false;
  while (reader.next(line)) {
    if (is_blank(line)) continue;
    any = true;
    const std::string where = reader.name() + " line " + std::to_string(reader.line_number());
    const core::Json json = checked_row(parse_row(line, where), where);
    row({json, where}, reader.bytes_read());
  }
  if (!any) no_rows(reader.name(), reader.bytes_read() > 0);
  return facts_of(file, reader.facts(), reader.facts().had_crlf);
}

/// The names of a table's columns; those without one are called as pandas calls them (it writes an index so).
std::vector<std::string> column_names(std::vector<std::string> names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) names[i] = "Unnamed: " + std::to_string(i);
  }
  return names;
}

RowFileFacts rows_of_table(const core::FileRef& file, const See& row) {
  TableReader reader(file);
  std::vector<std::string> fields;
  if (!reader.next(fields)) no_rows(name_of(file), false);
  const std::vector<std::string> names = column_names(std::move(fields));
  bool any = false;
  while (reader.next(fields)) {
    any = true;
    if (fields.size() != names.size()) {
      throw DataError(reader.where() + ": expected " + std::to_string(names.size()) + " fields by " +
                      separator_name(reader.separator()) + ", as the first line has, found " +
                      std::to_string(fields.size()));
    }
    core::Json json = core::Json::object();
    for (std::size_t i = 0; i < names.size(); ++i) {
      core::Json& value = json[names[i]];
      value = !value.is_null()                                            ? core::faulty_value("two columns of this name")
              : core::find_invalid_utf8(fields[i]) == std::string::npos ? core::Json(std::move(fields[i]))
                                                                          : core::faulty_value("bytes that are no UTF-8");
    }
    row({json, reader.where()}, reader.bytes_read());
  }
  if (!any) throw DataError(name_of(file) + " holds no rows below its first line, which names the columns");
  return facts_of(file, reader.facts(), reader.facts().had_crlf);
}

RowFileFacts rows_of_columns(const core::FileRef& file, const See& row) {
  const std::uint64_t bytes = core::stamp_of(file).size;
  const std::string name = name_of(file);
  std::int64_t n = 0;
  formats::for_each_columnar_row(file, name, [&](const core::Json& json, double share) {
    ++n;
    row({json, name + " row " + std::to_string(n)}, static_cast<std::uint64_t>(static_cast<double>(bytes) * share));
  });
  if (n == 0) throw DataError(name + " holds no rows");
  return {};
}

/// "x.json: rows are read from its key "data"; beside it are not read: version".
std::string wrapped_note(const std::string& name, const JsonForm& form, const std::vector<std::string>& others) {
  std::string note = name + ": rows are read from its key \"" + form.key + "\"";
  for (std::size_t i = 0; i < others.size() && i < 8; ++i) note += (i == 0 ? "; not read: " : ", ") + others[i];
  return note;
}

RowFileFacts rows_as_they_are(const Source& source, const See& row) {
  if (source.kind == SourceKind::kColumnar) return rows_of_columns(source.file, row);
  if (source.kind == SourceKind::kTable) return rows_of_table(source.file, row);
  TextStream stream(source.file);
  std::string head;
  bool whole = false;
  while (head.size() < kHead && !whole) {
    const std::string_view more = stream.next();
    whole = more.empty();
    head += more;
  }
  const JsonForm form = json_form(head, whole);
  if (form.layout == JsonLayout::kLines) return rows_of_lines(source.file, row);

  JsonValues values(stream, std::move(head), form);
  bool any = false;
  for (std::string_view value; values.next(value);) {
    any = true;
    const std::string where = values.where();
    const core::Json json = checked_row(parse_row(value, where), where);
    row({json, where}, stream.position());
  }
  if (!any) no_rows(stream.name(), true);
  RowFileFacts facts = facts_of(source.file, stream.facts(), values.had_crlf());
  if (form.layout == JsonLayout::kWrapped) facts.notes.push_back(wrapped_note(stream.name(), form, values.other_keys()));
  return facts;
}

}  // namespace

RowFileFacts for_each_row(const Source& source, const See& row) {
  const See see = [&](const core::JsonView& found, std::uint64_t bytes) {
    const std::optional<core::Json> read = with_turns_read(found);
    row(read ? core::JsonView(*read, found.where()) : found, bytes);
  };
  if (source.map == nullptr) return rows_as_they_are(source, see);
  std::set<std::string> unread;
  RowFileFacts facts = rows_as_they_are(source, [&](const core::JsonView& found, std::uint64_t bytes) {
    const core::Json mapped = source.map->apply(found, unread);
    see({mapped, found.where()}, bytes);
  });
  std::string listed;
  std::size_t n = 0;
  for (const std::string& key : unread) {
    if (++n <= 8) listed += (n == 1 ? "" : ", ") + core::printable(key, 40);
  }
  if (n > 0) facts.notes.push_back("columns that are not read: " + listed + (n > 8 ? ", …" : ""));
  return facts;
}

}  // namespace lowrank::data
