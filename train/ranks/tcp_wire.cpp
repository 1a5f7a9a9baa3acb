#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "lowrank/train/ranks/wire.h"

namespace lowrank::train {
namespace {

constexpr int kLook = 1000;  // milliseconds after which the watch is asked although nothing came

class TcpWire : public Wire {
 public:
  explicit TcpWire(std::vector<Socket> sockets) : sockets_(std::move(sockets)) {}
  std::string name() const override { return "TCP"; }

  void move(const std::vector<Transfer>& transfers, Watch& watch) override {
    std::vector<Queues> queues(sockets_.size());
    std::size_t open = 0;
    for (const Transfer& one : transfers) {
      if (one.count == 0) continue;
      Queues& of_peer = queues[static_cast<std::size_t>(one.peer)];
      (one.send ? of_peer.sends : of_peer.receives).push_back(one);
      ++open;
    }
    std::vector<pollfd> waits;
    std::vector<std::size_t> ranks;
    while (open > 0) {
      waits.assign(1, {watch.descriptor(), POLLIN, 0});
      ranks.assign(1, 0);
      for (std::size_t r = 0; r < queues.size(); ++r) {
        const short events = static_cast<short>((queues[r].sends.empty() ? 0 : POLLOUT) |
                                                (queues[r].receives.empty() ? 0 : POLLIN));
        if (events == 0) continue;
        waits.push_back({sockets_[r].fd(), events, 0});
        ranks.push_back(r);
      }
      if (::poll(waits.data(), waits.size(), kLook) < 0 && errno != EINTR)
        throw IoError(std::string("waiting for the other ranks failed: ") + std::strerror(errno));
      if (waits[0].revents != 0) watch.check();
      for (std::size_t i = 1; i < waits.size(); ++i) {
        if (waits[i].revents == 0) continue;
        Queues& of_peer = queues[ranks[i]];
        // Errors show in what is then sent or received.
        if (!of_peer.sends.empty()) open -= send_some(ranks[i], of_peer.sends, watch);
        if (!of_peer.receives.empty()) open -= receive_some(ranks[i], of_peer.receives, watch);
      }
    }
  }

 private:
  struct Queues {
    std::deque<Transfer> sends, receives;
  };

  /// As much as goes without waiting; how many transfers that ended.
  std::size_t send_some(std::size_t rank, std::deque<Transfer>& queue, Watch& watch) {
    return some(rank, queue, watch, [&](Transfer& one) {
      return ::send(sockets_[rank].fd(), one.bytes, one.count, MSG_NOSIGNAL | MSG_DONTWAIT);
    });
  }
  std::size_t receive_some(std::size_t rank, std::deque<Transfer>& queue, Watch& watch) {
    return some(rank, queue, watch, [&](Transfer& one) {
      const ssize_t got = ::recv(sockets_[rank].fd(), one.bytes, one.count, MSG_DONTWAIT);
      if (got == 0) watch.lost(static_cast<int>(rank), "it was closed there");
      return got;
    });
  }
  template <typename Call>
  static std::size_t some(std::size_t rank, std::deque<Transfer>& queue, Watch& watch, const Call& call) {
    std::size_t ended = 0;
    while (!queue.empty()) {
      Transfer& one = queue.front();
      const ssize_t done = call(one);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
      if (done < 0) watch.lost(static_cast<int>(rank), std::strerror(errno));
      one.bytes += done;
      one.count -= static_cast<std::size_t>(done);
      if (one.count > 0) continue;
      queue.pop_front();
      ++ended;
    }
    return ended;
  }

  std::vector<Socket> sockets_;
};

}  // namespace

std::unique_ptr<Wire> tcp_wire(std::vector<Socket> sockets) { return std::make_unique<TcpWire>(std::move(sockets)); }

}  // namespace lowrank::train
