// Progress goes out of the library through an observer; the app draws it. All methods may be called from the thread
// that does the work only.
#pragma once

#include <cstdint>
#include <string>

namespace lowrank::core {

class ProgressObserver {
 public:
  virtual ~ProgressObserver() = default;
  /// A piece of long work begins: what is done ("tokenizing", "packing weights"), how many units (0: unknown), the
  /// unit.
  virtual void begin(const std::string& /*what*/, std::int64_t /*total*/, const std::string& /*unit*/) {}
  virtual void advance(std::int64_t /*done*/) {}
  virtual void end() {}
  /// Something the user should know that is no error.
  virtual void warning(const std::string& /*message*/) {}
  virtual void note(const std::string& /*message*/) {}
};

}  // namespace lowrank::core
