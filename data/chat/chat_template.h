// Chat templates: the Jinja that models ship to lay out conversations, with the semantics of transformers.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/chat/budget.h"

namespace lowrank::data {

namespace jinja {
struct ParsedTemplate;
}

/// What strftime_now answers with. The clock is never asked: a run that is repeated must read the same text.
struct ChatDate {
  int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0;
};

/// A stretch of the text that {% generation %} marks, in bytes of UTF-8.
struct ChatSpan {
  std::size_t begin = 0, end = 0;
  bool operator==(const ChatSpan&) const = default;
};

struct Rendering {
  std::string text;
  std::vector<ChatSpan> generated;  // in the order of the text
};

class ChatTemplate {
 public:
  /// Parses a template. `name` names it in messages ("chat_template.jinja"). FormatError: not UTF-8, or no template of
  /// this engine, with the line.
  static ChatTemplate compile(std::string_view source, std::string name);

  /// Renders with an object's members as variables (messages, tools, add_generation_prompt, bos_token …), in any order;
  /// none of them is changed on the way in (see chat_variables for what transformers changes). DataError, with the
  /// template's line: what the template itself raises, an operation that Python would not do either, more than `limits`
  /// allow, strftime_now without a date.
  Rendering render(const core::Json& variables, const std::optional<ChatDate>& date = {},
                   const ChatLimits& limits = {}) const;

  /// Whether it marks what the model says with {% generation %}.
  bool has_generation() const;
  const std::string& name() const { return name_; }
  const std::string& source() const { return source_; }

 private:
  ChatTemplate() = default;

  std::string name_, source_;
  std::shared_ptr<const jinja::ParsedTemplate> tree_;
};

}  // namespace lowrank::data
