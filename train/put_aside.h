// What `overwrite` replaces, kept until the new one writes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::train {

/// Files and folders of `out` in a folder beside them: until what replaces them begins, it may still be refused, and they
/// are somebody's work. They come back where this ends before forget(), or, where the process died, the next time that one
/// is made. `out` is locked by the caller.
class PutAside {
 public:
  /// Brings back what an earlier process put aside, and then puts these aside, those that are there.
  PutAside(std::filesystem::path out, const std::vector<std::string>& names);
  ~PutAside();
  PutAside(const PutAside&) = delete;
  PutAside& operator=(const PutAside&) = delete;

  void bring_back() const;
  void forget();

 private:
  std::filesystem::path out_, aside_;
};

}  // namespace lowrank::train
