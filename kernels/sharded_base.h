// A frozen base that several processes hold together: each keeps some rows of every weight, and has the rest sent while
// it is used, a unit (a layer, the head) at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::kernels {

/// Rows [first, first + count) of the weight of this number, `bytes` in all, and where they are to come.
struct WantedRows {
  std::int64_t weight = 0, first = 0, count = 0;
  char* to = nullptr;
  std::size_t bytes = 0;
};

/// How rows go between the processes. Each asks for what it needs when it needs it, and answers the others meanwhile:
/// they need not run the same passes, nor as many.
class ShareExchange {
 public:
  virtual ~ShareExchange() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// The bytes of rows that this process holds; throws where it does not hold them.
  using Held = std::function<std::span<const std::byte>(std::int64_t weight, std::int64_t first, std::int64_t count)>;
  /// Once, on every rank: others are answered from now on, from threads of its own.
  virtual void open(Held held) = 0;
  /// What is wanted of each rank, by rank; all is there when it returns. One call at a time. Throws where a rank is lost.
  virtual void fetch(const std::vector<std::vector<WantedRows>>& by_rank) = 0;
};

/// Its weights are numbered in the order of add(), which is the same on every rank. Two layers (or the head, where that
/// is larger) are whole in memory at a time: the one in use, and the one that is likely next, which a thread fetches.
class ShardedBase : public std::enable_shared_from_this<ShardedBase> {
 public:
  explicit ShardedBase(std::unique_ptr<ShareExchange> exchange)
      : rank_(exchange->rank()), ranks_(exchange->ranks()), exchange_(std::move(exchange)) {}
  ~ShardedBase();
  ShardedBase(const ShardedBase&) = delete;
  ShardedBase& operator=(const ShardedBase&) = delete;

  static constexpr int kAlone = -1;
  /// The rows [first, second) of so many that fall to this rank.
  std::pair<std::int64_t, std::int64_t> share(std::int64_t rows) const { return share_of(rows, rank_); }
  /// W from its tensor [rows, columns] of the host, of which `held` is this rank's share, contiguous. Layers are numbered
  /// from 0 in the order of a forward pass; kAlone: it belongs to none. Its panels are there from open() on, and nothing
  /// before has views of it.
  std::shared_ptr<const BaseStorage> add(int layer, at::Tensor held, std::int64_t rows, bool transposed);
  /// All weights are added, on every rank.
  void open();

  /// Nothing is on its way from another rank when it returns, nor will be before a panel is asked for again: the other
  /// may go.
  void rest();

  bool opened() const { return opened_; }
  std::int64_t total_bytes() const { return total_bytes_; }   // of all weights
  std::int64_t held_bytes() const { return held_bytes_; }     // of this rank's rows
  std::int64_t buffer_bytes() const { return buffer_bytes_; } // for what is whole at a time
  struct Traffic {
    std::int64_t bytes = 0;     // that came from other ranks
    double waited_seconds = 0;  // of the program for them
  };
  Traffic traffic() const;

  // For its storages.
  struct Weight {
    at::Tensor held;
    std::int64_t rows, columns;
    bool transposed;
    int unit;
    std::int64_t at;  // its place in the unit's bytes
  };
  const Weight& weight(std::int64_t number) const { return weights_[static_cast<std::size_t>(number)]; }
  /// W in whole, whose panels stay where they are as long as someone has them.
  BaseWeight whole(std::int64_t number);
  /// Some rows of its tensor [T, columns] by int64 ids [T].
  at::Tensor rows_at(std::int64_t number, const at::Tensor& ids);

 private:
  enum class State { kAway, kComing, kHere };
  struct Unit {
    std::vector<std::int64_t> weights;
    std::int64_t bytes = 0;
    State state = State::kAway;
    std::uint64_t used = 0;
    std::map<std::int64_t, BaseWeight> whole;  // by number, where it is here
  };
  class Room;

  std::pair<std::int64_t, std::int64_t> share_of(std::int64_t rows, int rank) const;
  void bring(std::unique_lock<std::mutex>& lock, Unit& unit);
  void gather(const Unit& unit, const at::Tensor& to);
  bool make_way(const Unit& unit, const Unit* kept);
  void turn_to(int unit);
  void fetch_ahead();
  void fetch(const std::vector<std::vector<WantedRows>>& by_rank);

  const int rank_, ranks_;  // of the exchange, whose threads ask for them until it is gone
  std::unique_ptr<ShareExchange> exchange_;
  std::vector<Weight> weights_;
  std::map<int, Unit> units_;  // layers by number; below 0 a weight that belongs to none
  std::int64_t total_bytes_ = 0, held_bytes_ = 0, buffer_bytes_ = 0;
  bool opened_ = false;
  std::shared_ptr<Room> room_;

  mutable std::mutex mutex_, wire_;  // of the state; of the exchange
  std::condition_variable changed_;
  std::exception_ptr failed_;  // what a fetch threw: nothing comes any more
  std::uint64_t clock_ = 0;
  int current_ = kAlone - 1, last_layer_ = -1, direction_ = 1;
  std::optional<int> ahead_;  // the unit that the thread is to fetch
  bool ends_ = false;
  Traffic traffic_;
  std::thread thread_;
};

}  // namespace lowrank::kernels
