#include "lowrank/data/image_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/data/folder_parts.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/table_reader.h"

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

struct ImageReading {
  ImageFiles result;
  std::set<std::string> labels, formats;
  std::int64_t others = 0;

  void add(const fs::path& folder, const fs::path& file, const std::string& label) {
    result.files.push_back({core::FileRef::within(folder, file), label});
    labels.insert(label);
  }

  void read_class(const fs::path& top, const fs::path& folder, const std::string& label) {
    for (const fs::path& entry : sorted_entries(folder)) {
      if (fs::is_directory(entry)) {
        read_class(top, entry, label);
      } else if (is_picture(entry)) {
        add(top, entry, label);
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
        read_class(folder, entry, label);
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

void ImageReading::read_table(const fs::path& file, char separator) {
  formats.insert(separator == ',' ? "CSV" : "TSV");
  const std::size_t before = result.files.size();
  TableReader reader(core::FileRef::named(file), separator);
  for (std::vector<std::string> fields; reader.next(fields);) {
    const std::string where = reader.where();
    if (fields.size() != 2 || fields[0].empty() || fields[1].empty())
      throw DataError(fmt::format("{}: expected two fields, path{}label, found '{}'", where,
                                  separator == ',' ? "," : " TAB ",
                                  core::printable(fmt::format("{}", fmt::join(fields, std::string(1, separator))))));
    for (const std::string& field : fields) {
      if (core::find_invalid_utf8(field) != std::string_view::npos) throw DataError(where + ": not UTF-8");
    }
    if (reader.line() == 1 && fields[0] == "path" && fields[1] == "label") continue;
    const fs::path picture = fs::path(fields[0]).is_absolute() ? fs::path(fields[0]) : file.parent_path() / fields[0];
    if (!fs::exists(picture)) throw MissingError(fmt::format("{}: there is no file {}", where, picture.string()));
    add(file.has_parent_path() ? file.parent_path() : fs::path("."), picture, fields[1]);
  }
  if (result.files.size() == before) throw DataError(file.string() + ": there is no row in it; expected path,label");
}

/// The folders of a folder by their part, where each is named after one.
std::map<Part, std::vector<fs::path>> picture_parts(const fs::path& folder) {
  std::vector<fs::path> folders;
  for (const fs::path& entry : sorted_entries(folder)) {
    if (fs::is_directory(entry)) folders.push_back(entry);
  }
  std::map<Part, std::vector<fs::path>> parts = folder_parts(folder, folders);
  std::size_t named = 0;
  for (const auto& [part, of_part] : parts) named += of_part.size();
  if (named != folders.size()) parts.clear();  // classes, some of which have such names
  return parts;
}

/// The folders that hold the class folders: those of the part, or the folder itself.
std::vector<fs::path> folders_to_read(const fs::path& folder, Part part, std::vector<std::string>& notes) {
  const std::map<Part, std::vector<fs::path>> parts = picture_parts(folder);
  if (parts.empty()) return {folder};
  if (part == Part::kTest && !parts.contains(part)) part = Part::kValidation;
  if (!parts.contains(part)) throw DataError(folder.string() + " has no validation part; name a folder of class folders");
  notes.push_back(parts_note(folder, parts, part, 0));
  return parts.at(part);
}

}  // namespace

std::vector<fs::path> validation_pictures(const std::vector<fs::path>& paths) {
  std::vector<fs::path> folders;
  for (const fs::path& given : paths) {
    const fs::path path = hub::local_path(given, hub::RepoType::kDataset).value_or(given);
    if (!fs::is_directory(path)) continue;
    const std::map<Part, std::vector<fs::path>> parts = picture_parts(path);
    if (const auto it = parts.find(Part::kValidation); it != parts.end()) {
      folders.insert(folders.end(), it->second.begin(), it->second.end());
    }
  }
  return folders;
}

ImageFiles find_images(const std::vector<fs::path>& paths, Part part) {
  ImageReading reading;
  for (const fs::path& given : paths) {
    const std::optional<fs::path> place = hub::local_path(given, hub::RepoType::kDataset);
    if (!place) hub::throw_not_here(given.string() + ": there is no such file or folder", given, hub::RepoType::kDataset);
    const fs::path& path = *place;
    const std::string end = ending(path);
    if (fs::is_directory(path)) {
      for (const fs::path& folder : folders_to_read(path, part, reading.result.notes)) reading.read_folder(folder);
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
    result.notes.push_back("passed over, as no .png, .jpg or .jpeg: " + core::counted(reading.others, "file"));
  return result;
}

}  // namespace lowrank::data
