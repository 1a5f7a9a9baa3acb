// A server of the tests' own on loopback, and a small hub on it whose manners a test can spoil.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"
#include "lowrank/core/digest.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"

namespace lowrank_test {

struct Asked {
  std::string method, path, query, body;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

struct Reply {
  int status = 200;
  std::vector<std::string> headers = {};
  std::string body = {};
  std::size_t cut = std::numeric_limits<std::size_t>::max();  // bytes of the body after which the line goes dead
  int pause_ms = 0;                                           // before each 16 kB of it
};

/// HTTP/1.1 with kept connections, a thread each.
class Server {
 public:
  explicit Server(std::function<Reply(const Asked&)> handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("no server on loopback");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~Server() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
    ::close(listener_);
  }

  int port() const { return port_; }
  std::string url(const std::string& host = "127.0.0.1") const { return "http://" + host + ":" + std::to_string(port_); }
  std::vector<Asked> asked() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return asked_;
  }
  int count(const std::string& path_part) {
    int n = 0;
    for (const Asked& one : asked()) n += one.path.find(path_part) != std::string::npos;
    return n;
  }

 private:
  void accept_all() {
    while (!stopping_) {
      pollfd ready{listener_, POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) threads_.emplace_back([this, fd] {
        while (!stopping_ && serve(fd)) {
        }
        ::close(fd);
      });
    }
  }

  bool more(int fd, std::string& text) {
    while (!stopping_) {
      pollfd ready{fd, POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      char buffer[65536];
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return false;
      text.append(buffer, static_cast<std::size_t>(n));
      return true;
    }
    return false;
  }

  bool send_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0 || stopping_) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  bool serve(int fd) {
    std::string text;
    while (text.find("\r\n\r\n") == text.npos) {
      if (!more(fd, text)) return false;
    }
    Asked ask;
    const std::size_t head = text.find("\r\n\r\n");
    std::istringstream lines(text.substr(0, head));
    std::string target, line;
    lines >> ask.method >> target;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      const std::size_t colon = line.find(':');
      std::string name = line.substr(0, colon), value = line.substr(colon + 1);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      while (!value.empty() && (value.back() == '\r' || value.back() == ' ')) value.pop_back();
      ask.headers[name] = value.substr(std::min(value.find_first_not_of(' '), value.size()));
    }
    ask.path = target.substr(0, target.find('?'));
    if (target.find('?') != target.npos) ask.query = target.substr(target.find('?') + 1);
    const std::size_t length = ask.header("content-length").empty() ? 0 : std::stoul(ask.header("content-length"));
    ask.body = text.substr(head + 4);
    while (ask.body.size() < length) {
      if (!more(fd, ask.body)) return false;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      asked_.push_back(ask);
    }
    const Reply reply = handler_(ask);
    std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " X\r\nContent-Length: " + std::to_string(reply.body.size()) + "\r\n";
    for (const std::string& header : reply.headers) out += header + "\r\n";
    if (!send_all(fd, out + "\r\n")) return false;
    const std::size_t end = std::min(reply.cut, reply.body.size());
    for (std::size_t at = 0; at < end; at += 16384) {
      if (reply.pause_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(reply.pause_ms));
      if (!send_all(fd, std::string_view(reply.body).substr(at, std::min<std::size_t>(16384, end - at)))) return false;
    }
    return end == reply.body.size();
  }

  std::function<Reply(const Asked&)> handler_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<Asked> asked_;
  std::thread acceptor_;
  std::list<std::thread> threads_;
};

inline std::string git_sha1(const std::string& bytes) {
  lowrank::core::Digest digest(lowrank::core::DigestKind::kSha1);
  digest.add("blob " + std::to_string(bytes.size()) + std::string(1, '\0') + bytes);
  return digest.hex();
}

/// A body, or the part of it that a Range header asks for.
inline Reply ranged(const Asked& ask, const std::string& bytes) {
  const std::string range = ask.header("range");
  if (!range.starts_with("bytes=")) return {.body = bytes};
  const std::size_t begin = std::stoul(range.substr(6)), dash = range.find('-');
  const std::size_t last = dash + 1 < range.size() ? std::stoul(range.substr(dash + 1)) : bytes.size() - 1;
  if (begin >= bytes.size()) return {.status = 416, .headers = {"Content-Range: bytes */" + std::to_string(bytes.size())}};
  const std::size_t end = std::min(last + 1, bytes.size());
  return {.status = 206,
          .headers = {"Content-Range: bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) + "/" + std::to_string(bytes.size())},
          .body = bytes.substr(begin, end - begin)};
}

/// One repository, "org/tiny" (a data set where `api` says datasets). Large files lie on another origin, "the CDN",
/// behind a redirect, as the hub has them.
class FakeHub {
 public:
  using Hook = std::function<std::optional<Reply>(const Asked&)>;

  explicit FakeHub(std::map<std::string, std::string> files, std::size_t large_from = 1000, std::string api = "models")
      : files_(std::move(files)),
        large_from_(large_from),
        api_(std::move(api)),
        cdn_([this](const Asked& ask) { return at_cdn(ask); }),
        hub_([this](const Asked& ask) { return at_hub(ask); }) {}

  std::string endpoint() const { return hub_.url(); }
  Server& hub() { return hub_; }
  Server& cdn() { return cdn_; }
  const std::string& file(const std::string& path) const { return files_.at(path); }
  static std::string commit() {
    std::string name(40, 'c');
    name.back() = '1';
    return name;
  }
  std::string hash(const std::string& path) const {
    const std::string& bytes = files_.at(path);
    return bytes.size() >= large_from_ ? lowrank::core::sha256(bytes) : git_sha1(bytes);
  }

  void before_hub(Hook hook) { set(hub_hook_, std::move(hook)); }
  void before_cdn(Hook hook) { set(cdn_hook_, std::move(hook)); }
  /// Changes the list before it is sent.
  void relist(std::function<void(lowrank::core::Json&)> change) { relist_ = std::move(change); }

 private:
  void set(Hook& hook, Hook value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    hook = std::move(value);
  }
  std::optional<Reply> ask_hook(Hook& which, const Asked& ask) {
    Hook hook;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      hook = which;
    }
    return hook ? hook(ask) : std::nullopt;
  }

  Reply at_hub(const Asked& ask) {
    if (const auto reply = ask_hook(hub_hook_, ask)) return *reply;
    const std::string api = "/api/" + api_ + "/org/tiny/", name = (api_ == "models" ? "/" : "/datasets/") + std::string("org/tiny");
    if (ask.path == api + "revision/main" || ask.path == api + "revision/" + commit()) {
      return {.body = R"({"sha": ")" + commit() + "\"}"};
    }
    if (ask.path == api + "tree/" + commit()) return {.body = tree().dump()};
    const std::string at = name + "/resolve/" + commit() + "/";
    if (!ask.path.starts_with(at) || !files_.contains(ask.path.substr(at.size()))) {
      return {.status = 404, .headers = {"X-Error-Code: RepoNotFound"}};
    }
    const std::string path = ask.path.substr(at.size());
    if (files_.at(path).size() < large_from_) return ranged(ask, files_.at(path));
    return {.status = 302, .headers = {"Location: " + cdn_.url("localhost") + "/" + path + "?signature=secret"}};
  }

  Reply at_cdn(const Asked& ask) {
    if (const auto reply = ask_hook(cdn_hook_, ask)) return *reply;
    return ranged(ask, files_.at(ask.path.substr(1)));
  }

  lowrank::core::Json tree() {
    lowrank::core::Json list = lowrank::core::Json::array();
    list.push_back({{"type", "directory"}, {"path", "onnx"}, {"oid", std::string(40, '0')}, {"size", 0}});
    for (const auto& [path, bytes] : files_) {
      lowrank::core::Json entry = {{"type", "file"}, {"path", path}, {"size", bytes.size()}, {"oid", git_sha1(bytes)}};
      if (bytes.size() >= large_from_) entry["lfs"] = {{"oid", lowrank::core::sha256(bytes)}, {"size", bytes.size()}, {"pointerSize", 134}};
      list.push_back(entry);
    }
    if (relist_) relist_(list);
    return list;
  }

  std::map<std::string, std::string> files_;
  std::size_t large_from_;
  std::string api_;
  std::mutex mutex_;
  Hook hub_hook_, cdn_hook_;
  std::function<void(lowrank::core::Json&)> relist_;
  Server cdn_, hub_;
};

/// Bytes that differ from place to place.
inline std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t x = 12345;
  for (char& c : bytes) {
    x = x * 1664525u + 1013904223u;
    c = static_cast<char>(x >> 24);
  }
  return bytes;
}

}  // namespace lowrank_test
