#include "lowrank/data/chat/chat_template.h"

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/parser.h"
#include "lowrank/data/chat/run.h"

namespace lowrank::data {

ChatTemplate ChatTemplate::compile(std::string_view source, std::string name) {
  if (core::find_invalid_utf8(source) != std::string_view::npos) throw FormatError(name + ": not UTF-8");
  ChatTemplate out;
  try {
    out.tree_ = std::make_shared<const jinja::ParsedTemplate>(jinja::parse(source));
  } catch (const jinja::SyntaxError& error) {
    throw FormatError(name + " line " + std::to_string(error.line) + ": " + error.message);
  }
  out.name_ = std::move(name);
  out.source_ = std::string(source);
  return out;
}

Rendering ChatTemplate::render(const core::Json& variables, const std::optional<ChatDate>& date,
                               const ChatLimits& limits) const {
  jinja::Run run(*tree_, variables, limits, date);
  try {
    return run.render();
  } catch (const jinja::TemplateError& error) {
    throw DataError(name_ + " line " + std::to_string(run.line()) + ": " + error.what());
  }
}

bool ChatTemplate::has_generation() const { return tree_->has_generation; }

}  // namespace lowrank::data
