#include "lowrank/data/sources.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

namespace fs = std::filesystem;

std::string lower_extension(const fs::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

std::optional<SourceKind> kind_of(const fs::path& file) {
  const std::string extension = lower_extension(file);
  if (extension == ".txt" || extension == ".md") return SourceKind::kText;
  if (extension == ".jsonl") return SourceKind::kJsonLines;
  if (extension == ".json") return SourceKind::kJson;
  return std::nullopt;
}

[[noreturn]] void missing(const fs::path& path) {
  std::vector<std::string> names;
  std::error_code ignored;
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator it(parent, ignored), end; !ignored && it != end; it.increment(ignored)) {
    names.push_back(it->path().filename().string());
  }
  throw MissingError("no such file or folder: " + path.string() + core::did_you_mean(path.filename().string(), names));
}

bool hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

/// A folder in the layout of mlx-lm and many data sets: reading all of it would train on the test part.
void note_parts(const fs::path& folder, const std::set<std::string>& names, std::vector<std::string>& notes) {
  if (!names.contains("train.jsonl")) return;
  for (const char* other : {"valid.jsonl", "validation.jsonl", "test.jsonl", "dev.jsonl"}) {
    if (!names.contains(other)) continue;
    notes.push_back(folder.string() + " holds " + other + " beside train.jsonl, and both are read; name " +
                    (folder / "train.jsonl").string() + " to read the training part alone");
    return;
  }
}

std::vector<Source> search(const fs::path& folder, std::vector<std::string>& notes) {
  std::vector<Source> found;
  std::set<std::string> names, other_endings;
  std::int64_t others = 0;
  try {
    for (fs::recursive_directory_iterator it(folder), end; it != end; ++it) {
      if (hidden(it->path())) {
        if (it->is_directory()) it.disable_recursion_pending();
        continue;
      }
      if (it->is_directory()) continue;
      const std::optional<SourceKind> kind = kind_of(it->path());
      if (kind && *kind != SourceKind::kJson && it->is_regular_file()) {
        found.push_back({it->path(), *kind});
        if (it.depth() == 0) names.insert(it->path().filename().string());
      } else {
        ++others;
        const std::string ending = lower_extension(it->path());
        other_endings.insert(ending.empty() ? "no ending" : ending);
      }
    }
  } catch (const fs::filesystem_error& e) {
    throw IoError("cannot search " + folder.string() + ": " + e.code().message());
  }
  std::string endings;
  std::size_t listed = 0;
  for (const std::string& ending : other_endings) {
    if (++listed > 6) break;
    endings += (endings.empty() ? "" : ", ") + core::printable(ending, 20);
  }
  if (found.empty()) {
    throw DataError("no .txt, .md or .jsonl file under " + folder.string() +
                    (others == 0 ? "" : " (only " + core::format_count(others) + " others: " + endings + ")"));
  }
  if (others > 0) {
    notes.push_back(core::format_count(others) + (others == 1 ? " other file" : " other files") + " under " +
                    folder.string() + " not read (" + endings + ")");
  }
  note_parts(folder, names, notes);
  std::sort(found.begin(), found.end(), [](const Source& a, const Source& b) { return a.file < b.file; });
  return found;
}

void check_suits(const Source& source, Format format) {
  if (source.kind == SourceKind::kText && format != Format::kAuto && format != Format::kText) {
    throw ConfigError("`format` " + format_name(format) + " reads rows of .jsonl or .json, but " +
                      source.file.string() + " is plain text");
  }
}

}  // namespace

std::vector<Source> find_sources(const std::vector<fs::path>& paths, Format format, std::vector<std::string>& notes) {
  if (paths.empty()) throw ConfigError("no data given; name files or folders with `data`");
  std::vector<Source> sources;
  for (const fs::path& path : paths) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) missing(path);
    if (error) throw IoError("cannot open " + path.string() + ": " + error.message());
    if (fs::is_directory(status)) {
      const std::vector<Source> found = search(path, notes);
      sources.insert(sources.end(), found.begin(), found.end());
      continue;
    }
    if (!fs::is_regular_file(status)) {
      throw DataError(path.string() + " is not a regular file; write the data to a .txt or .jsonl file first");
    }
    std::optional<SourceKind> kind = kind_of(path);
    if (!kind && format == Format::kText) kind = SourceKind::kText;
    if (!kind) {
      throw DataError(path.string() +
                      " ends in neither .txt, .md, .jsonl nor .json; rename or convert it, or pass "
                      "`format` text to read it as plain text");
    }
    sources.push_back({path, *kind});
  }
  for (const Source& source : sources) check_suits(source, format);
  return sources;
}

}  // namespace lowrank::data
