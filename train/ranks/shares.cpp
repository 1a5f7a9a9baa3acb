#include "lowrank/train/ranks/shares.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <thread>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/train/ranks/sockets.h"
#include "lowrank/train/ranks/wire.h"

namespace lowrank::train {
namespace {

constexpr double kMeet = 60, kHello = 5;  // seconds
constexpr double kTransfer = 3600;        // of an answer; who does not take it longer than that has been given up
constexpr std::uint64_t kMostRows = std::uint64_t{1} << 24;  // of a question

/// Says on a new connection who asks, and whom.
struct Tag {
  std::array<char, 8> magic{'l', 'o', 'w', 'r', 'b', 'a', 's', 'e'};
  std::uint32_t rank = 0, port = 0;
};

struct Question {
  std::int64_t weight = 0, first = 0, count = 0;
};

class RankShares : public kernels::ShareExchange {
 public:
  RankShares(GradSync& sync, const std::vector<Peer>& peers, Watch& watch)
      : rank_(sync.rank()), ranks_(sync.ranks()), watch_(watch), answering_(peers.size()) {
    const Socket listening = listen_on(0);
    const int own = port_of(listening);
    const std::vector<std::string> ports = sync.gather(std::to_string(own));
    const Clock::time_point deadline = after(kMeet);
    std::vector<Socket> asking(peers.size());
    for (std::size_t r = 0; r < peers.size(); ++r) {
      if (static_cast<int>(r) == rank_) continue;
      Tag tag;
      tag.rank = static_cast<std::uint32_t>(rank_);
      std::from_chars(ports[r].data(), ports[r].data() + ports[r].size(), tag.port);
      const std::string address = peers[r].address.empty() ? "127.0.0.1" : peers[r].address;
      std::string why;
      asking[r] = connect_by(address, static_cast<int>(tag.port), deadline, why);
      if (!asking[r] || !send_by(asking[r], &tag, sizeof(tag), deadline))
        throw RankLost(fmt::format("{} cannot be reached at {} port {} for its share of the base: {}; ranks connect to "
                                   "each other on ports of the kernel's choice, which a firewall must let through",
                                   peers[r].name(), address, tag.port, why));
    }
    for (int left = ranks_ - 1; left > 0;) {
      Socket socket = accept_by(listening, deadline);
      if (!socket) throw RankLost(fmt::format("{} ranks have not connected in time for this one's share of the base", left));
      Tag tag, expected;
      const bool ours = receive_by(socket, &tag, sizeof(tag), after(kHello)) && tag.magic == expected.magic &&
                        tag.port == static_cast<std::uint32_t>(own) && tag.rank < answering_.size() &&
                        static_cast<int>(tag.rank) != rank_ && !answering_[tag.rank];
      if (!ours) continue;
      answering_[tag.rank] = std::move(socket);
      --left;
    }
    wire_ = tcp_wire(std::move(asking));
  }

  ~RankShares() override {
    for (const Socket& socket : answering_)
      if (socket) ::shutdown(socket.fd(), SHUT_RDWR);
    for (std::thread& thread : threads_) thread.join();
  }

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }

  void open(Held held) override {
    held_ = std::move(held);
    sigset_t all, before;  // signals are for the thread that trains
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    for (const Socket& socket : answering_)
      if (socket) threads_.emplace_back([this, &socket] { answer(socket); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void fetch(const std::vector<std::vector<kernels::WantedRows>>& by_rank) override {
    std::vector<std::string> questions(by_rank.size());
    std::vector<Transfer> transfers;
    for (std::size_t r = 0; r < by_rank.size(); ++r) {
      if (by_rank[r].empty()) continue;
      const auto add = [&](const auto& value) {
        questions[r].append(reinterpret_cast<const char*>(&value), sizeof(value));
      };
      add(static_cast<std::uint64_t>(by_rank[r].size()));
      for (const kernels::WantedRows& rows : by_rank[r]) add(Question{rows.weight, rows.first, rows.count});
      transfers.push_back({static_cast<int>(r), true, questions[r].data(), questions[r].size()});
      for (const kernels::WantedRows& rows : by_rank[r])
        transfers.push_back({static_cast<int>(r), false, rows.to, rows.bytes});
    }
    wire_->move(transfers, watch_);
  }

 private:
  /// Until the connection ends: why it does, the watch knows.
  void answer(const Socket& socket) const {
    try {
      for (;;) {
        pollfd one{socket.fd(), POLLIN, 0};
        ::poll(&one, 1, -1);
        std::uint64_t count = 0;
        if (!receive_by(socket, &count, sizeof(count), after(kTransfer)) || count > kMostRows) return;
        std::vector<Question> questions(count);
        if (!receive_by(socket, questions.data(), count * sizeof(Question), after(kTransfer))) return;
        for (const Question& question : questions) {
          const auto bytes = held_(question.weight, question.first, question.count);
          if (!send_by(socket, bytes.data(), bytes.size(), after(kTransfer))) return;
        }
      }
    } catch (const std::exception&) {  // no question of ours: who asked sees the connection's end
      ::shutdown(socket.fd(), SHUT_RDWR);
    }
  }

  const int rank_, ranks_;
  Watch& watch_;
  std::vector<Socket> answering_;  // by rank
  std::unique_ptr<Wire> wire_;     // on which this rank asks
  Held held_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<kernels::ShareExchange> share_exchange(GradSync& sync, const std::vector<Peer>& peers, Watch& watch) {
  return std::make_unique<RankShares>(sync, peers, watch);
}

}  // namespace lowrank::train
