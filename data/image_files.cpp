#include "lowrank/data/image_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/line_reader.h"

namespace lowrank::data {
namespace {

namespace fs = std::filesystem;

std::string ending(const fs::path& file) {
  std::string text = file.extension().string();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

bool is_picture(const fs::path& file) {
  const std::string end = ending(file);
  return end == ".png" || end == ".jpg" || end == ".jpeg";
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().front() != '.') entries.push_back(it->path());
  if (error) throw IoError(fmt::format("{} could not be read: {}", folder.string(), error.message()));
  std::sort(entries.begin(), entries.end());
  return entries;
}

struct Reading {
  ImageFiles result;
  std::set<std::string> labels, formats;
  std::int64_t others = 0;

  void add(const fs::path& file, const std::string& label) {
    result.files.push_back({file, label});
    labels.insert(label);
  }

  void read_class(const fs::path& folder, const std::string& label) {
    for (const fs::path& entry : sorted_entries(folder)) {
      if (fs::is_directory(entry)) {
        read_class(entry, label);
      } else if (is_picture(entry)) {
        add(entry, label);
      } else {
        ++others;
      }
    }
  }

  void read_folder(const fs::path& folder) {
    formats.insert("class folders");
    const std::size_t before = result.files.size();
    for (const fs::path& entry : sorted_entries(folder)) {
      if (fs::is_directory(entry)) {
        const std::size_t here = result.files.size();
        const std::string label = entry.filename().string();
        if (core::find_invalid_utf8(label) != std::string::npos)
          throw DataError(fmt::format("{}: the class's name is not UTF-8", core::printable(entry.string(), 200)));
        read_class(entry, label);
        if (result.files.size() == here)
          throw DataError(fmt::format(
              "{}: the class has no picture (.png, .jpg, .jpeg); take the folder away, or fill it", entry.string()));
      } else if (is_picture(entry)) {
        throw DataError(fmt::format("{} lies beside the class folders, so it has no class; expected {}/CLASS/{}",
                                    entry.string(), folder.string(), entry.filename().string()));
      } else {
        ++others;
      }
    }
    if (result.files.size() == before)
      throw DataError(fmt::format(
          "{}: there is no picture in it; expected a folder a class with .png, .jpg or .jpeg files", folder.string()));
  }

  void read_table(const fs::path& file, char separator);
};

/// The fields of a line (RFC 4180: "a ""quoted"" field" may hold the separator). DataError beginning with `where`.
std::vector<std::string> fields_of(std::string_view line, char separator, const std::string& where) {
  std::vector<std::string> fields(1);
  bool quoted = false, closed = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += line[++i];
      } else {
        quoted = false;
        closed = true;
      }
    } else if (c == separator) {
      fields.emplace_back();
      closed = false;
    } else if (c == '"' && fields.back().empty() && !closed) {
      quoted = true;
    } else if (closed) {
      throw DataError(where + ": text follows a closing quote");
    } else {
      fields.back() += c;
    }
  }
  if (quoted) throw DataError(where + ": a quote is never closed");
  return fields;
}

void Reading::read_table(const fs::path& file, char separator) {
  formats.insert(separator == ',' ? "CSV" : "TSV");
  const std::size_t before = result.files.size();
  LineReader reader(file);
  for (std::string_view line; reader.next(line);) {
    if (line.empty()) continue;
    const std::string where = fmt::format("{} line {}", file.string(), reader.line_number());
    if (core::find_invalid_utf8(line) != std::string_view::npos) throw DataError(where + ": not UTF-8");
    const std::vector<std::string> fields = fields_of(line, separator, where);
    if (fields.size() != 2 || fields[0].empty() || fields[1].empty())
      throw DataError(fmt::format("{}: expected two fields, path{}label, found '{}'", where,
                                  separator == ',' ? "," : " TAB ", core::printable(line)));
    if (reader.line_number() == 1 && fields[0] == "path" && fields[1] == "label") continue;
    const fs::path picture = fs::path(fields[0]).is_absolute() ? fs::path(fields[0]) : file.parent_path() / fields[0];
    if (!fs::exists(picture)) throw MissingError(fmt::format("{}: there is no file {}", where, picture.string()));
    add(picture, fields[1]);
  }
  if (result.files.size() == before) throw DataError(file.string() + ": there is no row in it; expected path,label");
}

}  // namespace

ImageFiles find_images(const std::vector<fs::path>& paths) {
  Reading reading;
  for (const fs::path& path : paths) {
    if (!fs::exists(path)) throw MissingError(path.string() + ": there is no such file or folder");
    const std::string end = ending(path);
    if (fs::is_directory(path)) {
      reading.read_folder(path);
    } else if (end == ".csv" || end == ".tsv") {
      reading.read_table(path, end == ".csv" ? ',' : '\t');
    } else {
      throw DataError(fmt::format(
          "{}: pictures come as a folder of class folders, or as a .csv or .tsv of path and label", path.string()));
    }
  }
  ImageFiles result = std::move(reading.result);
  result.labels.assign(reading.labels.begin(), reading.labels.end());
  for (const std::string& format : reading.formats) result.format += (result.format.empty() ? "" : " + ") + format;
  if (reading.others > 0)
    result.notes.push_back(fmt::format("{} files that are no .png, .jpg or .jpeg were passed over", reading.others));
  return result;
}

}  // namespace lowrank::data
