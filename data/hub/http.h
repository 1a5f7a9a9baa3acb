// Requests by libcurl, several at a time on one thread. Redirects are not followed here: who asks knows where its token
// may go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/hub/settings.h"

namespace lowrank::data::hub {

struct Request {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers = {};  // "Name: value"
  std::string body = {};                 // of POST
  std::span<const std::byte> file = {};  // of PUT; must outlive it
  /// Takes the body of an answer 2xx in pieces; without it Response::body does. What it throws ends the transfer.
  std::function<void(std::string_view)> sink = nullptr;
};

struct Response {
  long status = 0;  // 0: none came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // at most Transfer::kMostBody
  std::string header(const std::string& name) const;
};

/// What went wrong on the way, in curl's words; empty where an answer came whole.
struct Failure {
  std::string text;
  bool lasting = false;   // another try would end the same way
  bool no_answer = false; // nobody there, or no such name
};

class Connections;

/// One request under way, or done.
class Transfer {
 public:
  static constexpr std::size_t kMostBody = std::size_t{64} << 20;

  explicit Transfer(Request the_request);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  Request request;
  Response response;
  Failure failure;
  std::exception_ptr thrown;  // by the sink

 private:
  friend class Connections;
  friend struct TransferHooks;
  struct State;
  std::unique_ptr<State> state_;
};

/// The connections to servers, kept open from one request to the next.
class Connections {
 public:
  explicit Connections(const Settings& settings);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  /// Begins. The transfer must not outlive this.
  void start(Transfer& transfer);
  /// Waits up to that long for something to happen; the transfers that are done.
  std::vector<Transfer*> wait(int milliseconds);

 private:
  const Settings& settings_;
  void* multi_ = nullptr;
};

}  // namespace lowrank::data::hub
