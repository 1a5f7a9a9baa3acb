// Folders whose files are named after the parts of a data set, as mlx-lm, Hugging Face and many others lay them out.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// The part that a path inside of a folder is named after: a word of a file's or folder's name that is train or
/// training; validation, valid, val or dev; test, testing, eval or evaluation ("train.jsonl", "data/test-00000.jsonl",
/// "wiki.valid.txt").
std::optional<Part> part_of_name(const std::filesystem::path& relative);

/// Files by their part, where there are some to train on and some of another part; nothing otherwise.
std::map<Part, std::vector<std::filesystem::path>> folder_parts(const std::filesystem::path& folder,
                                                                const std::vector<std::filesystem::path>& files);

/// What is read of a folder in parts and what is not, in a line.
std::string parts_note(const std::filesystem::path& folder,
                       const std::map<Part, std::vector<std::filesystem::path>>& parts, Part read, std::size_t others);

}  // namespace lowrank::data
