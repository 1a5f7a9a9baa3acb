#include "lowrank/train/study/owner.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/train/ranks/peer.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;

/// When a process began, in the kernel's ticks since the boot; nothing where there is no such process.
std::optional<std::string> start_of(std::int64_t pid) {
  std::string text;
  try {
    text = core::read_file(core::FileRef::named(fmt::format("/proc/{}/stat", pid)));
  } catch (const Error&) {
    return std::nullopt;
  }
  const std::size_t end_of_name = text.rfind(')');
  if (end_of_name == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(end_of_name + 1));
  std::string state, field;
  rest >> state;
  if (state == "Z" || state == "X") return std::nullopt;  // dead, and not yet fetched by its parent
  for (int i = 4; i <= 22; ++i) rest >> field;
  return field;
}

std::int64_t pid_of(const core::Json& owner) {
  return owner.contains("pid") && owner["pid"].is_number_integer() ? owner["pid"].get<std::int64_t>() : 0;
}

/// The space in which its pid is its own.
std::string pid_space() {
  std::error_code error;
  return fs::read_symlink("/proc/self/ns/pid", error).string();
}

}  // namespace

core::Json this_owner() {
  const Peer own = this_process(0);
  return {{"host", own.host},
          {"pid", own.pid},
          {"boot", own.machine},
          {"space", pid_space()},
          {"start", start_of(own.pid).value_or("")}};
}

std::string owner_name(const core::Json& owner) {
  if (!owner.is_object() || !owner.contains("host") || !owner["host"].is_string()) return "another process";
  return fmt::format("{}, pid {}", core::printable(owner["host"].get_ref<const std::string&>(), 100), pid_of(owner));
}

std::optional<bool> owner_lives(const core::Json& owner) {
  static const core::Json own = this_owner();
  if (!owner.is_object()) return std::nullopt;
  for (const char* where : {"host", "boot", "space"})
    if (!owner.contains(where) || owner[where] != own[where]) return std::nullopt;
  const std::optional<std::string> start = start_of(pid_of(owner));
  return start && owner.contains("start") && owner["start"] == *start;
}

}  // namespace lowrank::train
