#include "lowrank/data/tokenizer/tiktoken.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/base64.h"
#include "lowrank/data/tokenizer/bpe.h"
#include "lowrank/data/tokenizer/hf_tokenizer.h"

namespace lowrank::data {

namespace {

using core::Json;

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kCl100k =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const char* pattern_of(const std::string& file_name) {
  static const std::map<std::string, const char*> kKnown = {
      {"tokenizer.model", kCl100k},    {"qwen.tiktoken", kQwen},      {"cl100k_base.tiktoken", kCl100k},
      {"o200k_base.tiktoken", kO200k}, {"r50k_base.tiktoken", kGpt2}, {"p50k_base.tiktoken", kGpt2},
  };
  const auto it = kKnown.find(file_name);
  return it == kKnown.end() ? nullptr : it->second;
}

// What tokenizer.json would say beside its model.
Json parts(const std::string& pattern) {
  return {{"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"added_tokens", Json::array()}};
}

Json special_token(const std::string& content, TokenId id) {
  return {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
}

// Files of before this list was written into them.
std::vector<std::string> old_special_tokens(std::size_t count) {
  std::vector<std::string> out = {"<unk>",
                                  "<s>",
                                  "</s>",
                                  "[INST]",
                                  "[/INST]",
                                  "[AVAILABLE_TOOLS]",
                                  "[/AVAILABLE_TOOLS]",
                                  "[TOOL_RESULTS]",
                                  "[/TOOL_RESULTS]",
                                  "[TOOL_CALLS]",
                                  "[IMG]",
                                  "<pad>",
                                  "[IMG_BREAK]",
                                  "[IMG_END]",
                                  "[PREFIX]",
                                  "[MIDDLE]",
                                  "[SUFFIX]",
                                  "[SYSTEM_PROMPT]",
                                  "[/SYSTEM_PROMPT]",
                                  "[TOOL_CONTENT]"};
  out.resize(std::min(out.size(), count));
  while (out.size() < count) out.push_back(fmt::format("<SPECIAL_{}>", out.size()));
  return out;
}

std::vector<std::string> special_tokens(const core::JsonView& root, std::size_t count) {
  std::vector<std::string> out = old_special_tokens(count);
  if (!root.has_value("special_tokens")) return out;
  const core::JsonView list = root.at("special_tokens");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto rank = list.at(i).at("rank").as_int(0, static_cast<std::int64_t>(count) - 1);
    out[static_cast<std::size_t>(rank)] = list.at(i).at("token_str").as_string();
  }
  for (std::size_t i = list.size(); i < count; ++i) out[i] = fmt::format("<SPECIAL_{}>", i);
  return out;
}

}  // namespace

std::shared_ptr<Tokenizer> read_tekken(const std::filesystem::path& file, SpecialTokens special) {
  const std::string where = file.string();
  const Json json = core::read_json(file);
  const core::JsonView root(json, where), config = root.at("config"), vocab = root.at("vocab");
  const auto reserved = static_cast<std::size_t>(config.get_int("default_num_special_tokens", 1000, 0, kMaxTokenId));
  const auto total = config.at("default_vocab_size").as_int(static_cast<std::int64_t>(reserved) + 256, kMaxTokenId);
  const std::size_t wanted = static_cast<std::size_t>(total) - reserved;
  if (vocab.size() < wanted) {
    vocab.fail(fmt::format("{} tokens, where config.default_vocab_size asks for {}", vocab.size(), wanted));
  }
  std::vector<std::string> tokens;
  for (std::size_t rank = 0; rank < wanted; ++rank) {
    const core::JsonView entry = vocab.at(rank);
    entry.at("rank").as_int(static_cast<std::int64_t>(rank), static_cast<std::int64_t>(rank));
    tokens.push_back(decode_base64(entry.at("token_bytes")));
  }
  Json tokenizer = parts(config.at("pattern").as_string());
  const std::vector<std::string> names = special_tokens(root, reserved);
  for (std::size_t id = 0; id < names.size(); ++id) {
    tokenizer["added_tokens"].push_back(special_token(names[id], static_cast<TokenId>(id)));
  }
  const auto name = [&](SpecialTokens::Named& named, const char* content) {
    const bool there = std::find(names.begin(), names.end(), content) != names.end();
    if (!named.said && there) named = {true, AddedToken::from_json({special_token(content, 0), where}), std::nullopt};
  };
  name(special.bos, "<s>");
  name(special.eos, "</s>");
  name(special.unk, "<unk>");
  name(special.pad, "<pad>");
  const auto bos = std::find(names.begin(), names.end(), "<s>");
  if (bos != names.end() && special.add_bos.value_or(true)) {
    tokenizer["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {bos - names.begin()}}, {"tokens", {"<s>"}}}}}}};
  }
  return std::make_shared<HfTokenizer>(tokenizer, where, special, std::make_unique<Bpe>(tokens, names, where));
}

bool is_tiktoken(std::string_view bytes) {
  // "IQ== 0": the first line of all of them is a token of one byte.
  const auto space = bytes.substr(0, 64).find(' ');
  return space == 4 && bytes.substr(space, 3) == " 0\n" && bytes.substr(2, 2) == "==";
}

std::shared_ptr<Tokenizer> read_tiktoken(const std::string& bytes, const std::filesystem::path& file,
                                         const SpecialTokens& special) {
  const std::string where = file.string();
  const char* known = pattern_of(file.filename().string());
  if (!special.pattern && known == nullptr) {
    throw FormatError(where +
                      ": the pattern that cuts a text is not known for a file of this name; write it into "
                      "tokenizer_config.json as \"pat_str\"");
  }
  std::vector<std::string> tokens;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', at), bytes.size());
    const std::string_view line = std::string_view(bytes).substr(at, end - at);
    at = end + 1;
    if (line.empty()) continue;
    const auto space = line.find(' ');
    std::int64_t rank = -1;
    if (space != std::string_view::npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
    if (rank != static_cast<std::int64_t>(tokens.size()) || tokens.size() > static_cast<std::size_t>(kMaxTokenId)) {
      throw FormatError(fmt::format("{}: line {}: expected a token in base64 and the rank {}, found '{}'", where,
                                    tokens.size() + 1, tokens.size(), core::printable(line, 60)));
    }
    tokens.push_back(decode_base64(line.substr(0, space), fmt::format("{}: line {}", where, tokens.size() + 1)));
  }
  const Json tokenizer = parts(special.pattern ? *special.pattern : known);
  return std::make_shared<HfTokenizer>(tokenizer, where, special,
                                       std::make_unique<Bpe>(tokens, std::vector<std::string>{}, where));
}

}  // namespace lowrank::data
