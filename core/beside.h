// Work that is done beside other work, by a thread of its own where there may be one.
#pragma once

#include <cstddef>
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

constexpr std::size_t kMillions = std::size_t{1} << 20;  // of small items: from here on another thread is worth its start

/// `work(begin, end)` over 0..n, of millions in two halves, the second by a thread of its own where there may be two. They part at a multiple
/// of 64: no word of a vector<bool> is in both.
template <class Work>
void in_halves(int threads, std::size_t n, const Work& work) {
  const std::size_t middle = threads < 2 || n < kMillions ? n : n / 2 / 64 * 64;
  Beside second(middle < n ? threads : 1, [&] {
    if (middle < n) work(middle, n);
  });
  work(std::size_t{0}, middle);
  second.wait();
}

}  // namespace lowrank::core
