#include <sys/stat.h>

#include <cstdlib>

#include "lowrank/apps/console/line_editor.h"

namespace lowrank::apps {

std::filesystem::path history_file(const std::string& name) {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (state != nullptr && *state == '/') {
    folder = state;
  } else if (home != nullptr && *home == '/') {
    folder = std::filesystem::path(home) / ".local" / "state";
  } else {
    return {};
  }
  folder /= "lowrank";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return {};
  ::chmod(folder.c_str(), 0700);  // what people say to a model is theirs
  return folder / name;
}

}  // namespace lowrank::apps
