// Work that leaves nothing behind when a signal ends it.
#pragma once

#include <atomic>
#include <string>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

/// Thrown out of stopped work; the process then ends with 128 + its number.
struct Stopped {
  int signal;
};

/// A view whose work ends at its next sign of progress once SIGINT or SIGTERM has come: what it was making is taken away
/// on the way out. A second signal ends the process at once.
template <typename View>
class Stoppable : public View {
 public:
  explicit Stoppable(const Console& console) : View(console), stop_(catch_stop_signals()) {}
  void begin(const std::string& what, std::int64_t total, const std::string& unit) override {
    look();
    View::begin(what, total, unit);
  }
  void advance(std::int64_t done) override {
    look();
    View::advance(done);
  }

 private:
  void look() const {
    if (const int signal = stop_; signal != 0) throw Stopped{signal};
  }
  std::atomic<int>& stop_;
};

using StoppableProgress = Stoppable<ConsoleProgress>;

}  // namespace lowrank::apps
