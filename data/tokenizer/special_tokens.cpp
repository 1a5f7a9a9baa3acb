#include "lowrank/data/tokenizer/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

namespace {

namespace fs = std::filesystem;

AddedToken plain_special(std::string content) {
  AddedToken token;
  token.content = std::move(content);
  token.special = true;
  return token;
}

// "<s>" or {"content": "<s>", ...}
AddedToken special_token(const core::JsonView& json) {
  if (json.is_string()) return plain_special(json.as_string());
  if (!json.is_object()) json.fail("expected a token: a string or an object with \"content\"");
  AddedToken token = AddedToken::from_json(json);
  token.special = true;
  if (!json.has("normalized")) token.normalized = false;
  return token;
}

void read_named(const core::JsonView& json, SpecialTokens& out) {
  const auto read = [&](const char* key, SpecialTokens::Named& named) {
    if (!json.has(key)) return;
    named.said = true;
    named.token.reset();
    if (!json.at(key).is_null()) named.token = special_token(json.at(key));
  };
  read("bos_token", out.bos);
  read("eos_token", out.eos);
  read("pad_token", out.pad);
  read("unk_token", out.unk);
  for (const char* key : {"sep_token", "cls_token", "mask_token"}) {
    if (json.has_value(key)) out.extra.push_back(special_token(json.at(key)));
  }
  // Tokens of a model's own, an image's: "image_token" beside those above, and an object {name: token}.
  static const std::set<std::string> usual = {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"};
  for (const std::string& key : json.keys()) {
    const bool named = key.ends_with("_token") && !usual.contains(key);
    if (named && (json.at(key).is_string() || json.at(key).is_object())) out.extra.push_back(special_token(json.at(key)));
  }
  bool as_list = false;  // which makes the older name count for nothing
  if (json.has_value("extra_special_tokens")) {
    const core::JsonView extra = json.at("extra_special_tokens");
    as_list = extra.is_array() && extra.size() > 0;
    for (std::size_t i = 0; extra.is_array() && i < extra.size(); ++i) out.listed.push_back(special_token(extra.at(i)));
    if (extra.is_object()) {
      for (const std::string& name : extra.keys()) out.extra.push_back(special_token(extra.at(name)));
    }
  }
  if (!as_list && json.has_value("additional_special_tokens") && json.at("additional_special_tokens").is_array()) {
    const core::JsonView list = json.at("additional_special_tokens");
    for (std::size_t i = 0; i < list.size(); ++i) out.listed.push_back(special_token(list.at(i)));
  }
}

void read_added_tokens_decoder(const core::JsonView& json, SpecialTokens& out) {
  for (const std::string& key : json.keys()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > kMaxTokenId) {
      json.fail("'" + core::printable(key, 40) + "' is no token id");
    }
    AddedToken token = AddedToken::from_json(json.at(key));
    token.id = id;
    out.added.push_back(std::move(token));
  }
  std::sort(out.added.begin(), out.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
}

std::optional<bool> flag(const core::JsonView& json, const char* key) {
  if (!json.has_value(key)) return std::nullopt;
  return json.at(key).as_bool();
}

// Only these ids: whether the rest of config.json is right is for others to say.
void read_model_config(const fs::path& file, SpecialTokens& out) {
  const core::Json json = core::read_json(file, core::kSettings);
  if (!json.is_object()) return;
  const auto read = [&](const char* key, SpecialTokens::Named& named) {
    auto it = json.find(key);
    if (it == json.end()) return;
    const core::Json& value = it->is_array() && !it->empty() ? it->front() : *it;
    if (!value.is_number_integer()) return;
    const auto id = value.get<std::int64_t>();
    if (id >= 0 && id <= kMaxTokenId) named.config_id = static_cast<TokenId>(id);
  };
  read("bos_token_id", out.bos);
  read("eos_token_id", out.eos);
  read("pad_token_id", out.pad);
}

}  // namespace

SpecialTokens read_special_tokens(const fs::path& directory) {
  SpecialTokens out;
  const auto there = [&](const char* name) {
    const fs::path file = directory / name;
    if (!fs::exists(file)) return false;
    out.files.push_back(file);
    return true;
  };
  bool has_decoder = false;
  if (there("tokenizer_config.json")) {
    const core::Json json = core::read_json(directory / "tokenizer_config.json", core::kSettings);
    const core::JsonView view(json, "tokenizer_config.json");
    if (!view.is_object()) view.fail("expected an object");
    read_named(view, out);
    if (view.has_value("added_tokens_decoder")) {
      has_decoder = true;
      read_added_tokens_decoder(view.at("added_tokens_decoder"), out);
    }
    out.add_bos = flag(view, "add_bos_token");
    out.add_eos = flag(view, "add_eos_token");
    out.legacy = flag(view, "legacy");
    out.add_prefix_space = flag(view, "add_prefix_space");
    out.split = flag(view, "split_special_tokens").value_or(false);
    if (view.has_value("tokenizer_class") && view.at("tokenizer_class").is_string()) {
      out.tokenizer_class = view.at("tokenizer_class").as_string();
      if (out.tokenizer_class.ends_with("Fast")) out.tokenizer_class.resize(out.tokenizer_class.size() - 4);
    }
    if (view.has_value("pat_str")) out.pattern = view.at("pat_str").as_string();
    out.has_chat_template = view.has_value("chat_template");
  }
  if (there("special_tokens_map.json") && !has_decoder) {
    const core::Json json = core::read_json(directory / "special_tokens_map.json", core::kSettings);
    const core::JsonView view(json, "special_tokens_map.json");
    if (!view.is_object()) view.fail("expected an object");
    read_named(view, out);
  }
  if (there("added_tokens.json") && !has_decoder) {
    const core::Json json = core::read_json(directory / "added_tokens.json", core::kSettings);
    const core::JsonView view(json, "added_tokens.json");
    for (const std::string& content : view.keys()) {
      AddedToken token;
      token.content = content;
      token.id = static_cast<TokenId>(view.at(content).as_int(0, kMaxTokenId));
      token.normalized = true;
      out.added.push_back(std::move(token));
    }
    std::sort(out.added.begin(), out.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
  for (const char* name : {"chat_template.jinja", "chat_template.json"}) {
    if (there(name)) out.has_chat_template = true;
  }
  if (fs::exists(directory / "config.json")) read_model_config(directory / "config.json", out);
  return out;
}

}  // namespace lowrank::data
