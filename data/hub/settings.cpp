#include "lowrank/data/hub/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"

namespace lowrank::data::hub {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string first_of(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string value = variable(name); !value.empty()) return value;
  }
  return "";
}

bool is_true(std::string value) {
  for (char& c : value) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

// "~/x" and "$NAME/x", which a shell leaves alone inside quotes.
fs::path expanded(const std::string& text) {
  std::string result = text;
  if (result == "~" || result.starts_with("~/")) result = variable("HOME") + result.substr(1);
  if (result.starts_with('$')) {
    const std::size_t slash = std::min(result.find('/'), result.size());
    std::string name = result.substr(1, slash - 1);
    if (name.starts_with('{') && name.ends_with('}')) name = name.substr(1, name.size() - 2);
    if (const std::string value = variable(name.c_str()); !value.empty()) result = value + result.substr(slash);
  }
  return result;
}

fs::path home() {
  if (const std::string value = variable("HF_HOME"); !value.empty()) return expanded(value);
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return expanded(cache) / "huggingface";
  return fs::path(variable("HOME")) / ".cache" / "huggingface";
}

std::string trimmed(const std::string& text) {
  const auto blank = [](unsigned char c) { return std::isspace(c) != 0; };
  const auto begin = std::find_if_not(text.begin(), text.end(), blank);
  const auto end = std::find_if_not(text.rbegin(), text.rend(), blank).base();
  return begin < end ? std::string(begin, end) : "";
}

// It becomes part of a header: a line end in it would be a header of its own.
std::string checked_token(const std::string& text, const std::string& source) {
  std::string token = trimmed(text);
  if (!std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 32 && c < 127; })) {
    throw ConfigError(source + " holds spaces or other characters that no token has; write the token alone there");
  }
  return token;
}

std::string endpoint_from_environment(const std::string& fallback) {
  std::string endpoint = trimmed(variable("HF_ENDPOINT"));
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (endpoint.empty()) return fallback;
  const bool address = endpoint.starts_with("https://") || endpoint.starts_with("http://");
  if (!address || endpoint.find_first_of(" \t\r\n\"<>@") != std::string::npos) {
    throw ConfigError(fmt::format("HF_ENDPOINT is '{}'; expected an address such as https://huggingface.co, without a name "
                                  "or password in it",
                                  core::printable(endpoint, 100)));
  }
  return endpoint;
}

}  // namespace

fs::path cache_from_environment() {
  const std::string cache = first_of({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  return cache.empty() ? home() / "hub" : expanded(cache);
}

Settings settings_from_environment() {
  Settings settings;
  settings.cache = cache_from_environment();
  settings.endpoint = endpoint_from_environment(settings.endpoint);
  settings.offline = is_true(first_of({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  if (const std::string text = variable("HF_HUB_DOWNLOAD_TIMEOUT"); !text.empty()) {
    int seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || seconds < 1) {
      throw ConfigError(fmt::format("HF_HUB_DOWNLOAD_TIMEOUT is '{}'; expected a whole number of seconds",
                                    core::printable(text, 40)));
    }
    settings.timeout = seconds;
  }
  const std::string path = variable("HF_TOKEN_PATH");
  settings.token_file = path.empty() ? home() / "token" : expanded(path);
  if (is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return settings;
  if (const std::string token = first_of({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}); !trimmed(token).empty()) {
    settings.token = checked_token(token, "HF_TOKEN");
  } else if (fs::is_regular_file(settings.token_file)) {
    settings.token = checked_token(core::read_file(core::FileRef::named(settings.token_file), 1 << 16),
                                   settings.token_file.string());
  }
  return settings;
}

}  // namespace lowrank::data::hub
