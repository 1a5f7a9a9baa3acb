#include "lowrank/data/hub/urls.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <cctype>

#include "lowrank/core/ascii.h"
#include "lowrank/core/text.h"

namespace lowrank::data::hub {
namespace {

class Address {
 public:
  explicit Address(const std::string& url) : url_(curl_url()) {
    fine_ = url_ != nullptr && curl_url_set(url_, CURLUPART_URL, url.c_str(), 0) == CURLUE_OK;
  }
  ~Address() { curl_url_cleanup(url_); }
  Address(const Address&) = delete;
  Address& operator=(const Address&) = delete;

  bool fine() const { return fine_; }
  bool go_to(const std::string& relative) { return curl_url_set(url_, CURLUPART_URL, relative.c_str(), 0) == CURLUE_OK; }
  std::string part(CURLUPart part, unsigned flags = 0) const {
    char* text = nullptr;
    if (!fine_ || curl_url_get(url_, part, &text, flags) != CURLUE_OK || text == nullptr) return "";
    std::string result = text;
    curl_free(text);
    return result;
  }
  std::string origin() const {
    return core::ascii_lower(part(CURLUPART_SCHEME)) + "://" + core::ascii_lower(part(CURLUPART_HOST)) + ":" +
           part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
  }

 private:
  CURLU* url_;
  bool fine_ = false;
};

}  // namespace

bool same_origin(const std::string& left, const std::string& right) {
  const Address a(left), b(right);
  return a.fine() && b.fine() && a.origin() == b.origin();
}

bool is_loopback(const std::string& url) {
  const std::string host = core::ascii_lower(Address(url).part(CURLUPART_HOST));
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

std::string shown_url(const std::string& url) {
  const Address address(url);
  if (!address.fine()) return core::printable(url.substr(0, url.find('?')), 120);
  std::string text = address.part(CURLUPART_SCHEME) + "://" + address.part(CURLUPART_HOST);
  if (const std::string port = address.part(CURLUPART_PORT); !port.empty()) text += ":" + port;
  return core::printable(text + address.part(CURLUPART_PATH), 160);
}

std::string quoted_for_url(std::string_view text, bool slashes) {
  std::string result;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || (slashes && c == '/');
    result += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return result;
}

std::string url_from(const std::string& url, const std::string& location) {
  Address address(url);
  return !location.empty() && address.fine() && address.go_to(location) ? address.part(CURLUPART_URL) : "";
}

}  // namespace lowrank::data::hub
