// Work that is done beside other work, by a thread of its own where there may be one.
#pragma once

#include <exception>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>

namespace lowrank::core {

class Beside {
 public:
  /// With fewer than two `threads`, and where the system gives none, `work` is done by wait().
  Beside(int threads, std::function<void()> work) : work_(std::move(work)) {
    if (threads < 2) return;
    try {
      thread_ = std::thread([this] {
        try {
          work_();
        } catch (...) {
          error_ = std::current_exception();
        }
      });
    } catch (const std::system_error&) {  // as many as there may be
    }
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;
  ~Beside() {
    if (thread_.joinable()) thread_.join();
  }

  /// Until it is done; once. Throws what it threw.
  void wait() {
    if (!thread_.joinable()) return work_();
    thread_.join();
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  std::function<void()> work_;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace lowrank::core
