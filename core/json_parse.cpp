#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_row.h"
#include "lowrank/core/json_stream.h"
#include "lowrank/core/lfs_pointer.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

std::string line_and_column(std::string_view text, std::size_t offset) {
  offset = std::min(offset, text.size());
  const std::string_view before = text.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  const auto column = std::count_if(before.begin() + static_cast<std::ptrdiff_t>(line_start), before.end(),
                                    [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }) +
                      1;
  return fmt::format("line {}, column {}", line, column);
}

// Builds the document from nlohmann's events. A container's members are gathered in a frame and moved into place when
// it closes: nlohmann::ordered_json looks through all earlier members at each insertion, which is quadratic in a
// vocabulary.
class Builder {
 public:
  Builder(std::string_view text, const std::string& where, const JsonLimits& limits, JsonSink* sink, bool of_row)
      : text_(text), where_(where), limits_(limits), sink_(sink), of_row_(of_row) {}

  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }  // not a JSON event
  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }
  bool key(std::string& value) {
    if (!frames_.back().sunk.empty()) frames_.back().keys.clear();
    frames_.back().keys.push_back(std::move(value));
    return true;
  }

  bool end_object() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (!frame.sunk.empty()) return add(Json::object());
    settle_equal_keys(frame);
    Json object = Json::object();
    auto& members = object.get_ref<Json::object_t&>();
    members.reserve(frame.keys.size());
    for (std::size_t i = 0; i < frame.keys.size(); ++i) {
      members.Container::emplace_back(std::move(frame.keys[i]), std::move(frame.values[i]));
    }
    return add(std::move(object));
  }

  bool end_array() {
    Json array = Json::array();
    array.get_ref<Json::array_t&>() = std::move(frames_.back().values);
    frames_.pop_back();
    return add(std::move(array));
  }

  template <class Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception& error) {
    if (const auto pointer = told_of_lfs_pointer(text_)) throw FormatError(where_ + " " + *pointer);
    // nlohmann's sentence follows "column N: "; what it calls "last read" can be the whole text, and is left out.
    std::string problem = error.what();
    const std::size_t column = problem.find("column ");
    const std::size_t colon = column == std::string::npos ? std::string::npos : problem.find(": ", column);
    if (colon != std::string::npos) problem.erase(0, colon + 2);
    if (const std::size_t last_read = problem.find("; last read: "); last_read != std::string::npos) {
      const std::size_t expected = problem.rfind("; expected ");
      problem.erase(last_read,
                    expected > last_read && expected != std::string::npos ? expected - last_read : std::string::npos);
    }
    // `position` bytes were read; a word or number that was not liked begins some bytes before.
    std::size_t offset = std::min(position == 0 ? 0 : position - 1, text_.size());
    if (problem.find("end of input") != std::string::npos && position >= text_.size()) offset = text_.size();
    const auto in_word = [](char c) {
      return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' || c == '+' || c == '.';
    };
    const bool word = problem.find("literal") != std::string::npos || problem.find("number") != std::string::npos;
    while (word && offset > 0 && in_word(text_[offset - 1])) --offset;
    const std::string_view rest = text_.substr(offset);
    if (rest.starts_with("NaN") || rest.starts_with("Infinity") || rest.starts_with("-Infinity")) {
      problem = "NaN and Infinity are not JSON; write null or a finite number";
    } else if (problem.find("number overflow") != std::string::npos) {
      problem = "a number too large for a double";
    }
    throw FormatError(fmt::format("{}: not valid JSON at {}: {}{}", where_, line_and_column(text_, offset),
                                  printable(problem, 200),
                                  rest.empty() ? "" : fmt::format(", near '{}'", printable(rest, 20))));
  }

 private:
  struct Frame {
    bool is_object = false;
    std::vector<std::string> keys;
    std::vector<Json> values;
    std::string sunk;  // its path, where its members go to the sink
  };

  bool open(bool is_object) {
    if (static_cast<int>(frames_.size()) >= limits_.max_depth) {
      throw FormatError(fmt::format("{}: nested deeper than {} levels{}", where_, limits_.max_depth, path()));
    }
    std::string sunk;
    if (sink_ != nullptr && !frames_.empty()) {
      sunk = member_path();
      if (!sink_->wants(sunk)) sunk.clear();
    }
    frames_.push_back({is_object, {}, {}, std::move(sunk)});
    return true;
  }

  template <class T>
  bool add(T&& value) {
    if (frames_.empty()) {
      root_ = Json(std::forward<T>(value));
    } else if (Frame& frame = frames_.back(); !frame.sunk.empty()) {
      std::string key;
      if (frame.is_object) key = std::move(frame.keys.back());
      Json member(std::forward<T>(value));
      sink_->member(frame.sunk, key, member);
    } else {
      frames_.back().values.emplace_back(std::forward<T>(value));
    }
    return true;
  }

  void settle_equal_keys(Frame& frame) const {
    std::vector<std::string>& keys = frame.keys;
    if (keys.size() < 2) return;
    std::vector<std::uint32_t> order(keys.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return keys[a] != keys[b] ? keys[a] < keys[b] : a < b; });
    std::vector<bool> gone(of_row_ ? keys.size() : 0, false);
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (keys[order[i - 1]] != keys[order[i]]) continue;
      if (!of_row_) throw FormatError(fmt::format("{}: the key '{}' is there twice{}", where_, printable(keys[order[i]]), path()));
      gone[order[i - 1]] = true;
      frame.values[order[i]] = faulty_value("two values under one key");
    }
    if (std::find(gone.begin(), gone.end(), true) == gone.end()) return;
    std::size_t left = 0;
    for (std::size_t i = 0; i < gone.size(); ++i) {
      if (gone[i]) continue;
      if (left != i) {
        keys[left] = std::move(keys[i]);
        frame.values[left] = std::move(frame.values[i]);
      }
      ++left;
    }
    keys.resize(left);
    frame.values.resize(left);
  }

  // "model.vocab" for the member of objects that comes next; empty inside of an array.
  std::string member_path() const {
    std::string out;
    for (const Frame& frame : frames_) {
      if (!frame.is_object || !frame.sunk.empty()) return "";
      out += (out.empty() ? "" : ".") + frame.keys.back();
    }
    return out;
  }

  // " (in rope_scaling.factors[2])" for the innermost open container.
  std::string path() const {
    std::string out;
    for (const Frame& frame : frames_) {
      if (frame.is_object && !frame.keys.empty()) {
        out += (out.empty() ? "" : ".") + printable(frame.keys.back(), 60);
      } else if (!frame.is_object) {
        out += fmt::format("[{}]", frame.values.size());
      }
    }
    return out.empty() ? "" : " (in " + printable(out, 200) + ")";
  }

  std::string_view text_;
  const std::string& where_;
  const JsonLimits& limits_;
  JsonSink* sink_;
  const bool of_row_;  // parse_json_row(): equal keys are the matter of who reads them
  std::vector<Frame> frames_;
  Json root_;
};

Json parse(std::string_view text, const std::string& where, const JsonLimits& limits, JsonSink* sink, bool of_row = false) {
  if (text.size() > limits.max_bytes) {
    throw FormatError(fmt::format("{}: {} of JSON, more than the {} that are read at most", where,
                                  format_bytes(text.size()), format_bytes(limits.max_bytes)));
  }
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    throw FormatError(fmt::format("{}: not valid UTF-8 at {} (byte 0x{:02x}); JSON must be UTF-8", where,
                                  line_and_column(text, bad), static_cast<unsigned char>(text[bad])));
  }
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {  // nlohmann takes it for the end
    throw FormatError(fmt::format("{}: not valid JSON at {}: a NUL byte", where, line_and_column(text, nul)));
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw FormatError(fmt::format("{}: empty, where JSON was expected", where));
  }
  Builder builder(text, where, limits, sink, of_row);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits) {
  return parse(text, where, limits, nullptr);
}

Json faulty_value(std::string_view what) { return Json::binary({what.begin(), what.end()}); }

Json parse_json_row(std::string_view text, const std::string& where) { return parse(text, where, {.max_depth = 512}, nullptr, true); }

Json read_json(const FileRef& file, const JsonLimits& limits) {
  return parse_json(read_file(file, limits.max_bytes), file.string(), limits);
}

Json read_json(const FileRef& file, JsonSink& sink, const JsonLimits& limits) {
  return parse(read_file(file, limits.max_bytes), file.string(), limits, &sink);
}

}  // namespace lowrank::core
