// What a power cut leaves of a folder: the journal of its names and bytes that were not synced yet, and the cut itself. Only
// system calls of its own: it lives inside a preloaded library that has the C library's names.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lowrank_test {

enum class Loss {
  kAll,    // names and bytes
  kBytes,  // names are kept, as file systems do that order them before the bytes
  kMixed,  // of the names some, of the bytes all
};

class PowerLoss {
 public:
  /// What it must keep for the cut lies in `folder`.removed.
  explicit PowerLoss(const std::string& folder);

  // Each just after the call, or around it; errno is left as the call left it.
  void opened(int fd);                         // a file that was there, to be written
  void made(const std::string& path, int fd);  // a new one
  int making(const std::string& path, const std::function<int()>& call);  // a folder, a link
  int removing(const std::string& path, const std::function<int()>& call);
  int renaming(const std::string& from, const std::string& to, const std::function<int()>& call);
  void synced(int fd, const std::string& path);

  /// Takes away what was not synced. `seed`: of which names of kMixed.
  void strike(Loss loss, unsigned seed);

 private:
  struct Change {
    enum class Kind { kMade, kRemoved, kRenamed } kind = Kind::kMade;
    std::string from, to, kept;  // kept: another name of what was removed or replaced; empty: of nothing, or of a folder
    bool folder = false;
  };
  void keep(Change& change, const std::string& path);
  bool undo(const Change& change);
  void drop_bytes(const std::string& folder);

  std::string folder_, removed_;
  std::vector<Change> pending_;
  std::map<ino_t, off_t> synced_;  // bytes that a file keeps
  int number_ = 0;
};

}  // namespace lowrank_test
