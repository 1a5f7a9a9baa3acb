// Work on what is read, done by several threads and taken in the order it was read in.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lowrank/data/encoder.h"

namespace lowrank::data {

class EncodeQueue {
 public:
  using Job = std::function<Encoded()>;  // may throw; called once, by any thread
  struct Origin {
    std::string where;
    std::uint32_t source = 0;
  };
  using Take = std::function<void(Encoded, const Origin&)>;

  /// `take` is called by add() and finish() alone, in the order of add(); what a job throws is thrown there in its
  /// place. No thread is begun for less than some hundred kilobytes, nor with `threads` 1.
  EncodeQueue(int threads, Take take) : threads_(threads), take_(std::move(take)) {}
  ~EncodeQueue();
  EncodeQueue(const EncodeQueue&) = delete;
  EncodeQueue& operator=(const EncodeQueue&) = delete;

  /// `bytes`: about what the job holds. Waits, and does jobs itself, where more than some megabytes are pending.
  void add(Job job, Origin origin, std::size_t bytes);
  /// Takes all that is left.
  void finish();

 private:
  struct Item {
    Job job;
    Origin origin;
    Encoded encoded = {};
    std::exception_ptr error = nullptr;
  };
  struct Block {
    std::vector<Item> items;
    std::size_t bytes = 0;
    bool begun = false, done = false;
  };

  static void work(Block& block);
  void close_block();
  bool work_on_one(std::unique_lock<std::mutex>& lock);  // false: there is none to begin
  void take_done(std::unique_lock<std::mutex>& lock);
  void loop();

  const int threads_;
  Take take_;
  std::shared_ptr<Block> open_;                // being filled
  std::deque<std::shared_ptr<Block>> blocks_;  // in order
  std::size_t pending_ = 0;                    // bytes of blocks_
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable work_, done_;
  bool ended_ = false;
};

}  // namespace lowrank::data
