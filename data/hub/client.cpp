#include "lowrank/data/hub/client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <ctime>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data::hub {

std::string redirect_of(const std::string& url, const Response& response) {
  const std::string next = url_from(url, response.header("location"));
  if (next.empty()) {
    throw FormatError(fmt::format("{} answers with a redirect (HTTP {}) that leads nowhere", shown_url(url), response.status));
  }
  if (!next.starts_with("https://") && !next.starts_with("http://")) {
    throw FormatError(fmt::format("{} redirects to {}; only http and https are followed", shown_url(url), shown_url(next)));
  }
  if (next.starts_with("http://") && url.starts_with("https://")) {
    throw FormatError(fmt::format("{} redirects to {}, which is not encrypted; it is not followed", shown_url(url),
                                  shown_url(next)));
  }
  return next;
}

bool is_passing(long status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

std::optional<double> asked_to_wait(const Response& response) {
  const auto number = [](std::string_view text) -> std::optional<double> {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end != text.data() && value >= 0 ? std::optional(value) : std::nullopt;
  };
  const std::string limit = response.header("ratelimit");  // "api";r=0;t=55
  if (response.status == 429 && limit.find("r=0") != limit.npos) {
    if (const std::size_t t = limit.find(";t="); t != limit.npos) {
      if (const auto seconds = number(std::string_view(limit).substr(t + 3))) return seconds;
    }
  }
  const std::string after = response.header("retry-after");
  if (after.empty()) return std::nullopt;
  if (std::isdigit(static_cast<unsigned char>(after[0]))) return number(after);
  const std::time_t when = curl_getdate(after.c_str(), nullptr);
  if (when == -1) return std::nullopt;
  return std::max(0.0, std::difftime(when, std::time(nullptr)));
}

Client::Client(const Settings& settings, core::ProgressObserver* observer)
    : settings_(settings), observer_(observer), connections_(settings) {
  const bool in_the_clear = settings.endpoint.starts_with("http://") && !is_loopback(settings.endpoint);
  if (observer != nullptr && !settings.token.empty() && in_the_clear) {
    observer->warning(settings.endpoint + " is not encrypted: the token can be read on its way there");
  }
}

std::vector<std::string> Client::headers_for(const std::string& url) const {
  std::vector<std::string> headers = {"User-Agent: lowrank/" LOWRANK_VERSION};
  if (!settings_.token.empty() && same_origin(url, settings_.endpoint)) {
    headers.push_back("Authorization: Bearer " + settings_.token);
  }
  return headers;
}

void Client::pause(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    if (observer_ != nullptr) observer_->advance(done_);
    connections_.wait(static_cast<int>(std::clamp(
        std::chrono::duration<double>(until - Clock::now()).count() * 1000, 0.0, 50.0)));
  } while (Clock::now() < until);
}

double Client::wait_before(int tries, const Response& response, const std::string& doing) const {
  constexpr double kMost = 300;
  const std::optional<double> asked = is_passing(response.status) ? asked_to_wait(response) : std::nullopt;
  if (asked && *asked > kMost) {
    throw IoError(fmt::format("cannot {} now: the server asks to wait {} (HTTP {}); the same command later goes on from "
                              "what is here",
                              doing, core::format_seconds(*asked), response.status));
  }
  return asked ? std::max(*asked, 0.05) : settings_.first_wait * static_cast<double>(1 << std::min(tries - 1, 4));
}

Response Client::ask(Request request, const std::string& doing, bool again) {
  const std::vector<std::string> own_headers = request.headers;
  for (int tries = 1, hops = 0;;) {
    request.headers = own_headers;
    for (std::string& header : headers_for(request.url)) request.headers.push_back(std::move(header));
    Transfer transfer(request);
    connections_.start(transfer);
    for (bool done = false; !done;) {
      if (observer_ != nullptr) observer_->advance(done_);
      for (const Transfer* one : connections_.wait(100)) done = done || one == &transfer;
    }
    if (transfer.thrown) std::rethrow_exception(transfer.thrown);
    const Response& response = transfer.response;
    const bool moved = response.status == 301 || response.status == 302 || response.status == 303 ||
                       response.status == 307 || response.status == 308;
    if (transfer.failure.text.empty() && moved) {
      if (++hops > 10) throw IoError(fmt::format("cannot {}: {} redirects without end", doing, shown_url(request.url)));
      request.url = redirect_of(request.url, response);
      if (response.status == 303) {
        request.method = "GET";
        request.body.clear();
      }
      continue;
    }
    const bool failed = !transfer.failure.text.empty();
    if (!failed && !is_passing(response.status)) return response;
    const int most = transfer.failure.no_answer ? 2 : settings_.tries;
    // What was not answered may have been done: asked again only where that does no harm. 429 and 503 were not.
    const bool may = again || transfer.failure.no_answer || (!failed && (response.status == 429 || response.status == 503));
    if (!may || transfer.failure.lasting || tries >= most) {
      if (!failed) return response;
      throw IoError(fmt::format("cannot {}: {}: {}", doing, shown_url(request.url), core::printable(transfer.failure.text, 200)));
    }
    pause(wait_before(tries, response, doing));
    ++tries;
  }
}

}  // namespace lowrank::data::hub
