#include "lowrank/core/temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string name = (temporary_place() / "lowrank-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw IoError("no temporary folder can be made at " + name + ": " + std::generic_category().message(errno) +
                  "; TMPDIR names another place");
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace lowrank::core
