#include "lowrank/apps/console/complaint.h"

#include "lowrank/apps/console/terminal.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/visible.h"

namespace lowrank::apps {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kConfig:
      return 2;
    case ErrorKind::kData:
    case ErrorKind::kFormat:
    case ErrorKind::kModel:
      return 65;
    case ErrorKind::kMissing:
      return 66;
    case ErrorKind::kIo:
      return 74;
    case ErrorKind::kInternal:
      return 70;
  }
  return 70;
}

bool asks_for_json(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word == "--") return false;
    if (word == "--json" || word == "--json=true") return true;
  }
  return false;
}

void print_complaint(int code, const std::string& message, bool json) {
  if (json) {
    const core::Json error = {{"error", message}, {"exit", code}};
    print_out(core::visible_json(core::json_text(error, 2)) + "\n");
  }
  print_error_line("lowrank: error: " + message);
}

}  // namespace lowrank::apps
