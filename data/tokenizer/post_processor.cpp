#include "lowrank/data/tokenizer/post_processor.h"

#include <fmt/format.h>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

namespace {

using Known = std::function<bool(TokenId)>;

std::vector<TokenId> special_ids(const core::JsonView& json, const core::JsonView& piece, const Known& known) {
  const std::string name = piece.at("id").as_string();
  const core::JsonView table = json.at("special_tokens");
  if (!table.has(name)) piece.fail("the special token '" + core::printable(name) + "' is not in special_tokens");
  const core::JsonView ids = table.at(name).at("ids");
  std::vector<TokenId> out;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<TokenId>(ids.at(i).as_int(0, kMaxTokenId));
    if (!known(id)) ids.at(i).fail(fmt::format("the id {} is not in the vocabulary", id));
    out.push_back(id);
  }
  return out;
}

// ["</s>", 2]
TokenId named_id(const core::JsonView& json, const Known& known) {
  if (!json.is_array() || json.size() != 2) json.fail("expected [\"token\", id]");
  const auto id = static_cast<TokenId>(json.at(std::size_t{1}).as_int(0, kMaxTokenId));
  if (!known(id)) json.fail(fmt::format("the id {} is not in the vocabulary", id));
  return id;
}

Template read_template(const core::JsonView& json, const Known& known) {
  Template result;
  bool behind = false;
  const core::JsonView single = json.at("single");
  for (std::size_t i = 0; i < single.size(); ++i) {
    const core::JsonView piece = single.at(i);
    if (piece.has("Sequence")) {
      if (behind) piece.fail("the text is there twice");
      behind = true;
    } else {
      const auto ids = special_ids(json, piece.at("SpecialToken"), known);
      auto& side = behind ? result.after : result.before;
      side.insert(side.end(), ids.begin(), ids.end());
    }
  }
  if (!behind) single.fail("the text (Sequence A) is missing");
  return result;
}

}  // namespace

Template read_post_processor(const core::JsonView& json, const std::function<bool(TokenId)>& known) {
  if (json.is_null()) return {};
  const std::string type = json.at("type").as_string();
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return read_template(json, known);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return {{named_id(json.at("cls"), known)}, {named_id(json.at("sep"), known)}};
  }
  if (type != "Sequence") json.fail("the post-processor '" + core::printable(type, 40) + "' is not supported");
  Template all;
  const core::JsonView steps = json.at("processors");
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Template step = read_post_processor(steps.at(i), known);
    all.before.insert(all.before.begin(), step.before.begin(), step.before.end());
    all.after.insert(all.after.end(), step.after.begin(), step.after.end());
  }
  return all;
}

}  // namespace lowrank::data
