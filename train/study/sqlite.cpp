#include <dlfcn.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <type_traits>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/train/study/database.h"

namespace lowrank::train {
namespace {

constexpr const char* kLibrary = "libsqlite3.so.0";
constexpr int kPatience = 60'000;  // milliseconds

/// What is used of the library, by its own names.
struct Sqlite {
  decltype(&::sqlite3_open_v2) open_v2 = nullptr;
  decltype(&::sqlite3_close) close = nullptr;
  decltype(&::sqlite3_busy_timeout) busy_timeout = nullptr;
  decltype(&::sqlite3_errmsg) errmsg = nullptr;
  decltype(&::sqlite3_prepare_v2) prepare_v2 = nullptr;
  decltype(&::sqlite3_step) step = nullptr;
  decltype(&::sqlite3_finalize) finalize = nullptr;
  decltype(&::sqlite3_bind_null) bind_null = nullptr;
  decltype(&::sqlite3_bind_int64) bind_int64 = nullptr;
  decltype(&::sqlite3_bind_double) bind_double = nullptr;
  decltype(&::sqlite3_bind_text) bind_text = nullptr;
  decltype(&::sqlite3_column_count) column_count = nullptr;
  decltype(&::sqlite3_column_type) column_type = nullptr;
  decltype(&::sqlite3_column_int64) column_int64 = nullptr;
  decltype(&::sqlite3_column_double) column_double = nullptr;
  decltype(&::sqlite3_column_text) column_text = nullptr;
  decltype(&::sqlite3_column_bytes) column_bytes = nullptr;
  decltype(&::sqlite3_last_insert_rowid) last_insert_rowid = nullptr;
  decltype(&::sqlite3_changes) changes = nullptr;
  std::string problem = {};  // empty: all of them are there
};

Sqlite load() {
  Sqlite sqlite;
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    sqlite.problem = ::dlerror();
    return sqlite;
  }
  const auto take = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    if (function == nullptr) sqlite.problem = fmt::format("{} has no {}", kLibrary, name);
  };
  take(sqlite.open_v2, "sqlite3_open_v2");
  take(sqlite.close, "sqlite3_close");
  take(sqlite.busy_timeout, "sqlite3_busy_timeout");
  take(sqlite.errmsg, "sqlite3_errmsg");
  take(sqlite.prepare_v2, "sqlite3_prepare_v2");
  take(sqlite.step, "sqlite3_step");
  take(sqlite.finalize, "sqlite3_finalize");
  take(sqlite.bind_null, "sqlite3_bind_null");
  take(sqlite.bind_int64, "sqlite3_bind_int64");
  take(sqlite.bind_double, "sqlite3_bind_double");
  take(sqlite.bind_text, "sqlite3_bind_text");
  take(sqlite.column_count, "sqlite3_column_count");
  take(sqlite.column_type, "sqlite3_column_type");
  take(sqlite.column_int64, "sqlite3_column_int64");
  take(sqlite.column_double, "sqlite3_column_double");
  take(sqlite.column_text, "sqlite3_column_text");
  take(sqlite.column_bytes, "sqlite3_column_bytes");
  take(sqlite.last_insert_rowid, "sqlite3_last_insert_rowid");
  take(sqlite.changes, "sqlite3_changes");
  return sqlite;
}

const Sqlite& sqlite() {
  static const Sqlite once = load();
  return once;
}

}  // namespace

struct Database::Connection {
  std::string name;
  sqlite3* db = nullptr;

  [[noreturn]] void fail(int code) const {
    const std::string why = db == nullptr ? "no memory" : core::printable(sqlite().errmsg(db), 300);
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
      throw FormatError(name + ": not a SQLite database, or a damaged one (" + why + ")");
    if (code == SQLITE_BUSY)
      throw IoError(name + ": another process has kept the database locked for a minute; end it, or try again");
    throw IoError(name + ": " + why);
  }
  void must(int code) const {
    if (code != SQLITE_OK) fail(code);
  }

  struct Statement {
    const Connection& of;
    sqlite3_stmt* statement = nullptr;
    Statement(const Connection& connection, const std::string& sql) : of(connection) {
      of.must(sqlite().prepare_v2(of.db, sql.c_str(), -1, &statement, nullptr));
    }
    ~Statement() { sqlite().finalize(statement); }
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;

    void bind(int place, const core::Json& value) const {
      if (value.is_null()) {
        of.must(sqlite().bind_null(statement, place));
      } else if (value.is_number_integer()) {
        of.must(sqlite().bind_int64(statement, place, value.get<std::int64_t>()));
      } else if (value.is_number()) {
        of.must(sqlite().bind_double(statement, place, value.get<double>()));
      } else {
        const auto& text = value.get_ref<const std::string&>();
        of.must(sqlite().bind_text(statement, place, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT));
      }
    }
    core::Json column(int i) const {
      switch (sqlite().column_type(statement, i)) {
        case SQLITE_INTEGER:
          return static_cast<std::int64_t>(sqlite().column_int64(statement, i));
        case SQLITE_FLOAT:
          return sqlite().column_double(statement, i);
        case SQLITE_NULL:
          return nullptr;
        default: {
          const auto* const text = reinterpret_cast<const char*>(sqlite().column_text(statement, i));
          return std::string(text == nullptr ? "" : text,
                             static_cast<std::size_t>(sqlite().column_bytes(statement, i)));
        }
      }
    }
  };
};

bool has_sqlite() { return sqlite().problem.empty(); }

Database::Database(const std::filesystem::path& file) : connection_(std::make_unique<Connection>()) {
  connection_->name = file.string();
  if (!has_sqlite())
    throw IoError(connection_->name + " is a SQLite database, and SQLite could not be loaded (" +
                  core::printable(sqlite().problem, 300) + "); on Debian and Ubuntu: apt-get install libsqlite3-0");
  const int code = sqlite().open_v2(file.c_str(), &connection_->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  try {
    connection_->must(code);
    connection_->must(sqlite().busy_timeout(connection_->db, kPatience));
  } catch (...) {
    sqlite().close(connection_->db);
    throw;
  }
}

Database::~Database() { sqlite().close(connection_->db); }

std::vector<Database::Row> Database::run(const std::string& sql, const std::vector<core::Json>& values) {
  const Connection::Statement statement(*connection_, sql);
  for (std::size_t i = 0; i < values.size(); ++i) statement.bind(static_cast<int>(i) + 1, values[i]);
  std::vector<Row> rows;
  while (true) {
    const int code = sqlite().step(statement.statement);
    if (code == SQLITE_DONE) return rows;
    if (code != SQLITE_ROW) connection_->fail(code);
    Row& row = rows.emplace_back();
    for (int i = 0; i < sqlite().column_count(statement.statement); ++i) row.push_back(statement.column(i));
  }
}

std::int64_t Database::last_id() { return sqlite().last_insert_rowid(connection_->db); }
std::int64_t Database::changed() { return sqlite().changes(connection_->db); }

void Database::alone(const std::function<void()>& work) {
  run("BEGIN IMMEDIATE");
  try {
    work();
    run("COMMIT");
  } catch (...) {
    try {
      run("ROLLBACK");
    } catch (const Error&) {  // SQLite has rolled it back itself
    }
    throw;
  }
}

}  // namespace lowrank::train
