// Catch2 v2 (bookworm) or v3 (trixie), whichever is there, and what all tests share.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define LOWRANK_SKIP(reason) SKIP(reason)
using Catch::Approx;
#else
#include <catch2/catch.hpp>
// Catch2 v2 cannot skip: say so and return; the summary of `make test` counts these lines.
#define LOWRANK_SKIP(reason)                       \
  do {                                             \
    std::fprintf(stderr, "SKIPPED: %s\n", reason); \
    SUCCEED(reason);                               \
    return;                                        \
  } while (false)
#endif

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace lowrank_test {

namespace fs = std::filesystem;

/// $LOWRANK_ASSETS, when it is set and a folder.
inline std::optional<fs::path> assets() {
  const char* value = std::getenv("LOWRANK_ASSETS");
  if (value == nullptr || !fs::is_directory(value)) return std::nullopt;
  return fs::path(value);
}

/// The source tree and the built command, defined in catch_main.cpp: the one file that knows where the build stands, so
/// that the others' objects can come from a compiler cache that another checkout filled.
fs::path source_dir();
fs::path command();
/// Committed golden files, or those that `make parity` has just made ($LOWRANK_GOLDENS).
inline fs::path golden_dir() {
  const char* fresh = std::getenv("LOWRANK_GOLDENS");
  return fresh != nullptr ? fs::path(fresh) : source_dir() / "tests" / "goldens";
}

/// A folder of its own, removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "lowrank-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + name);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const fs::path& path() const { return path_; }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

inline void write_text(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

inline std::string read_text(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace lowrank_test
