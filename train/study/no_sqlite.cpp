// Stands in for sqlite.cpp where SQLite's header was not there.
#include "lowrank/core/error.h"
#include "lowrank/train/study/database.h"

namespace lowrank::train {

struct Database::Connection {};

bool has_sqlite() { return false; }

Database::Database(const std::filesystem::path& file) {
  throw ConfigError(file.string() +
                    " is a SQLite database, and this build has no SQLite: install its header (on Debian and Ubuntu: "
                    "apt-get install libsqlite3-dev) and build again");
}
Database::~Database() = default;
std::vector<Database::Row> Database::run(const std::string& /*sql*/, const std::vector<core::Json>& /*values*/) {
  return {};
}
std::int64_t Database::last_id() { return 0; }
std::int64_t Database::changed() { return 0; }
void Database::alone(const std::function<void()>& /*work*/) {}

}  // namespace lowrank::train
