#include "lowrank/data/tokenizer/add_tokens.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/temporary_folder.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

namespace fs = std::filesystem;
using core::Json;
using core::JsonView;

namespace {

std::vector<NewToken> of_json(const Json& json, const std::string& where) {
  const JsonView all(json, where);
  if (!all.is_array()) all.fail("expected a list of tokens");
  std::vector<NewToken> tokens;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const JsonView one = all.at(i);
    NewToken token;
    if (one.is_string()) {
      token.content = one.as_string();
    } else {
      if (!one.is_object()) one.fail("expected a token, or an object {\"content\", \"from\", \"special\"}");
      for (const std::string& key : one.keys())
        if (key != "content" && key != "from" && key != "special")
          one.fail(fmt::format("the key '{}' is not known{}", core::printable(key),
                               core::did_you_mean(key, {"content", "from", "special"})));
      token.content = one.at("content").as_string();
      token.from = one.get_string("from", "");
      token.special = one.get_bool("special", false);
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::vector<NewToken> of_lines(const std::string& text) {
  std::vector<NewToken> tokens;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const std::size_t tab = line.find('\t');
    tokens.push_back({line.substr(0, tab), tab == std::string::npos ? "" : line.substr(tab + 1)});
  }
  return tokens;
}

// As tokenizer.json lists an added token; `id` there and in tokenizer_config.json's added_tokens_decoder.
Json entry_of(const NewToken& token) {
  return {{"content", token.content}, {"lstrip", false},      {"normalized", false},
          {"rstrip", false},          {"single_word", false}, {"special", token.special}};
}

std::string written(const Json& json) { return core::json_text(json, 2) + "\n"; }

}  // namespace

std::vector<NewToken> read_new_tokens(const fs::path& file) {
  const std::string text = core::read_file(file);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string::npos && text[first] == '[' && text.find_last_not_of(" \t\r\n") == text.rfind(']');
  std::vector<NewToken> tokens = json ? of_json(core::parse_json(text, file.string()), file.string()) : of_lines(text);
  if (tokens.empty()) throw DataError(fmt::format("{}: no tokens there; expected one a line", file.string()));
  std::set<std::string> seen;
  for (const NewToken& token : tokens) {
    if (token.content.empty()) throw DataError(fmt::format("{}: a token is empty", file.string()));
    if (!seen.insert(token.content).second)
      throw DataError(fmt::format("{}: the token '{}' is there twice", file.string(), core::printable(token.content)));
  }
  return tokens;
}

ExtendedTokenizer with_new_tokens(const fs::path& folder, const std::vector<NewToken>& tokens) {
  const auto own = Tokenizer::load(folder);
  if (own->files().front().filename() != "tokenizer.json")
    throw FormatError(fmt::format("{}: tokens can be added to a tokenizer.json only, and this tokenizer is read from {}; "
                                  "save it once with transformers' AutoTokenizer",
                                  folder.string(), own->files().front().filename().string()));
  const auto made = std::make_shared<const core::TemporaryFolder>();
  ExtendedTokenizer result;
  Json json = core::parse_json(core::read_file(folder / "tokenizer.json"), (folder / "tokenizer.json").string());
  Json config;
  for (const fs::path& file : own->files()) {
    const std::string name = file.filename().string();
    if (name == "tokenizer.json") continue;
    const std::string content = core::read_file(file);
    if (name == "tokenizer_config.json")
      config = core::parse_json(content, file.string());
    else
      core::write_file(made->path() / name, content);
  }
  if (!json["added_tokens"].is_array()) json["added_tokens"] = Json::array();
  TokenId next = own->size();
  for (const NewToken& token : tokens) {
    ExtendedTokenizer::Place place;
    if (const auto known = own->token_to_id(token.content)) {
      place = {*known, true, {}};
    } else {
      place.id = next++;
      Json entry = entry_of(token);
      if (config.is_object() && config.contains("added_tokens_decoder"))
        config["added_tokens_decoder"][std::to_string(place.id)] = entry;
      entry["id"] = place.id;
      json["added_tokens"].push_back(std::move(entry));
    }
    if (!token.from.empty()) {
      place.begins = own->encode(token.from, false);
      if (place.begins.empty())
        throw DataError(fmt::format("the token '{}' is to begin from a text without tokens ('{}')",
                                    core::printable(token.content), core::printable(token.from)));
    }
    result.places.push_back(std::move(place));
  }
  core::write_file(made->path() / "tokenizer.json", written(json));
  if (config.is_object()) core::write_file(made->path() / "tokenizer_config.json", written(config));
  result.tokenizer = Tokenizer::load(made->path());
  result.folder = made;
  return result;
}

}  // namespace lowrank::data
