#include "lowrank/train/ranks/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "lowrank/core/error.h"

namespace lowrank::train {
namespace {

constexpr double kTryAgain = 0.1, kOneTry = 5;  // seconds

int milliseconds_to(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 3600 * 1000));
}

/// Whether `events` come before the deadline.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    pollfd one{fd, events, 0};
    const int ready = ::poll(&one, 1, milliseconds_to(deadline));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

void set(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof(value)); }

void prepare(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

Socket connect_once(const addrinfo& to, Clock::time_point deadline, std::string& why) {
  Socket socket(::socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) {
    why = std::strerror(errno);
    return {};
  }
  if (::connect(socket.fd(), to.ai_addr, to.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) {
      why = std::strerror(errno);
      return {};
    }
    if (!wait_for(socket.fd(), POLLOUT, std::min(deadline, after(kOneTry)))) {
      why = "no answer";
      return {};
    }
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      why = std::strerror(error);
      return {};
    }
  }
  prepare(socket.fd());
  return socket;
}

using Name = int (*)(int, sockaddr*, socklen_t*);

sockaddr_storage end_of(const Socket& socket, Name name) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (name(socket.fd(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) storage.ss_family = AF_UNSPEC;
  return storage;
}

std::string numeric(const sockaddr_storage& storage) {
  char host[NI_MAXHOST] = "";
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&storage), sizeof(storage), host, sizeof(host), nullptr, 0,
                NI_NUMERICHOST);
  const std::string address = host;
  return address.starts_with("::ffff:") ? address.substr(7) : address;  // IPv4 on a socket of both
}

}  // namespace

void Socket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Socket listen_on(int port) {
  std::string why;
  for (const int family : {AF_INET6, AF_INET}) {
    Socket socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
      why = std::strerror(errno);
      continue;
    }
    set(socket.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
    sockaddr_storage storage{};
    socklen_t size = sizeof(sockaddr_in);
    storage.ss_family = static_cast<sa_family_t>(family);
    if (family == AF_INET6) {
      set(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
      reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(static_cast<std::uint16_t>(port));
      size = sizeof(sockaddr_in6);
    } else {
      reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(static_cast<std::uint16_t>(port));
    }
    if (::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&storage), size) == 0 &&
        ::listen(socket.fd(), SOMAXCONN) == 0) {
      return socket;
    }
    why = std::strerror(errno);
    if (errno == EADDRINUSE) break;
  }
  throw IoError("cannot listen on port " + std::to_string(port) + " for the other ranks: " + why +
                "; choose another MASTER_PORT");
}

int port_of(const Socket& listening) {
  const sockaddr_storage storage = end_of(listening, ::getsockname);
  return ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(storage).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

Socket accept_by(const Socket& listening, Clock::time_point deadline) {
  while (wait_for(listening.fd(), POLLIN, deadline)) {
    Socket socket(::accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) continue;  // it went again
    prepare(socket.fd());
    return socket;
  }
  return {};
}

Socket connect_by(const std::string& host, int port, Clock::time_point deadline, std::string& why) {
  for (;;) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0 && host == "localhost")  // which a system without /etc/hosts does not know
      error = ::getaddrinfo("127.0.0.1", std::to_string(port).c_str(), &hints, &found);
    if (error != 0) why = ::gai_strerror(error);  // a name may come to be known a little later
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      if (Socket socket = connect_once(*one, deadline, why)) {
        ::freeaddrinfo(found);
        return socket;
      }
    }
    if (found != nullptr) ::freeaddrinfo(found);
    if (Clock::now() >= deadline) return {};
    std::this_thread::sleep_for(Seconds(kTryAgain));
  }
}

std::string peer_address(const Socket& socket) { return numeric(end_of(socket, ::getpeername)); }
std::string own_address(const Socket& socket) { return numeric(end_of(socket, ::getsockname)); }
bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

std::string own_addresses() {
  std::string list;
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) return "127.0.0.1";
  for (const ifaddrs* one = found; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, one->ifa_addr, sizeof(sockaddr_in));
    const std::string address = numeric(storage);
    if (!is_loopback(address)) list += address + ",";
  }
  ::freeifaddrs(found);
  return list + "127.0.0.1";
}

void give_up_after(const Socket& socket, double seconds) {
  const int third = std::max(1, static_cast<int>(seconds / 3));
  set(socket.fd(), SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket.fd(), IPPROTO_TCP, TCP_KEEPIDLE, third);
  set(socket.fd(), IPPROTO_TCP, TCP_KEEPINTVL, third);
  set(socket.fd(), IPPROTO_TCP, TCP_KEEPCNT, 2);
  set(socket.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(seconds * 1000));
}

bool send_by(const Socket& socket, const void* bytes, std::size_t count, Clock::time_point deadline) {
  const char* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t sent = ::send(socket.fd(), from, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      from += sent;
      count -= static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(socket.fd(), POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool receive_by(const Socket& socket, void* bytes, std::size_t count, Clock::time_point deadline) {
  char* to = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t got = ::recv(socket.fd(), to, count, MSG_DONTWAIT);
    if (got > 0) {
      to += got;
      count -= static_cast<std::size_t>(got);
    } else if (got == 0) {
      return false;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(socket.fd(), POLLIN, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace lowrank::train
