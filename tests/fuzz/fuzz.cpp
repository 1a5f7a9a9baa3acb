#include "fuzz.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/temporary_folder.h"

namespace lowrank_fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path& scratch() {
  static const lowrank::core::TemporaryFolder folder;
  return folder.path();
}

void write(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

void broken(const std::string& promise) {
  std::fprintf(stderr, "BROKEN: %s\n", promise.c_str());
  std::abort();
}

bool succeeds(const std::function<void()>& call) {
  try {
    call();
  } catch (const lowrank::Error& error) {
    if (error.kind() == lowrank::ErrorKind::kInternal) broken(std::string("exit 70: ") + error.what());
    if (*error.what() == '\0') broken("an error says nothing");
    return false;
  }
  return true;
}

std::vector<Target>& targets() {
  static std::vector<Target> all;
  return all;
}

std::pair<std::string_view, std::string_view> two_parts(std::string_view input) {
  const std::size_t zero = input.find('\0');
  if (zero == std::string_view::npos) return {input, {}};
  return {input.substr(0, zero), input.substr(zero + 1)};
}

fs::path file_with(const std::string& name, std::string_view bytes) {
  const fs::path file = scratch() / name;
  write(file, bytes);
  return file;
}

fs::path folder_with(const std::string& name, std::string_view input) {
  // The folder itself stays, and goes with the process: it takes longer to make than most of what is done with it.
  static std::map<std::string, std::set<fs::path>> made;
  const auto [known, is_new] = made.try_emplace(name);
  std::set<fs::path>& files = known->second;
  const fs::path folder = scratch() / name;
  if (is_new) fs::create_directory(folder);
  for (const fs::path& file : files) fs::remove(file);
  files.clear();
  for (std::size_t line = input.find('\n'); line != std::string_view::npos; line = input.find('\n')) {
    const std::string head(input.substr(0, line));
    input.remove_prefix(line + 1);
    const std::size_t space = head.find(' ');
    const std::string file = head.substr(0, space);
    if (space == std::string::npos || file.empty() || file.size() > 100 || file == "." || file == ".." ||
        file.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
      return folder;
    }
    const std::size_t size = std::min<std::size_t>(std::strtoul(head.c_str() + space, nullptr, 10), input.size());
    write(*files.insert(folder / file).first, input.substr(0, size));
    input.remove_prefix(size);
    if (input.starts_with('\n')) input.remove_prefix(1);
  }
  return folder;
}

}  // namespace lowrank_fuzz
