#include "lowrank/kernels/sharded_base.h"

#include <ATen/ops/from_blob.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t row_bytes(const ShardedBase::Weight& weight) {
  return static_cast<std::size_t>(weight.columns) * weight.held.element_size();
}

/// W of which rows lie with other processes.
class ShardedStorage : public BaseStorage {
 public:
  ShardedStorage(std::shared_ptr<ShardedBase> base, std::int64_t number) : base_(std::move(base)), number_(number) {}

  std::int64_t out_features() const override { return transposed() ? own().columns : own().rows; }
  std::int64_t in_features() const override { return transposed() ? own().rows : own().columns; }
  at::ScalarType dtype() const override { return own().held.scalar_type(); }
  at::Device device() const override { return own().held.device(); }
  at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    return base_->whole(number_).rows(begin, n, dtype);
  }
  at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    return base_->whole(number_).columns(begin, n, dtype);
  }
  at::Tensor rows_at(const at::Tensor& ids) const override {
    return transposed() ? base_->whole(number_).rows_at(ids) : base_->rows_at(number_, ids);
  }
  // Products go the way of a dense weight, and so give its bytes.
  bool gives_views(at::ScalarType dtype) const override { return base_->opened() && dtype == this->dtype(); }
  bool transposed() const override { return own().transposed; }

 private:
  const ShardedBase::Weight& own() const { return base_->weight(number_); }

  std::shared_ptr<ShardedBase> base_;
  std::int64_t number_;
};

}  // namespace

/// The memory that whole units lie in: a place is free again when the last view of it is gone.
class ShardedBase::Room : public std::enable_shared_from_this<ShardedBase::Room> {
 public:
  explicit Room(std::int64_t bytes) : memory_(aten::empty({bytes}, at::TensorOptions(at::kByte))) {}

  /// Bytes that nobody looks at; of their own where views have outlived their unit and there is no place left.
  at::Tensor take(std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    std::int64_t begin = 0;
    for (const auto& [first, last] : taken_) {  // in order
      if (first - begin >= bytes) break;
      begin = last;
    }
    if (begin + bytes > memory_.numel()) return aten::empty({bytes}, at::TensorOptions(at::kByte));
    taken_[begin] = begin + bytes;
    return at::from_blob(memory_.mutable_data_ptr<std::uint8_t>() + begin, {bytes},
                         [room = shared_from_this(), begin](void*) { room->give_back(begin); }, at::TensorOptions(at::kByte));
  }

 private:
  void give_back(std::int64_t begin) {
    const std::lock_guard lock(mutex_);
    taken_.erase(begin);
  }

  at::Tensor memory_;
  std::mutex mutex_;
  std::map<std::int64_t, std::int64_t> taken_;
};

ShardedBase::~ShardedBase() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  exchange_.reset();  // its threads read the weights
}

std::pair<std::int64_t, std::int64_t> ShardedBase::share_of(std::int64_t rows, int rank) const {
  return {rows * rank / ranks_, rows * (rank + 1) / ranks_};
}

std::shared_ptr<const BaseStorage> ShardedBase::add(int layer, at::Tensor held, std::int64_t rows, bool transposed) {
  const auto [first, last] = share(rows);
  if (opened_ || held.dim() != 2 || held.size(0) != last - first || !held.is_contiguous() || !held.is_cpu())
    throw InternalError("kernels::ShardedBase: a rank's rows of a weight are expected, before it is opened");
  const auto number = static_cast<std::int64_t>(weights_.size());
  const int key = layer >= 0 ? layer : -1 - static_cast<int>(number);
  Unit& unit = units_[key];
  unit.weights.push_back(number);
  const std::int64_t columns = held.size(1);
  weights_.push_back({std::move(held), rows, columns, transposed, key, unit.bytes});
  const auto bytes = rows * static_cast<std::int64_t>(row_bytes(weights_.back()));
  unit.bytes += aligned(bytes);
  total_bytes_ += bytes;
  held_bytes_ += (last - first) * static_cast<std::int64_t>(row_bytes(weights_.back()));
  return std::make_shared<ShardedStorage>(shared_from_this(), number);
}

void ShardedBase::open() {
  if (opened_ || weights_.empty()) throw InternalError("kernels::ShardedBase is opened once, when it has weights");
  for (const auto& [key, unit] : units_) buffer_bytes_ = std::max(buffer_bytes_, key >= 0 ? 2 * unit.bytes : unit.bytes);
  room_ = std::make_shared<Room>(buffer_bytes_);
  exchange_->open([this](std::int64_t number, std::int64_t begin, std::int64_t count) -> std::span<const std::byte> {
    if (number < 0 || number >= static_cast<std::int64_t>(weights_.size()))
      throw InternalError("a rank asks for a weight that there is not");
    const Weight& weight = weights_[static_cast<std::size_t>(number)];
    const auto [first, last] = share(weight.rows);
    if (begin < first || count < 0 || count > last - begin)
      throw InternalError("a rank asks for rows that another one holds");
    const std::size_t each = row_bytes(weight);
    return {static_cast<const std::byte*>(weight.held.const_data_ptr()) + static_cast<std::size_t>(begin - first) * each,
            static_cast<std::size_t>(count) * each};
  });
  opened_ = true;
  sigset_t all, before;  // signals are for the thread that trains
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { fetch_ahead(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ShardedBase::rest() {
  std::unique_lock lock(mutex_);
  ahead_.reset();
  changed_.wait(lock, [&] {
    return std::none_of(units_.begin(), units_.end(), [](const auto& one) { return one.second.state == State::kComing; });
  });
}

ShardedBase::Traffic ShardedBase::traffic() const {
  const std::lock_guard lock(mutex_);
  return traffic_;
}

void ShardedBase::fetch(const std::vector<std::vector<WantedRows>>& by_rank) {
  const std::lock_guard lock(wire_);
  exchange_->fetch(by_rank);
}

void ShardedBase::gather(const Unit& unit, const at::Tensor& to) {
  char* const begin = static_cast<char*>(to.mutable_data_ptr());
  std::vector<std::vector<WantedRows>> wanted(static_cast<std::size_t>(ranks_));
  for (const std::int64_t number : unit.weights) {
    const Weight& weight = weights_[static_cast<std::size_t>(number)];
    const std::size_t each = row_bytes(weight);
    for (int r = 0; r < ranks_; ++r) {
      const auto [first, last] = share_of(weight.rows, r);
      const std::size_t bytes = static_cast<std::size_t>(last - first) * each;
      char* const place = begin + weight.at + static_cast<std::size_t>(first) * each;
      if (bytes == 0) continue;
      if (r == rank_) {
        std::memcpy(place, weight.held.const_data_ptr(), bytes);
      } else {
        wanted[static_cast<std::size_t>(r)].push_back({number, first, last - first, place, bytes});
      }
    }
  }
  fetch(wanted);
}

/// Lets units go, the longest unused first, until this one has a place beside the others; false where that takes `kept`.
bool ShardedBase::make_way(const Unit& unit, const Unit* kept) {
  for (;;) {
    std::int64_t taken = 0;
    Unit* oldest = nullptr;
    for (auto& [key, other] : units_) {
      if (other.state == State::kAway || &other == &unit) continue;
      taken += other.bytes;
      if (other.state == State::kHere && &other != kept && (oldest == nullptr || other.used < oldest->used))
        oldest = &other;
    }
    if (taken + unit.bytes <= buffer_bytes_) return true;
    if (oldest == nullptr) return false;
    oldest->whole.clear();
    oldest->state = State::kAway;
  }
}

void ShardedBase::bring(std::unique_lock<std::mutex>& lock, Unit& unit) {
  unit.state = State::kComing;
  lock.unlock();
  std::map<std::int64_t, BaseWeight> whole;
  std::exception_ptr error;
  try {
    const at::Tensor to = room_->take(unit.bytes);
    gather(unit, to);
    for (const std::int64_t number : unit.weights) {
      const Weight& one = weights_[static_cast<std::size_t>(number)];
      const auto bytes = one.rows * static_cast<std::int64_t>(row_bytes(one));
      const at::Tensor tensor = to.narrow(0, one.at, bytes).view(one.held.scalar_type()).view({one.rows, one.columns});
      whole.emplace(number, BaseWeight::dense(tensor, {}, {.transposed = one.transposed}));
    }
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  unit.whole = std::move(whole);
  unit.state = error ? State::kAway : State::kHere;
  unit.used = ++clock_;
  for (const std::int64_t number : unit.weights) {
    const Weight& one = weights_[static_cast<std::size_t>(number)];
    if (!error) traffic_.bytes += (one.rows - one.held.size(0)) * static_cast<std::int64_t>(row_bytes(one));
  }
  if (error) failed_ = error;
  changed_.notify_all();
}

/// The next unit is the next layer in the direction of the last two: up in a forward pass, down in a backward pass,
/// which begins where the forward pass ended.
void ShardedBase::turn_to(int unit) {
  current_ = unit;
  if (unit < 0) return;
  direction_ = unit == 0 || unit > last_layer_ ? 1 : -1;
  last_layer_ = unit;
  const auto next = units_.find(unit + direction_);
  if (next == units_.end() || next->first < 0 || next->second.state != State::kAway) return;
  ahead_ = next->first;
  changed_.notify_all();
}

BaseWeight ShardedBase::whole(std::int64_t number) {
  if (!opened_) throw InternalError("kernels::ShardedBase: a panel is asked for before the shares are opened");
  const int key = weights_[static_cast<std::size_t>(number)].unit;
  std::unique_lock lock(mutex_);
  Unit& unit = units_.at(key);
  const auto began = std::chrono::steady_clock::now();
  const bool waits = unit.state != State::kHere;
  while (unit.state != State::kHere) {
    if (failed_) std::rethrow_exception(failed_);
    if (unit.state == State::kComing) {
      changed_.wait(lock);
    } else {
      make_way(unit, nullptr);
      bring(lock, unit);
    }
  }
  if (waits)
    traffic_.waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  unit.used = ++clock_;
  if (key != current_) turn_to(key);
  return unit.whole.at(number);
}

void ShardedBase::fetch_ahead() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ends_ || (ahead_ && !failed_); });
    if (ends_) return;
    Unit& next = units_.at(*std::exchange(ahead_, std::nullopt));
    const auto current = units_.find(current_);
    if (next.state == State::kAway && make_way(next, current == units_.end() ? nullptr : &current->second))
      bring(lock, next);
  }
}

at::Tensor ShardedBase::rows_at(std::int64_t number, const at::Tensor& ids) {
  if (!opened_) throw InternalError("kernels::ShardedBase: rows are asked for before the shares are opened");
  const Weight& one = weight(number);
  const at::Tensor index = ids.contiguous();
  const std::int64_t* const id = index.const_data_ptr<std::int64_t>();
  const std::int64_t count = index.numel();
  const std::size_t each = row_bytes(one);
  at::Tensor result = aten::empty({count, one.columns}, one.held.options());
  char* const to = static_cast<char*>(result.mutable_data_ptr());
  std::vector<std::vector<WantedRows>> wanted(static_cast<std::size_t>(ranks_));
  const auto [first, last] = share(one.rows);
  std::int64_t came = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (id[i] < 0 || id[i] >= one.rows) throw InternalError("kernels::ShardedBase: a row is asked for that there is not");
    char* const place = to + static_cast<std::size_t>(i) * each;
    if (id[i] >= first && id[i] < last) {
      std::memcpy(place, static_cast<const char*>(one.held.const_data_ptr()) + static_cast<std::size_t>(id[i] - first) * each, each);
      continue;
    }
    int owner = 0;
    while (id[i] >= share_of(one.rows, owner).second) ++owner;
    wanted[static_cast<std::size_t>(owner)].push_back({number, id[i], 1, place, each});
    came += static_cast<std::int64_t>(each);
  }
  const auto began = std::chrono::steady_clock::now();
  if (came > 0) fetch(wanted);
  const std::lock_guard lock(mutex_);
  traffic_.bytes += came;
  traffic_.waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return result;
}

}  // namespace lowrank::kernels
