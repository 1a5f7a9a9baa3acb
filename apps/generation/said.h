// What a person says in a chat: lines become messages, and some of them are commands.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace lowrank::apps {

/// A message, or a command and what stands behind it.
struct Said {
  std::string command = {};  // "/save"; empty: the text is said to the model
  std::string text = {};
};

class SaidReader {
 public:
  /// `next_line`: the next line without its end, told whether it goes on with a message that was begun.
  using NextLine = std::function<std::optional<std::string>(bool goes_on)>;
  explicit SaidReader(NextLine next_line) : next_line_(std::move(next_line)) {}

  /// What is said next; nothing at the end of the input. A line that ends in \ goes on on the next one; """ begins a block that ends
  /// with a line that ends in """, also behind /tool. Lines of blanks are passed over. ConfigError for a command that is none or is
  /// given what it does not take, DataError for a block without an end; the next call goes on behind it.
  std::optional<Said> next();

  /// What the commands are, a line each.
  static const char* help();

 private:
  std::optional<std::string> block(std::string line);

  NextLine next_line_;
};

}  // namespace lowrank::apps
