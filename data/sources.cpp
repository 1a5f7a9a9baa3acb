#include "lowrank/data/sources.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "lowrank/core/ascii.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/data/data_names.h"
#include "lowrank/data/folder_parts.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/json_values.h"
#include "lowrank/data/manifest.h"
#include "lowrank/data/mixture.h"
#include "lowrank/data/sniff.h"
#include "lowrank/data/standard_input.h"
#include "lowrank/data/table_reader.h"
#include "lowrank/data/text_documents.h"
#include "lowrank/data/text_stream.h"
#include "lowrank/formats/byte_stream.h"

namespace lowrank::data {
namespace {

namespace fs = std::filesystem;

/// Parquet, or either form of Arrow's, by its first bytes; a text may well begin with those letters, so no less than the NUL that
/// soon follows them, or the name.
bool is_columnar(const core::FileRef& file) {
  std::array<char, 64> head{};
  try {
    const std::size_t n = formats::open_bytes(file, name_of(file))->read(head);
    const std::string_view found(head.data(), n);
    const bool begins = found.starts_with("PAR1") || found.starts_with("ARROW1") || found.starts_with("\xff\xff\xff\xff");
    return begins && (found.find('\0') != found.npos || is_columnar_ending(data_ending(file)));
  } catch (const DataError&) {
    return false;
  }
}

/// The beginning of a file's text; empty where it is none that can be read, which its reader will say.
std::string head_of(const core::FileRef& file, bool& whole) {
  whole = false;
  try {
    TextStream stream(file);
    std::string head(stream.next());
    whole = stream.next().empty();
    return head;
  } catch (const DataError&) {
    return "";
  }
}

[[noreturn]] void missing(const fs::path& path) {
  std::vector<std::string> names;
  std::error_code ignored;
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator it(parent, ignored), end; !ignored && it != end; it.increment(ignored)) {
    names.push_back(it->path().filename().string());
  }
  hub::throw_not_here("no such file or folder: " + path.string() + core::did_you_mean(path.filename().string(), names),
                      path, hub::RepoType::kDataset);
}

bool hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

/// A text file that holds rows is read as rows, and said to be; `format` text reads it as it stands.
Source text_or_rows(const core::FileRef& file, Format format, std::vector<std::string>& notes) {
  bool whole = false;
  if (format == Format::kText || !begins_as_rows(head_of(file, whole))) return {file, SourceKind::kText};
  notes.push_back(name_of(file) + " holds rows of JSON, and is read as such (`format` text reads it as plain text)");
  return {file, SourceKind::kJson};
}

/// The columns that the first line of a table names; empty where it is none.
std::vector<std::string> columns_of(const core::FileRef& file) {
  std::vector<std::string> columns;
  try {
    TableReader(file).next(columns);
  } catch (const DataError&) {
    columns.clear();
  }
  return columns;
}

/// As its name says, but for rows of JSON by another name, and a table of text without a column of that name.
Source table_or_other(const core::FileRef& file, Format format, std::vector<std::string>& notes) {
  bool whole = false;
  if (begins_as_rows(head_of(file, whole))) return text_or_rows(file, format, notes);
  const std::vector<std::string> columns = columns_of(file);
  const bool plain = format == Format::kText && std::find(columns.begin(), columns.end(), "text") == columns.end();
  return {file, plain ? SourceKind::kText : SourceKind::kTable};
}

/// What a search of a folder found.
struct Found {
  std::vector<Source> sources;
  std::int64_t others = 0;
  std::set<std::string> other_endings;

  void pass_over(const fs::path& file) {
    ++others;
    const std::string ending = data_ending(file);
    other_endings.insert(ending.empty() ? "no ending" : ending);
  }
};

/// Whether a .json file is one object that holds no rows: a row a file, or something else than data.
bool is_one_object(const core::FileRef& file) {
  bool whole = false;
  const std::string head = head_of(file, whole);
  const std::size_t first = head.find_first_not_of(" \t\r\n");
  if (first == head.npos || head[first] != '{') return false;
  const JsonForm form = json_form(head, whole);
  if (form.layout == JsonLayout::kWrapped) return false;
  const std::size_t line = head.find('\n', first);
  return form.layout == JsonLayout::kValues || line == head.npos || is_blank(std::string_view(head).substr(line));
}

/// README.md, a licence, an object in .json.
bool describes(const Source& source) {
  const std::string name = core::ascii_lower(source.file.path().filename().string());
  if (source.kind == SourceKind::kText) return name.starts_with("readme.") || name.starts_with("license.");
  return data_ending(source.file) == ".json" && is_one_object(source.file);
}

/// What describes a set beside its rows is no part of it.
void leave_descriptions(Found& found) {
  std::vector<Source> data, descriptions;
  for (const Source& source : found.sources) (describes(source) ? descriptions : data).push_back(source);
  const bool rows = std::any_of(data.begin(), data.end(), [](const Source& s) { return s.kind != SourceKind::kText; });
  if (!rows) return;
  for (const Source& source : descriptions) found.pass_over(source.file);
  found.sources = std::move(data);
}

/// Arrow files that are no part of a set: where datasets' save_to_disk wrote one, its state.json names the files of rows, all of
/// which must be there; others beside them are left of computations. `files`: all that were found.
std::set<fs::path> beside_saved_sets(const std::vector<fs::path>& files, const fs::path& root) {
  std::map<fs::path, std::set<fs::path>> arrow;  // by folder
  for (const fs::path& file : files)
    if (data_ending(file) == ".arrow") arrow[file.parent_path()].insert(file);
  std::set<fs::path> beside;
  for (auto& [folder, found] : arrow) {
    const fs::path state = folder / "state.json";
    if (!std::binary_search(files.begin(), files.end(), state)) continue;
    const core::Json json = core::read_json(core::FileRef::within(root, state));
    const core::JsonView view(json, state.string());
    if (!view.has("_data_files")) continue;
    const core::JsonView named = view.at("_data_files");
    for (std::size_t i = 0; i < named.size(); ++i) {
      const core::JsonView name = named.at(i).at("filename");
      if (found.erase(folder / name.as_string()) == 0)
        name.fail("'" + core::printable(name.as_string(), 100) + "' holds a part of the rows and is not there; copy the whole folder, or save the set again");
    }
    beside.merge(found);
  }
  return beside;
}

/// `root`: what its files may not lead out of.
Found search(const fs::path& folder, const fs::path& root, Format format, std::vector<std::string>& notes) {
  std::vector<fs::path> files;
  try {
    for (fs::recursive_directory_iterator it(folder), end; it != end; ++it) {
      if (hidden(it->path())) {
        if (it->is_directory()) it.disable_recursion_pending();
      } else if (!it->is_directory()) {
        files.push_back(it->path());
      }
    }
  } catch (const fs::filesystem_error& e) {
    throw IoError("cannot search " + folder.string() + ": " + e.code().message());
  }
  std::sort(files.begin(), files.end());
  const std::set<fs::path> no_part = beside_saved_sets(files, root);
  Found found;
  for (const fs::path& path : files) {
    const core::FileRef file = core::FileRef::within(root, path);
    const std::string ending = data_ending(path);
    const bool known = is_data_name(path);
    if (known && fs::is_symlink(path) && fs::is_regular_file(path)) core::InputFile refuses_what_leads_out(file);
    if (!known || no_part.contains(path) || !fs::is_regular_file(path) ||
        (is_table_ending(ending) && columns_of(file).size() < 2)) {
      found.pass_over(path);
    } else if (is_columnar_ending(ending)) {
      found.sources.push_back({file, SourceKind::kColumnar});
    } else if (is_table_ending(ending)) {
      found.sources.push_back(table_or_other(file, format, notes));
    } else if (is_json_ending(ending)) {
      found.sources.push_back({file, SourceKind::kJson});
    } else {
      found.sources.push_back(text_or_rows(file, format, notes));
    }
  }
  leave_descriptions(found);
  return found;
}

std::vector<fs::path> files_of(const std::vector<Source>& sources) {
  std::vector<fs::path> files;
  for (const Source& source : sources) files.push_back(source.file.path());
  return files;
}

/// The sources of the part that is wanted, where the folder has parts.
void take_part(const fs::path& folder, Found& found, Part part, std::vector<std::string>& notes) {
  const std::map<Part, std::vector<fs::path>> parts = folder_parts(folder, files_of(found.sources));
  if (parts.empty()) return;
  if (part == Part::kTest && !parts.contains(part)) part = Part::kValidation;
  if (!parts.contains(part)) {
    throw DataError(folder.string() + " has no validation part among its files (" +
                    parts.at(Part::kTest).front().filename().string() + " is its test part); name a file");
  }
  const std::vector<fs::path>& taken = parts.at(part);
  std::size_t named = 0;
  for (const auto& [other, files] : parts) named += files.size();
  notes.push_back(parts_note(folder, parts, part, found.sources.size() - named));
  std::erase_if(found.sources, [&](const Source& source) {
    return std::find(taken.begin(), taken.end(), source.file.path()) == taken.end();
  });
}

std::vector<Source> sources_of_folder(const fs::path& folder, const fs::path& root, Format format,
                                      std::vector<std::string>& notes, Part part) {
  Found found = search(folder, root, format, notes);
  std::string endings;
  std::size_t listed = 0;
  for (const std::string& ending : found.other_endings) {
    if (++listed > 6) break;
    endings += (endings.empty() ? "" : ", ") + core::printable(ending, 20);
  }
  const std::string others = core::format_count(found.others);
  if (found.sources.empty()) {
    throw DataError("no " + std::string(kDataEndings) + " or .arrow file under " + folder.string() +
                    (found.others == 0 ? "" : " (only " + others + " others: " + endings + ")"));
  }
  if (found.others > 0) {
    notes.push_back(others + (found.others == 1 ? " other file" : " other files") + " under " + folder.string() +
                    " not read (" + endings + ")");
  }
  take_part(folder, found, part, notes);
  return std::move(found.sources);
}

Source source_of_file(const core::FileRef& file, Format format, std::vector<std::string>& notes) {
  if (is_columnar(file)) return {file, SourceKind::kColumnar};
  const std::string ending = data_ending(file);
  if (is_columnar_ending(ending)) {
    throw DataError(name_of(file) + " is called " + ending + " and does not begin as such files do; it was cut off, or is "
                    "something else");
  }
  if (is_json_ending(ending)) return {file, SourceKind::kJson};
  if (is_table_ending(ending)) return table_or_other(file, format, notes);
  if (is_text_ending(ending) || format == Format::kText) return text_or_rows(file, format, notes);
  bool whole = false;
  if (begins_as_rows(head_of(file, whole))) return {file, SourceKind::kJson};
  TextStream refuses_what_is_no_text(file);
  for (int piece = 0; piece < 2 && !refuses_what_is_no_text.next().empty(); ++piece) {  // compressed data that ends too early, too
  }
  throw DataError(name_of(file) +
                  " ends in none of " + kDataEndings + " and .arrow, and holds no rows of JSON; rename or convert it, or pass `format` text to read it "
                  "as plain text");
}

void check_suits(const Source& source, Format format) {
  if (source.kind == SourceKind::kText && format != Format::kAuto && format != Format::kText) {
    throw ConfigError("`format` " + format_name(format) + " reads rows (.jsonl, .json, .csv), but " +
                      name_of(source.file) + " is plain text");
  }
}

fs::file_status status_of(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) missing(path);
  if (error) throw IoError("cannot open " + path.string() + ": " + error.message());
  return status;
}

/// `root`: the folder that names the path, whose files may not lead out of it; empty: the user does.
std::vector<Source> sources_at(const fs::path& path, const fs::path& root, Format format,
                               std::vector<std::string>& notes, Part part) {
  const fs::file_status status = status_of(path);
  if (fs::is_directory(status)) return sources_of_folder(path, root.empty() ? path : root, format, notes, part);
  if (!fs::is_regular_file(status)) {
    throw DataError(path.string() + " is not a regular file; pipe it in and name it -, or write it to a file first");
  }
  return {source_of_file(root.empty() ? core::FileRef::named(path) : core::FileRef::within(root, path), format, notes)};
}

std::vector<Source> sources_of(const fs::path& path, Format format, std::vector<std::string>& notes, Part part) {
  if (path == "-") {
    const core::FileRef input = core::FileRef::named(standard_input());
    if (is_columnar(input)) return {{input, SourceKind::kColumnar}};
    bool whole = false;
    const bool rows = format != Format::kText && begins_as_rows(head_of(input, whole));
    if (!rows) {
      notes.push_back(
          "stdin is read as plain text (rows of JSON, Parquet and Arrow are known by their content, tables by a file's name)");
    }
    return {{input, rows ? SourceKind::kJson : SourceKind::kText}};
  }
  if (const std::optional<Listed> listed = listed_data(path, part)) {
    if (listed->files.empty()) throw DataError(listed->note);
    notes.push_back(listed->note);
    std::vector<Source> sources;
    for (const fs::path& file : listed->files) {
      for (Source& source : sources_at(file, listed->folder, format, notes, part)) {
        source.map = listed->map;
        sources.push_back(std::move(source));
      }
    }
    return sources;
  }
  return sources_at(path, {}, format, notes, part);
}

/// Where it lies: a data set by its name on the hub lies in the cache.
fs::path here(const fs::path& path) {
  return path == "-" ? path : hub::local_path(path, hub::RepoType::kDataset).value_or(path);
}

}  // namespace

std::vector<Source> find_sources(const std::vector<fs::path>& paths, Format format, std::vector<std::string>& notes,
                                 const FileOptions& files) {
  if (paths.empty()) throw ConfigError("no data given; name files or folders with `data`");
  std::vector<Source> sources;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const WeightedPath given = weighted_path(paths[i]);
    if (given.weight != 1 && files.part != Part::kTrain) {
      throw ConfigError("the weight in '" + core::printable(paths[i].string(), 200) +
                        "' is for data that is trained on (`data`), and this is only measured; take it off");
    }
    for (Source& source : sources_of(here(given.path), format, notes, files.part)) {
      source.given = static_cast<std::uint32_t>(i);
      source.weight = given.weight;
      sources.push_back(std::move(source));
    }
  }
  for (Source& source : sources) {
    check_suits(source, format);
    if (source.kind != SourceKind::kText && files.map != nullptr) source.map = files.map;
  }
  return sources;
}

std::vector<Source> find_unweighted_sources(const std::vector<fs::path>& paths, std::vector<std::string>& notes,
                                            const FileOptions& files) {
  std::vector<Source> sources = find_sources(paths, Format::kAuto, notes, files);
  for (const Source& source : sources) {
    if (source.weight == 1) continue;
    throw ConfigError("`data`: the weight in '" + core::printable(paths[source.given].string(), 200) +
                      "' is for texts and pairs; take it off");
  }
  return sources;
}

std::vector<fs::path> validation_files(const std::vector<fs::path>& paths, Format format) {
  std::vector<fs::path> files;
  std::vector<std::string> said_when_they_are_read;
  // From here on they are as files that the user names: what leads out of its folder is refused now.
  const auto take = [&](const fs::path& root, const std::vector<fs::path>& found) {
    for (const fs::path& file : found) {
      if (fs::is_regular_file(file)) core::InputFile(core::FileRef::within(root, file));
      files.push_back(file);
    }
  };
  for (const fs::path& given : paths) {
    const fs::path path = here(weighted_path(given).path);
    if (path == "-") continue;
    if (const std::optional<Listed> listed = listed_data(path, Part::kValidation)) {
      if (listed->in_parts) take(listed->folder, listed->files);
      continue;
    }
    if (!fs::is_directory(status_of(path))) continue;
    const Found found = search(path, path, format, said_when_they_are_read);
    const std::map<Part, std::vector<fs::path>> parts = folder_parts(path, files_of(found.sources));
    if (const auto it = parts.find(Part::kValidation); it != parts.end()) {
      take(path, it->second);
    }
  }
  return files;
}

}  // namespace lowrank::data
