#include "power_loss.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace lowrank_test {
namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

int link_to(const std::string& from, const std::string& to) {
  return static_cast<int>(::syscall(SYS_linkat, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0));
}
int move(const std::string& from, const std::string& to) {
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0));
}
int take(const std::string& path, bool folder) {
  return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path.c_str(), folder ? AT_REMOVEDIR : 0));
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* open = ::opendir(folder.c_str())) {
    while (const dirent* entry = ::readdir(open)) {
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) names.emplace_back(entry->d_name);
    }
    ::closedir(open);
  }
  return names;
}

void take_tree(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (S_ISDIR(status.st_mode)) {
    for (const std::string& name : names_in(path)) take_tree(path + "/" + name);
  }
  take(path, S_ISDIR(status.st_mode));
}

struct KeepErrno {
  int error = errno;
  ~KeepErrno() { errno = error; }
};

}  // namespace

PowerLoss::PowerLoss(const std::string& folder) : folder_(folder), removed_(folder + ".removed") {
  ::syscall(SYS_mkdirat, AT_FDCWD, removed_.c_str(), 0700);
}

void PowerLoss::opened(int fd) {
  const KeepErrno kept;
  struct stat status {};
  if (::fstat(fd, &status) == 0) synced_.emplace(status.st_ino, status.st_size);
}

void PowerLoss::made(const std::string& path, int fd) {
  const KeepErrno kept;
  struct stat status {};
  if (::fstat(fd, &status) == 0) synced_[status.st_ino] = 0;
  pending_.push_back({Change::Kind::kMade, path, "", "", false});
}

int PowerLoss::making(const std::string& path, const std::function<int()>& call) {
  const int result = call();
  const KeepErrno kept;
  if (result != 0) return result;
  struct stat status {};
  const bool folder = ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  pending_.push_back({Change::Kind::kMade, path, "", "", folder});
  return result;
}

// Another name for what stands at `path`, so that it can be given back.
void PowerLoss::keep(Change& change, const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  change.folder = S_ISDIR(status.st_mode);
  if (change.folder) return;
  change.kept = removed_ + "/" + std::to_string(++number_);
  if (link_to(path, change.kept) != 0) change.kept.clear();
}

int PowerLoss::removing(const std::string& path, const std::function<int()>& call) {
  Change change{Change::Kind::kRemoved, path, "", "", false};
  keep(change, path);
  const int result = call();
  if (result == 0) pending_.push_back(change);
  return result;
}

int PowerLoss::renaming(const std::string& from, const std::string& to, const std::function<int()>& call) {
  Change change{Change::Kind::kRenamed, from, to, "", false};
  keep(change, to);
  const int result = call();
  if (result == 0) pending_.push_back(change);
  return result;
}

// A folder that is synced keeps its names, a file its bytes.
void PowerLoss::synced(int fd, const std::string& path) {
  const KeepErrno kept;
  struct stat status {};
  if (::fstat(fd, &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    synced_[status.st_ino] = status.st_size;
    return;
  }
  for (std::size_t i = 0; i < pending_.size();) {
    const Change change = pending_[i];
    if (parent_of(change.from) != path && (change.to.empty() || parent_of(change.to) != path)) {
      ++i;
      continue;
    }
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
    if (change.kind != Change::Kind::kRenamed) continue;
    // What happened before inside of what was renamed is undone where it stands now.
    for (std::size_t before = 0; before < i; ++before) {
      for (std::string* name : {&pending_[before].from, &pending_[before].to}) {
        if (name->starts_with(change.from + "/")) *name = change.to + name->substr(change.from.size());
      }
    }
  }
}

bool PowerLoss::undo(const Change& change) {
  switch (change.kind) {
    case Change::Kind::kMade:
      take_tree(change.from);
      return true;
    case Change::Kind::kRemoved:
      if (change.folder) return ::syscall(SYS_mkdirat, AT_FDCWD, change.from.c_str(), 0777) == 0;
      return change.kept.empty() || link_to(change.kept, change.from) == 0;
    case Change::Kind::kRenamed:
      if (move(change.to, change.from) != 0) return false;
      return change.kept.empty() || link_to(change.kept, change.to) == 0;
  }
  return false;
}

void PowerLoss::drop_bytes(const std::string& folder) {
  for (const std::string& name : names_in(folder)) {
    const std::string path = folder + "/" + name;
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) drop_bytes(path);
    const auto kept = synced_.find(status.st_ino);
    if (S_ISREG(status.st_mode) && kept != synced_.end() && status.st_size > kept->second) {
      ::syscall(SYS_truncate, path.c_str(), kept->second);
    }
  }
}

void PowerLoss::strike(Loss loss, unsigned seed) {
  for (std::size_t i = pending_.size(); i-- > 0 && loss != Loss::kBytes;) {
    seed = seed * 1664525u + 1013904223u;
    if (loss == Loss::kAll || (seed >> 16) % 2 == 0) undo(pending_[i]);
  }
  drop_bytes(folder_);
}

}  // namespace lowrank_test
