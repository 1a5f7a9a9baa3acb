// The characters of a text one by one, with the line they stand on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "lowrank/data/text_stream.h"

namespace lowrank::data {

class CharStream {
 public:
  /// `begin`: what was read of the stream already.
  explicit CharStream(TextStream& stream, std::string begin = "")
      : stream_(stream), begin_(std::move(begin)), chunk_(begin_) {}
  CharStream(const CharStream&) = delete;
  CharStream& operator=(const CharStream&) = delete;

  /// The next byte; -1 at the end.
  int peek() {
    if (chunk_.empty()) chunk_ = stream_.next();
    return chunk_.empty() ? -1 : static_cast<unsigned char>(chunk_.front());
  }
  /// The same, gone past.
  int take() {
    const int c = peek();
    if (c < 0) return c;
    chunk_.remove_prefix(1);
    line_ += c == '\n' ? 1 : 0;
    had_crlf_ = had_crlf_ || c == '\r';
    return c;
  }

  std::int64_t line() const { return line_; }  // of the next byte, from 1
  bool had_crlf() const { return had_crlf_; }
  const std::string& name() const { return stream_.name(); }

 private:
  TextStream& stream_;
  std::string begin_;
  std::string_view chunk_;
  std::int64_t line_ = 1;
  bool had_crlf_ = false;
};

}  // namespace lowrank::data
