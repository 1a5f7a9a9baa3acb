#include "lowrank/data/encode_queue.h"

#include <algorithm>
#include <utility>

namespace lowrank::data {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 18;    // bytes that one thread does at a time
constexpr std::size_t kPending = std::size_t{1} << 24;  // that may wait

}  // namespace

EncodeQueue::~EncodeQueue() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  work_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void EncodeQueue::work(Block& block) {
  for (Item& item : block.items) {
    try {
      item.encoded = item.job();
    } catch (...) {
      item.error = std::current_exception();
    }
    item.job = nullptr;
  }
}

void EncodeQueue::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_) {
    if (!work_on_one(lock)) work_.wait(lock);
  }
}

bool EncodeQueue::work_on_one(std::unique_lock<std::mutex>& lock) {
  const auto found = std::find_if(blocks_.begin(), blocks_.end(), [](const auto& block) { return !block->begun; });
  if (found == blocks_.end()) return false;
  const std::shared_ptr<Block> block = *found;
  block->begun = true;
  lock.unlock();
  work(*block);
  lock.lock();
  block->done = true;
  done_.notify_one();
  return true;
}

void EncodeQueue::take_done(std::unique_lock<std::mutex>& lock) {
  while (!blocks_.empty() && blocks_.front()->done) {
    const std::shared_ptr<Block> block = std::move(blocks_.front());
    blocks_.pop_front();
    pending_ -= block->bytes;
    lock.unlock();
    for (Item& item : block->items) {
      if (item.error) std::rethrow_exception(item.error);
      take_(std::move(item.encoded), item.origin);
    }
    lock.lock();
  }
}

void EncodeQueue::close_block() {
  while (static_cast<int>(workers_.size()) + 1 < threads_) workers_.emplace_back([this] { loop(); });
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pending_ += open_->bytes;
    blocks_.push_back(std::move(open_));
  }
  open_ = nullptr;
  work_.notify_one();
}

void EncodeQueue::add(Job job, Origin origin, std::size_t bytes) {
  if (threads_ <= 1) return take_(job(), origin);
  if (open_ == nullptr) open_ = std::make_shared<Block>();
  open_->items.push_back({std::move(job), std::move(origin)});
  open_->bytes += bytes + sizeof(Item);
  if (open_->bytes < kBlock) return;
  close_block();
  std::unique_lock<std::mutex> lock(mutex_);
  take_done(lock);
  while (pending_ > kPending) {
    if (!work_on_one(lock) && !blocks_.front()->done) done_.wait(lock);
    take_done(lock);
  }
}

void EncodeQueue::finish() {
  if (threads_ <= 1) return;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!blocks_.empty()) {
    if (!work_on_one(lock) && !blocks_.front()->done) done_.wait(lock);
    take_done(lock);
  }
  if (open_ == nullptr) return;
  const std::shared_ptr<Block> last = std::move(open_);
  open_ = nullptr;
  lock.unlock();
  work(*last);
  for (Item& item : last->items) {
    if (item.error) std::rethrow_exception(item.error);
    take_(std::move(item.encoded), item.origin);
  }
}

}  // namespace lowrank::data
