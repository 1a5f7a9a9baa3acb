// begin() of a ProgressObserver and, however the work ends, end().
#pragma once

#include "lowrank/core/progress.h"

namespace lowrank::core {

class ProgressScope {
 public:
  /// `observer` may be null; then nothing happens.
  ProgressScope(ProgressObserver* observer, const std::string& what, std::int64_t total, const std::string& unit)
      : observer_(observer) {
    if (observer_ != nullptr) observer_->begin(what, total, unit);
  }
  ~ProgressScope() {
    if (observer_ != nullptr) observer_->end();
  }
  ProgressScope(const ProgressScope&) = delete;
  ProgressScope& operator=(const ProgressScope&) = delete;

  void advance(std::int64_t done) const {
    if (observer_ != nullptr) observer_->advance(done);
  }

 private:
  ProgressObserver* observer_;
};

}  // namespace lowrank::core
