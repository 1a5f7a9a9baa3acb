// A SQLite database. Its library is loaded when the first one is opened, so that nothing else needs it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::train {

/// Whether this build has SQLite's header, and the library can be loaded.
bool has_sqlite();

/// One connection, for one thread. Another process's lock is waited for, a minute at most.
class Database {
 public:
  /// Opens or makes the file. ConfigError: no SQLite in this build; IoError, FormatError.
  explicit Database(const std::filesystem::path& file);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  using Row = std::vector<core::Json>;  // null, whole numbers, numbers, texts
  /// One statement; `values` stand for its question marks, in order.
  std::vector<Row> run(const std::string& sql, const std::vector<core::Json>& values = {});
  /// Of the row that was inserted last.
  std::int64_t last_id();
  /// Rows that the last statement changed.
  std::int64_t changed();
  /// All of `work` or nothing, with no other process writing between.
  void alone(const std::function<void()>& work);

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace lowrank::train
