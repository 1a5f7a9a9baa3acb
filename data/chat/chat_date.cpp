#include <time.h>

#include <array>
#include <chrono>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/chat_layout.h"

namespace lowrank::data {
namespace {

ChatDate date_of(const std::tm& t) {
  return {t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec};
}

}  // namespace

ChatDate parse_chat_date(const std::string& text) {
  for (const char* form : {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"}) {
    std::tm t = {};
    const char* end = ::strptime(text.c_str(), form, &t);
    if (end != text.c_str() + text.size()) continue;
    const ChatDate date = date_of(t);
    const std::chrono::year_month_day day{std::chrono::year(date.year), std::chrono::month(date.month),
                                          std::chrono::day(date.day)};
    if (day.ok() && date.year >= 1 && date.year <= 9999 && date.second < 60) return date;
  }
  throw ConfigError("`date`: expected a date such as 2026-11-30 or 2026-11-30T09:30:00, found '" +
                    core::printable(text, 40) + "'");
}

std::string chat_date_text(const ChatDate& d) {
  std::array<char, 64> text{};
  std::tm t = {};
  t.tm_year = d.year - 1900;
  t.tm_mon = d.month - 1;
  t.tm_mday = d.day;
  t.tm_hour = d.hour;
  t.tm_min = d.minute;
  t.tm_sec = d.second;
  const bool midnight = d.hour == 0 && d.minute == 0 && d.second == 0;
  return {text.data(), ::strftime(text.data(), text.size(), midnight ? "%Y-%m-%d" : "%Y-%m-%dT%H:%M:%S", &t)};
}

ChatDate today() {
  const std::time_t now = std::time(nullptr);
  std::tm t = {};
  ::localtime_r(&now, &t);
  ChatDate date = date_of(t);
  date.hour = date.minute = date.second = 0;
  return date;
}

}  // namespace lowrank::data
