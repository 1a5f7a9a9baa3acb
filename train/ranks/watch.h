// A thread that sends and hears signs of life: rank 0 hears all others, and they hear it. It knows first when a rank
// has ended, hangs or stopped with an error, and tells all.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lowrank/train/ranks/peer.h"
#include "lowrank/train/ranks/sockets.h"

namespace lowrank::train {

class Watch {
 public:
  /// `lines`: control connections by rank; rank 0 has one to each other rank, they have one to it.
  /// `timeout`: seconds without a sign of life after which a rank counts as hanging.
  Watch(int own, std::vector<Peer> peers, std::vector<Socket> lines, double timeout);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Throws what is known: RankLost, or an Error of the kind that another rank stopped with.
  void check();
  /// A descriptor that can be read once check() throws: to be waited for with others.
  int descriptor() const { return wake_[0]; }
  /// A connection to this rank has broken: throws what the watch comes to know of it within a little while, else that.
  [[noreturn]] void lost(int rank, const std::string& how);

  /// This rank stops with an error; the others are told, where it is not of them that it knows. Whether rank 0 knows.
  bool fail(ErrorKind kind, const std::string& message);
  /// Waits at most so many seconds for rank 0 to end. A launcher may end all others as soon as one of them has, before rank 0 has
  /// said what there is to say.
  void outlived_by_first(double seconds);
  /// This rank has done its work: its end is no fault.
  void leave();

 private:
  struct Fault {
    bool lost;
    ErrorKind kind;
    std::string text;
  };
  void run();
  void hear(int rank);
  void note(Fault fault);  // the first counts; rank 0 tells the others
  void tell_all(const Fault& fault);
  void close(std::size_t rank);

  const int own_;
  const std::vector<Peer> peers_;
  std::vector<Socket> lines_;  // read by the thread alone; sent on and closed under sending_
  const double timeout_;
  std::vector<Clock::time_point> heard_;
  std::vector<bool> left_;
  std::mutex sending_, mutex_;
  std::condition_variable known_;
  std::optional<Fault> fault_;
  bool first_ended_ = false;
  int wake_[2] = {-1, -1}, end_[2] = {-1, -1};
  std::atomic<bool> ends_{false}, told_by_first_{false};
  std::thread thread_;
};

}  // namespace lowrank::train
