#include "lowrank/data/chat/strftime.h"

#include <array>

#include "lowrank/core/text.h"

namespace lowrank::data::jinja {
namespace {

constexpr std::array<const char*, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                              "Thursday", "Friday", "Saturday"};
constexpr std::array<const char*, 12> kMonths = {"January", "February", "March",     "April",   "May",      "June",
                                                 "July",    "August",   "September", "October", "November", "December"};

bool is_leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int days_in(int year, int month) {
  constexpr std::array<int, 12> kDaysIn = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && is_leap(year) ? 29 : kDaysIn[static_cast<std::size_t>(month - 1)];
}

int day_of_year(const ChatDate& d) {  // from 1
  int days = d.day;
  for (int month = 1; month < d.month; ++month) days += days_in(d.year, month);
  return days;
}

int weekday_of_first(int year) {  // of January 1st; Sunday is 0
  const int y = year - 1;
  return (1 + 365 * (y % 7) + y / 4 - y / 100 + y / 400) % 7;
}

int weekday(const ChatDate& d) { return (weekday_of_first(d.year) + day_of_year(d) - 1) % 7; }

struct IsoWeek {
  int year, week;
};

IsoWeek iso_week(const ChatDate& d) {
  const auto weeks_in = [](int year) {
    const int first = weekday_of_first(year);
    return first == 4 || (first == 3 && is_leap(year)) ? 53 : 52;
  };
  const int week = (day_of_year(d) - (weekday(d) + 6) % 7 + 9) / 7;
  if (week < 1) return {d.year - 1, weeks_in(d.year - 1)};
  if (week > weeks_in(d.year)) return {d.year + 1, 1};
  return {d.year, week};
}

std::string padded(int value, int width, char fill) {
  std::string digits = std::to_string(value);
  while (fill != 0 && digits.size() < static_cast<std::size_t>(width)) digits.insert(digits.begin(), fill);
  return digits;
}

}  // namespace

std::string strftime(Budget& budget, const ChatDate& date, const std::string& format) {
  if (date.year < 1 || date.year > 9999 || date.month < 1 || date.month > 12 || date.day < 1 ||
      date.day > days_in(date.year, date.month) || date.hour < 0 || date.hour > 23 || date.minute < 0 ||
      date.minute > 59 || date.second < 0 || date.second > 59) {
    throw TemplateError("the date that was given is no date of the calendar");
  }
  Writer out(budget);
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out.add(format[i]);
      continue;
    }
    char fill = 1;  // the code's own
    char code = format[++i];
    if ((code == '-' || code == '_' || code == '0') && i + 1 < format.size()) {
      fill = code == '-' ? '\0' : code == '_' ? ' ' : '0';
      code = format[++i];
    }
    const auto number = [&](int value, int width, char own = '0') {
      out.add(padded(value, width, fill == 1 ? own : fill));
    };
    const auto again = [&](const char* codes) { out.add(strftime(budget, date, codes)); };
    const int hour12 = date.hour % 12 == 0 ? 12 : date.hour % 12;
    const std::string_view day = kDays[static_cast<std::size_t>(weekday(date))];
    const std::string_view month = kMonths[static_cast<std::size_t>(date.month - 1)];
    switch (code) {
      case 'a':
        out.add(day.substr(0, 3));
        break;
      case 'A':
        out.add(day);
        break;
      case 'b':
      case 'h':
        out.add(month.substr(0, 3));
        break;
      case 'B':
        out.add(month);
        break;
      case 'c':
        again("%a %b %e %H:%M:%S %Y");
        break;
      case 'C':
        number(date.year / 100, 2);
        break;
      case 'd':
        number(date.day, 2);
        break;
      case 'D':
      case 'x':
        again("%m/%d/%y");
        break;
      case 'e':
        number(date.day, 2, ' ');
        break;
      case 'f':
        out.add("000000");
        break;
      case 'F':
        again("%Y-%m-%d");
        break;
      case 'G':
        number(iso_week(date).year, 4, '\0');
        break;
      case 'H':
        number(date.hour, 2);
        break;
      case 'I':
        number(hour12, 2);
        break;
      case 'j':
        number(day_of_year(date), 3);
        break;
      case 'k':
        number(date.hour, 2, ' ');
        break;
      case 'l':
        number(hour12, 2, ' ');
        break;
      case 'm':
        number(date.month, 2);
        break;
      case 'M':
        number(date.minute, 2);
        break;
      case 'n':
        out.add("\n");
        break;
      case 'p':
        out.add(date.hour < 12 ? "AM" : "PM");
        break;
      case 'P':
        out.add(date.hour < 12 ? "am" : "pm");
        break;
      case 'r':
        again("%I:%M:%S %p");
        break;
      case 'R':
        again("%H:%M");
        break;
      case 'S':
        number(date.second, 2);
        break;
      case 't':
        out.add("\t");
        break;
      case 'T':
      case 'X':
        again("%H:%M:%S");
        break;
      case 'u':
        number((weekday(date) + 6) % 7 + 1, 1);
        break;
      case 'U':
        number((day_of_year(date) + 6 - weekday(date)) / 7, 2);
        break;
      case 'V':
        number(iso_week(date).week, 2);
        break;
      case 'w':
        number(weekday(date), 1);
        break;
      case 'W':
        number((day_of_year(date) + 6 - (weekday(date) + 6) % 7) / 7, 2);
        break;
      case 'y':
        number(date.year % 100, 2);
        break;
      case 'Y':
        number(date.year, 4, '\0');
        break;
      case 'z':
      case 'Z':
        break;  // a date without a time zone
      case '%':
        out.add("%");
        break;
      default:
        throw TemplateError("strftime_now has no code '%" + core::printable(format.substr(i, 1)) + "'");
    }
  }
  return out.take();
}

}  // namespace lowrank::data::jinja
