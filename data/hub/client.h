// The hub as one who asks it: its token, redirects, waits and tries again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/hub/http.h"
#include "lowrank/data/hub/settings.h"
#include "lowrank/data/hub/urls.h"

namespace lowrank::data::hub {

/// The address that an answer 3xx leads to, whole; FormatError for none, for another scheme than http and https, and for
/// one that leads from https to http.
std::string redirect_of(const std::string& url, const Response& response);
/// Seconds that an answer 429 or 5xx asks to wait: RateLimit, Retry-After (in seconds or as a date).
std::optional<double> asked_to_wait(const Response& response);
/// Whether another try can help: 408, 429, 500, 502, 503, 504.
bool is_passing(long status);

/// Asks the hub: with its token, after redirects, again where that helps.
class Client {
 public:
  /// `settings` and `observer` (may be null) must outlive it. Warns of a token that would go out unencrypted.
  Client(const Settings& settings, core::ProgressObserver* observer);

  const Settings& settings() const { return settings_; }
  Connections& connections() { return connections_; }
  core::ProgressObserver* observer() const { return observer_; }

  /// The headers of a request to that address: who asks, and the token where the address is the hub's.
  std::vector<std::string> headers_for(const std::string& url) const;
  /// An answer that came whole, whatever its status; IoError where none did, with `doing` ("list the files of org/x").
  /// `again`: may be asked twice.
  Response ask(Request request, const std::string& doing, bool again = true);
  /// The time of a wait, for signs of progress: `done` is what advance() is told.
  void pause(double seconds);
  void set_done(std::int64_t done) { done_ = done; }
  /// How long to wait before try number `tries` (from 1); what the server asked for where it did. IoError where that is
  /// more than five minutes.
  double wait_before(int tries, const Response& response, const std::string& doing) const;

 private:
  const Settings& settings_;
  core::ProgressObserver* observer_;
  Connections connections_;
  std::int64_t done_ = 0;
};

}  // namespace lowrank::data::hub
