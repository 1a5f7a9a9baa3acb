#include "lowrank/train/ranks/watch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lowrank/train/ranks/messages.h"

namespace lowrank::train {
namespace {

constexpr double kBeat = 1, kSend = 5;  // seconds between signs of life; that a message may take to be sent

}  // namespace

Watch::Watch(int own, std::vector<Peer> peers, std::vector<Socket> lines, double timeout)
    : own_(own),
      peers_(std::move(peers)),
      lines_(std::move(lines)),
      timeout_(timeout),
      heard_(peers_.size(), Clock::now()),
      left_(peers_.size(), false) {
  if (::pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0 || ::pipe2(end_, O_CLOEXEC | O_NONBLOCK) != 0)
    throw IoError(std::string("no pipe for the watch over ranks: ") + std::strerror(errno));
  sigset_t all, before;  // signals are for the thread that trains
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watch::~Watch() {
  ends_ = true;
  [[maybe_unused]] const ssize_t ignored = ::write(end_[1], "x", 1);
  thread_.join();
  for (const int fd : {wake_[0], wake_[1], end_[0], end_[1]}) ::close(fd);
}

void Watch::run() {
  const double beat = std::min(kBeat, timeout_ / 4);
  Clock::time_point next = Clock::now(), last = Clock::now();
  while (!ends_) {
    const Clock::time_point now = Clock::now();
    // This process was itself stopped, or the machine asleep: the others had no chance to be heard.
    if (Seconds(now - last).count() > timeout_ / 2) std::fill(heard_.begin(), heard_.end(), now);
    last = now;
    if (now >= next) {
      next = now + std::chrono::duration_cast<Clock::duration>(Seconds(beat));
      const std::lock_guard<std::mutex> lock(sending_);
      // What cannot be sent at once is not waited for: this thread has to hear the others.
      for (const Socket& line : lines_)
        if (line) send_message(line, {MessageKind::kBeat, ""}, now);
    }
    std::vector<pollfd> waits = {{end_[0], POLLIN, 0}};
    std::vector<int> ranks = {-1};
    for (std::size_t r = 0; r < lines_.size(); ++r) {
      if (!lines_[r]) continue;
      waits.push_back({lines_[r].fd(), POLLIN, 0});
      ranks.push_back(static_cast<int>(r));
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
    ::poll(waits.data(), waits.size(), static_cast<int>(std::max<long long>(1, left)));
    for (std::size_t i = 1; i < waits.size(); ++i)
      if (waits[i].revents != 0) hear(ranks[i]);
    for (std::size_t r = 0; r < lines_.size(); ++r) {
      const double silent = Seconds(Clock::now() - heard_[r]).count();
      if (!lines_[r] || left_[r] || silent <= timeout_) continue;
      note({true, ErrorKind::kIo,
            fmt::format("{} has given no sign of life for {:.0f} s: it hangs, or the network to it is cut",
                        peers_[r].name(), silent)});
      close(r);
    }
  }
}

void Watch::hear(int rank) {
  const auto r = static_cast<std::size_t>(rank);
  const std::optional<Message> message = receive_message(lines_[r], after(kSend));
  heard_[r] = Clock::now();
  if (!message) {
    close(r);
    if (rank == 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      first_ended_ = true;
    }
    known_.notify_all();
    if (!left_[r]) note({true, ErrorKind::kIo, fmt::format("{} has ended, or its connection broke", peers_[r].name())});
    return;
  }
  const auto told = [&] {
    const int digit = message->text.empty() ? 0 : message->text[0] - '0';
    return std::pair(static_cast<ErrorKind>(std::clamp(digit, 0, static_cast<int>(ErrorKind::kInternal))),
                     message->text.substr(std::min<std::size_t>(2, message->text.size())));
  };
  switch (message->kind) {
    case MessageKind::kFailed: {
      const auto [kind, text] = told();
      left_[r] = true;
      if (rank == 0) told_by_first_ = true;
      note({false, kind, fmt::format("{} stopped: {}", peers_[r].name(), text)});
      break;
    }
    case MessageKind::kStop: {
      const auto [kind, text] = told();
      told_by_first_ = true;
      note({message->text.size() > 1 && message->text[1] == 'l', kind, text});
      break;
    }
    case MessageKind::kBye:
      left_[r] = true;
      break;
    default:
      break;
  }
}

void Watch::note(Fault fault) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fault_) return;
    fault_ = fault;
  }
  [[maybe_unused]] const ssize_t ignored = ::write(wake_[1], "x", 1);
  known_.notify_all();
  if (own_ == 0) tell_all(fault);
}

void Watch::close(std::size_t rank) {
  const std::lock_guard<std::mutex> lock(sending_);
  lines_[rank].close();
}

void Watch::tell_all(const Fault& fault) {
  const std::string text =
      std::string(1, static_cast<char>('0' + static_cast<int>(fault.kind))) + (fault.lost ? "l" : "e") + fault.text;
  const std::lock_guard<std::mutex> lock(sending_);
  for (const Socket& line : lines_)
    if (line) send_message(line, {MessageKind::kStop, text}, after(kSend));
}

void Watch::check() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!fault_) return;
  if (fault_->lost) throw RankLost(fault_->text);
  throw Error(fault_->kind, fault_->text);
}

void Watch::lost(int rank, const std::string& how) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    known_.wait_for(lock, Seconds(std::min(5.0, timeout_)), [&] { return fault_.has_value(); });
  }
  check();
  throw RankLost(fmt::format("the connection to {} broke: {}", peers_[static_cast<std::size_t>(rank)].name(), how));
}

bool Watch::fail(ErrorKind kind, const std::string& message) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fault_) return own_ == 0 || told_by_first_;
    fault_ = Fault{false, kind, message};
  }
  const std::string text = std::string(1, static_cast<char>('0' + static_cast<int>(kind))) + "e" + message;
  bool told = true;
  const std::lock_guard<std::mutex> lock(sending_);
  for (const Socket& line : lines_) {
    if (line) told = send_message(line, {MessageKind::kFailed, text}, after(kSend)) && told;
  }
  return told;
}

void Watch::outlived_by_first(double seconds) {
  if (own_ == 0) return;
  std::unique_lock<std::mutex> lock(mutex_);
  known_.wait_for(lock, Seconds(seconds), [&] { return first_ended_; });
}

void Watch::leave() {
  const std::lock_guard<std::mutex> lock(sending_);
  for (const Socket& line : lines_)
    if (line) send_message(line, {MessageKind::kBye, ""}, after(kSend));
}

}  // namespace lowrank::train
