// TCP sockets with deadlines. Addresses are what getaddrinfo takes: names, IPv4, IPv6.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

namespace lowrank::train {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
inline Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void close();

 private:
  int fd_ = -1;
};

/// Listens on all addresses of this machine; port 0: any. IoError where that cannot be.
Socket listen_on(int port);
int port_of(const Socket& listening);
/// The next connection, or none by the deadline.
Socket accept_by(const Socket& listening, Clock::time_point deadline);

/// Tries until the deadline, since the other side may not be up yet. Empty, and why, where that came to nothing.
Socket connect_by(const std::string& host, int port, Clock::time_point deadline, std::string& why);

/// The numeric address of the other end, and of this one.
std::string peer_address(const Socket& socket);
std::string own_address(const Socket& socket);
bool is_loopback(const std::string& address);
/// All numeric addresses of this machine, loopback last, with commas between.
std::string own_addresses();

/// The kernel gives a connection up whose other machine has not answered for so long.
void give_up_after(const Socket& socket, double seconds);

/// All of it by the deadline, on a socket in any mode. False: it ended, failed or took too long.
bool send_by(const Socket& socket, const void* bytes, std::size_t count, Clock::time_point deadline);
bool receive_by(const Socket& socket, void* bytes, std::size_t count, Clock::time_point deadline);

}  // namespace lowrank::train
