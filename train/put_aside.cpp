#include "lowrank/train/put_aside.h"

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"

namespace lowrank::train {

namespace fs = std::filesystem;

PutAside::PutAside(fs::path out, const std::vector<std::string>& names) : out_(std::move(out)), aside_(out_ / ".replaced") {
  core::refuse_link(aside_);
  bring_back();
  for (const std::string& name : names) {
    if (!fs::exists(fs::symlink_status(out_ / name))) continue;
    core::make_folder(aside_);
    fs::rename(out_ / name, aside_ / name);
  }
}

PutAside::~PutAside() {
  try {
    bring_back();
  } catch (const std::exception&) {  // it stays aside, and comes back the next time
  }
}

void PutAside::bring_back() const {
  if (!fs::is_directory(aside_)) return;
  for (const auto& entry : fs::directory_iterator(aside_)) {
    const fs::path place = out_ / entry.path().filename();
    fs::remove_all(place);
    fs::rename(entry.path(), place);
  }
  fs::remove(aside_);
}

void PutAside::forget() {
  std::error_code error;
  fs::remove_all(aside_, error);
  if (error) throw IoError(aside_.string() + " could not be removed: " + error.message());
}

}  // namespace lowrank::train
