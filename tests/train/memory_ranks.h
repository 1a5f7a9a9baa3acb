// Ranks as threads of one process: a GradSync over memory that they share.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lowrank/train/grad_sync.h"

namespace lowrank_test {

namespace train = lowrank::train;

/// Who comes last lets all go on.
class Meeting {
 public:
  explicit Meeting(int ranks) : ranks_(ranks) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const std::int64_t round = round_;
    if (++there_ == ranks_) {
      there_ = 0;
      ++round_;
      all_.notify_all();
      return;
    }
    all_.wait(lock, [&] { return round_ != round; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  int ranks_, there_ = 0;
  std::int64_t round_ = 0;
};

struct SharedMemory {
  explicit SharedMemory(int ranks) : meeting(ranks), gradients(ranks), totals(ranks), bytes(ranks) {}
  Meeting meeting;
  std::vector<at::Tensor> gradients;
  std::vector<train::StepTotals> totals;
  std::vector<std::string> bytes;
};

class MemoryRank : public train::GradSync {
 public:
  MemoryRank(std::shared_ptr<SharedMemory> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}
  int rank() const override { return rank_; }
  int ranks() const override { return static_cast<int>(shared_->bytes.size()); }

  void sum(at::Tensor& gradients, train::StepTotals& totals) override {
    const auto own = static_cast<std::size_t>(rank_);
    shared_->gradients[own] = gradients.clone();
    shared_->totals[own] = totals;
    shared_->meeting.wait();
    at::Tensor all = shared_->gradients[0].clone();
    train::StepTotals sums = shared_->totals[0];
    for (std::size_t r = 1; r < shared_->gradients.size(); ++r) {
      all.add_(shared_->gradients[r]);
      const train::StepTotals& more = shared_->totals[r];
      sums.loss += more.loss;
      sums.count += more.count;
      sums.tokens += more.tokens;
      for (const auto& [name, value] : more.metrics) sums.metrics[name] += value;
    }
    gradients.copy_(all);
    totals = sums;
    shared_->meeting.wait();
  }

  std::vector<std::string> gather(const std::string& bytes) override {
    shared_->bytes[static_cast<std::size_t>(rank_)] = bytes;
    shared_->meeting.wait();
    std::vector<std::string> all = shared_->bytes;
    shared_->meeting.wait();
    return all;
  }

 private:
  std::shared_ptr<SharedMemory> shared_;
  int rank_;
};

/// `work` of each rank in a thread of its own; the first rank's error is thrown when all have ended, else the next's.
inline void on_ranks(int ranks, const std::function<void(train::GradSync&)>& work) {
  const auto shared = std::make_shared<SharedMemory>(ranks);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      try {
        MemoryRank rank(shared, r);
        work(rank);
      } catch (...) {
        errors[static_cast<std::size_t>(r)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace lowrank_test
