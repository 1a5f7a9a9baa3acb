#include "fuzz.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "lowrank/core/error.h"
#include "lowrank/core/temporary_folder.h"

namespace lowrank_fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path& scratch() {
  static const lowrank::core::TemporaryFolder folder;
  return folder.path();
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
  std::ofstream(file, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return file;
}

fs::path folder_with(const std::string& name, std::string_view input) {
  const fs::path folder = scratch() / name;
  fs::remove_all(folder);
  fs::create_directory(folder);
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
    std::ofstream(folder / file, std::ios::binary).write(input.data(), static_cast<std::streamsize>(size));
    input.remove_prefix(size);
    if (input.starts_with('\n')) input.remove_prefix(1);
  }
  return folder;
}

}  // namespace lowrank_fuzz
