#include "lowrank/data/hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "lowrank/core/ascii.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/urls.h"

namespace lowrank::data::hub {

struct Transfer::State {
  CURL* easy = nullptr;
  CURLM* multi = nullptr;  // while it is under way
  curl_slist* headers = nullptr;
  std::size_t sent = 0;
  char error[CURL_ERROR_SIZE] = {};

  ~State() {
    if (multi != nullptr) curl_multi_remove_handle(multi, easy);
    if (easy != nullptr) curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
  }
};

namespace {

struct Library {
  Library() {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw InternalError("libcurl cannot be used");
  }
  ~Library() { curl_global_cleanup(); }
};

void use_library() { static const Library library; }

const char* first_variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return nullptr;
}

bool is_lasting(CURLcode code) {
  switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_FILESIZE_EXCEEDED:
    case CURLE_OUT_OF_MEMORY:
      return true;
    default:
      return false;
  }
}

}  // namespace

// What curl calls. Exceptions do not pass through it.
struct TransferHooks {
  static std::size_t header(char* data, std::size_t size, std::size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    std::string line(data, size * count);
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (line.starts_with("HTTP/")) {  // a new answer: of a proxy, or after "100 Continue"
      transfer.response = {};
      const std::size_t space = line.find(' ');
      if (space != line.npos) transfer.response.status = std::strtol(line.c_str() + space, nullptr, 10);
    } else if (const std::size_t colon = line.find(':'); colon != line.npos && transfer.response.headers.size() < 500) {
      const std::size_t value = line.find_first_not_of(" \t", colon + 1);
      const std::string name = core::ascii_lower(line.substr(0, colon));
      std::string& held = transfer.response.headers[name];
      const std::string before = name == "link" && !held.empty() ? held + ", " : "";  // may come in several lines
      held = before + (value == line.npos ? "" : line.substr(value));
    }
    return size * count;
  }

  static std::size_t body(char* data, std::size_t size, std::size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    const std::string_view bytes(data, size * count);
    const long status = transfer.response.status;
    try {
      if (transfer.request.sink != nullptr && status >= 200 && status < 300) {
        transfer.request.sink(bytes);
      } else if (transfer.response.body.size() + bytes.size() > Transfer::kMostBody) {
        throw IoError(fmt::format("{} answers with more than {}, which no such answer has",
                                  shown_url(transfer.request.url), core::format_bytes(Transfer::kMostBody)));
      } else {
        transfer.response.body += bytes;
      }
    } catch (...) {
      transfer.thrown = std::current_exception();
      return 0;
    }
    return bytes.size();
  }

  static std::size_t upload(char* room, std::size_t size, std::size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    std::size_t& sent = transfer.state_->sent;
    const std::size_t n = std::min(size * count, transfer.request.file.size() - sent);
    std::memcpy(room, transfer.request.file.data() + sent, n);
    sent += n;
    return n;
  }

  static int rewind(void* user, curl_off_t offset, int origin) {
    auto& transfer = *static_cast<Transfer*>(user);
    if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_FAIL;
    transfer.state_->sent = static_cast<std::size_t>(offset);
    return CURL_SEEKFUNC_OK;
  }
};

std::string Response::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

Transfer::Transfer(Request the_request) : request(std::move(the_request)) {}
Transfer::~Transfer() = default;

Connections::Connections(const Settings& settings) : settings_(settings) {
  use_library();
  multi_ = curl_multi_init();
  if (multi_ == nullptr) throw InternalError("libcurl cannot be used");
}

Connections::~Connections() { curl_multi_cleanup(static_cast<CURLM*>(multi_)); }

void Connections::start(Transfer& transfer) {
  if (!transfer.request.url.starts_with("https://") && !transfer.request.url.starts_with("http://")) {
    throw FormatError(fmt::format("'{}' is no address of http or https", shown_url(transfer.request.url)));
  }
  transfer.response = {};
  transfer.failure = {};
  transfer.thrown = nullptr;
  transfer.state_ = std::make_unique<Transfer::State>();
  Transfer::State& state = *transfer.state_;
  state.easy = curl_easy_init();
  if (state.easy == nullptr) throw InternalError("libcurl cannot be used");
  CURL* const easy = state.easy;
  const Request& request = transfer.request;
  for (const std::string& header : request.headers) state.headers = curl_slist_append(state.headers, header.c_str());
  state.headers = curl_slist_append(state.headers, "Expect:");

  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, state.error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);  // redirects are followed by those who know where the token may go
  curl_easy_setopt(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  if (const char* bundle = first_variable({"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"})) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, bundle);
  }
  // curl reads http_proxy, https_proxy, all_proxy and no_proxy itself, but HTTP_PROXY only in small letters.
  const char* const proxy = first_variable({"http_proxy", "HTTP_PROXY"});
  if (proxy != nullptr && request.url.starts_with("http://")) curl_easy_setopt(easy, CURLOPT_PROXY, proxy);
  if (is_loopback(request.url)) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(1000 * std::min(settings_.timeout, 10.0)));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(settings_.timeout)));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, state.headers);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &TransferHooks::header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &TransferHooks::body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  if (request.method == "POST") {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
  } else if (request.method == "PUT") {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.file.size()));
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &TransferHooks::upload);
    curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, &TransferHooks::rewind);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, &transfer);
  }
  if (curl_multi_add_handle(static_cast<CURLM*>(multi_), easy) != CURLM_OK) throw InternalError("libcurl takes no more");
  state.multi = static_cast<CURLM*>(multi_);
}

std::vector<Transfer*> Connections::wait(int milliseconds) {
  CURLM* const multi = static_cast<CURLM*>(multi_);
  int running = 0;
  if (curl_multi_poll(multi, nullptr, 0, milliseconds, nullptr) != CURLM_OK ||
      curl_multi_perform(multi, &running) != CURLM_OK) {
    throw InternalError("libcurl's connections failed");
  }
  std::vector<Transfer*> done;
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    Transfer::State& state = *transfer->state_;
    curl_multi_remove_handle(multi, state.easy);
    state.multi = nullptr;
    if (code != CURLE_OK) {
      transfer->failure.text = state.error[0] != '\0' ? state.error : curl_easy_strerror(code);
      transfer->failure.lasting = is_lasting(code);
      transfer->failure.no_answer = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
                                    code == CURLE_COULDNT_RESOLVE_PROXY;
    }
    done.push_back(transfer);
  }
  return done;
}

}  // namespace lowrank::data::hub
