#include "lowrank/data/folder_parts.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<std::string_view, Part>, 10> kWords = {{{"train", Part::kTrain},
                                                                       {"training", Part::kTrain},
                                                                       {"validation", Part::kValidation},
                                                                       {"valid", Part::kValidation},
                                                                       {"val", Part::kValidation},
                                                                       {"dev", Part::kValidation},
                                                                       {"test", Part::kTest},
                                                                       {"testing", Part::kTest},
                                                                       {"eval", Part::kTest},
                                                                       {"evaluation", Part::kTest}}};

std::optional<Part> part_of_word(const std::string& word) {
  for (const auto& [name, part] : kWords) {
    if (word == name) return part;
  }
  return std::nullopt;
}

std::string listed(const fs::path& folder, const std::vector<fs::path>& files) {
  std::string names;
  for (std::size_t i = 0; i < files.size() && i < 3; ++i) {
    names += (i == 0 ? "" : ", ") + core::printable(files[i].lexically_relative(folder).string(), 60);
  }
  return files.size() <= 3 ? names : names + " and " + std::to_string(files.size() - 3) + " more";
}

}  // namespace

std::optional<Part> part_of_name(const fs::path& relative) {
  for (const fs::path& component : relative) {
    std::string word;
    for (const char c : component.string() + ".") {
      if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
        word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        continue;
      }
      if (const std::optional<Part> part = part_of_word(word)) return part;
      word.clear();
    }
  }
  return std::nullopt;
}

std::map<Part, std::vector<fs::path>> folder_parts(const fs::path& folder, const std::vector<fs::path>& files) {
  std::map<Part, std::vector<fs::path>> parts;
  for (const fs::path& file : files) {
    if (const std::optional<Part> part = part_of_name(file.lexically_relative(folder))) parts[*part].push_back(file);
  }
  if (!parts.contains(Part::kTrain) || parts.size() < 2) parts.clear();
  return parts;
}

std::string parts_note(const fs::path& folder, const std::map<Part, std::vector<fs::path>>& parts, Part read,
                       std::size_t others) {
  constexpr std::array<const char*, 3> kNames = {"training", "validation", "test"};
  std::string note = folder.string() + ": ";
  note += listed(folder, parts.at(read)) + (parts.at(read).size() == 1 ? " is read" : " are read") + ", the " +
          kNames[static_cast<std::size_t>(read)] + " part";
  for (const auto& [part, files] : parts) {
    if (part == read) continue;
    const bool validates = part == Part::kValidation && read == Part::kTrain;
    note += "; " + listed(folder, files) + (files.size() == 1 ? " is" : " are") +
            (validates ? " its validation part" : " left alone");
  }
  if (others > 0) note += "; " + core::format_count(static_cast<std::int64_t>(others)) + " of other names left alone";
  return note;
}

}  // namespace lowrank::data
