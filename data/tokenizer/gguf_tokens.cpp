#include "lowrank/data/tokenizer/gguf_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/data/chat/find_template.h"
#include "lowrank/data/tokenizer/gguf_pre.h"
#include "lowrank/data/tokenizer/model_tables.h"
#include "lowrank/data/tokenizer/sentencepiece_model.h"
#include "lowrank/data/tokenizer/special_tokens.h"
#include "lowrank/data/tokenizer/tiktoken.h"

namespace lowrank::data {

namespace {

namespace fs = std::filesystem;
using formats::GgufValues;

// llama.cpp's types of tokens (llama.h, LLAMA_TOKEN_TYPE_*), which are SentencePiece's.
enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr float kAddedScore = -1000, kPaddingScore = -10000;
constexpr const char* kMetaSpace = "\xe2\x96\x81";  // ▁

struct Tokens {
  explicit Tokens(std::int64_t rows)
      : scores(static_cast<std::size_t>(rows), kPaddingScore), types(static_cast<std::size_t>(rows), kUnused) {
    for (std::int64_t i = 0; i < rows; ++i) texts.push_back(fmt::format("[PAD{}]", i));
  }
  void set(std::size_t id, std::string text, float score, std::int32_t type) {
    if (id >= texts.size()) return;
    texts[id] = std::move(text);
    scores[id] = score;
    types[id] = type;
  }
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
};

/// Tokens that released files leave as ordinary ones though they steer the model (the converter's
/// does_token_look_special).
bool looks_special(std::string_view text) {
  constexpr std::string_view kBegin = "<\xef\xbd\x9c", kEnd = "\xef\xbd\x9c>";  // of DeepSeek
  return text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" ||
         (text.starts_with("<|") && text.ends_with("|>")) || (text.starts_with(kBegin) && text.ends_with(kEnd)) ||
         (text.starts_with("<unused") && text.ends_with(">"));
}

/// An added token: control tokens as they are, others with the spaces that they stand for.
void set_added(const AddedToken& token, Tokens& tokens) {
  std::string text = token.content;
  const bool control = token.special || looks_special(text);
  if (!control)
    for (std::size_t at = 0; (at = text.find(kMetaSpace, at)) != std::string::npos; ++at) text.replace(at, 3, " ");
  tokens.set(static_cast<std::size_t>(token.id), std::move(text), kAddedScore, control ? kControl : kUserDefined);
}

/// tokenizer.json, but for its tables, and those.
struct TokenizerFile {
  explicit TokenizerFile(const fs::path& file)
      : tables(file.string()), json(core::read_json(file, tables)), view(json, file.string()) {
    if (!view.is_object() || !view.has_value("model")) view.fail("expected an object with \"model\"");
    if (!view.has_value("added_tokens")) return;
    const core::JsonView list = view.at("added_tokens");
    for (std::size_t i = 0; i < list.size(); ++i) {
      added.push_back(AddedToken::from_json(list.at(i)));
      added.back().id = static_cast<TokenId>(list.at(i).at("id").as_int(0, kMaxTokenId));
    }
  }
  std::string type() const { return view.at("model").get_string("type", "BPE"); }
  bool byte_fallback() const { return view.at("model").get_bool("byte_fallback", false); }
  /// Whether a part of the tokenizer, or of a sequence of them, is of this type.
  bool has_step(const char* part, const char* list, const char* wanted) const {
    return step(part, list, wanted).has_value();
  }
  std::optional<core::JsonView> step(const char* part, const char* list, const char* wanted) const {
    if (!view.has_value(part)) return std::nullopt;
    const core::JsonView root = view.at(part);
    if (root.get_string("type", "") == wanted) return root;
    if (!root.has_value(list)) return std::nullopt;
    const core::JsonView steps = root.at(list);
    for (std::size_t i = 0; i < steps.size(); ++i)
      if (steps.at(i).get_string("type", "") == wanted) return steps.at(i);
    return std::nullopt;
  }

  ModelTables tables;
  core::Json json;
  core::JsonView view;
  std::vector<AddedToken> added;
};

core::Json settings_in(const fs::path& file) {
  return fs::exists(file) ? core::read_json(file, core::kSettings) : core::Json::object();
}

/// Of every added token those of the files beside tokenizer.json too.
std::vector<AddedToken> all_added(const TokenizerFile& file, const fs::path& folder) {
  std::vector<AddedToken> added = file.added;
  for (const AddedToken& token : read_special_tokens(folder).added) {
    const auto same =
        std::find_if(added.begin(), added.end(), [&](const AddedToken& one) { return one.id == token.id; });
    if (same == added.end()) {
      added.push_back(token);
    } else {
      same->special = same->special || token.special;
    }
  }
  return added;
}

std::vector<std::string> merges_of(const TokenizerFile& file) {
  std::vector<std::string> merges;
  const auto encoded = [](std::string_view part) {  // a space would part the two: U+0120 stands for it
    std::string text;
    for (const char c : part) text += c == ' ' ? "\xc4\xa0" : std::string(1, c);
    return text;
  };
  file.tables.visit_merges([&](std::string_view left, std::string_view right, const auto&) {
    merges.push_back(encoded(left) + " " + encoded(right));
  });
  return merges;
}

void write_byte_level(const TokenizerFile& file, const Tokenizer& tokenizer, const fs::path& folder, std::int64_t rows,
                      GgufTokenizer& out) {
  const std::string hash = gguf_probe_hash(tokenizer);
  std::optional<std::string> pre = gguf_pre_of_hash(hash);
  if (!pre) {
    pre = gguf_pre_of_steps(file.view);
    if (pre)
      out.notes.push_back(
          fmt::format("llama.cpp's converter does not know this tokenizer; its steps are those of the pre-tokenizer "
                      "{}, which is written",
                      *pre));
  }
  if (!pre)
    throw ModelError(fmt::format(
        "{}: llama.cpp has no pre-tokenizer that is known to cut texts as this one does (its converter tells them "
        "apart by the hash {}); keep the merged model in safetensors",
        file.view.where(), hash));
  Tokens tokens(rows);
  const Vocabulary& vocabulary = file.tables.vocabulary;
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    if (const auto text = vocabulary.token(id))
      tokens.set(static_cast<std::size_t>(id), std::string(*text), 0, kNormal);
  for (const AddedToken& token : all_added(file, folder)) {
    AddedToken settled = token;
    settled.special = tokenizer.is_special(token.id);
    set_added(settled, tokens);
  }
  out.kind = "byte-level BPE, pre-tokenizer " + *pre;
  out.values.emplace_back("tokenizer.ggml.model", std::string("gpt2"));
  out.values.emplace_back("tokenizer.ggml.pre", *pre);
  out.values.emplace_back("tokenizer.ggml.tokens", std::move(tokens.texts));
  out.values.emplace_back("tokenizer.ggml.token_type", std::move(tokens.types));
  out.values.emplace_back("tokenizer.ggml.merges", merges_of(file));
}

void put_llama(Tokens tokens, bool prefix, GgufTokenizer& out) {
  out.values.emplace_back("tokenizer.ggml.model", std::string("llama"));
  out.values.emplace_back("tokenizer.ggml.pre", std::string("default"));
  out.values.emplace_back("tokenizer.ggml.tokens", std::move(tokens.texts));
  out.values.emplace_back("tokenizer.ggml.scores", std::move(tokens.scores));
  out.values.emplace_back("tokenizer.ggml.token_type", std::move(tokens.types));
  out.values.emplace_back("tokenizer.ggml.add_space_prefix", prefix);
}

/// Whether a text gets a space before it: what tokenizer_config.json says, else what the tokenizer does.
bool space_prefix(const TokenizerFile* file, const SentencePieceModel* model, const fs::path& folder) {
  if (const auto said = read_special_tokens(folder).add_prefix_space) return *said;
  if (file == nullptr) return model->add_dummy_prefix;
  if (const auto metaspace = file->step("pre_tokenizer", "pretokenizers", "Metaspace")) {
    const char* const otherwise = metaspace->get_bool("add_prefix_space", true) ? "always" : "never";
    return metaspace->get_string("prepend_scheme", otherwise) != "never";
  }
  return file->has_step("normalizer", "normalizers", "Prepend");
}

/// The pieces and scores of tokenizer.model, and the tokens that were added to them.
void write_pieces(const SentencePieceModel& model, const TokenizerFile* file, const fs::path& folder, std::int64_t rows,
                  GgufTokenizer& out) {
  Tokens tokens(rows);
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    // As the converter asks: user-defined pieces count as ordinary ones.
    const bool own = piece.kind == SentencePieceModel::Kind::kUserDefined;
    tokens.set(id, piece.text, piece.score, own ? kNormal : static_cast<std::int32_t>(piece.kind));
  }
  const std::vector<AddedToken> added = read_special_tokens(folder).added;
  for (const AddedToken& token : added) set_added(token, tokens);
  for (const AddedToken& token : file == nullptr ? std::vector<AddedToken>() : file->added) {
    const bool said =
        std::any_of(added.begin(), added.end(), [&](const AddedToken& one) { return one.id == token.id; });
    if (!said && static_cast<std::size_t>(token.id) >= model.pieces.size()) set_added(token, tokens);
  }
  put_llama(std::move(tokens), space_prefix(file, &model, folder), out);
  out.kind = "SentencePiece";
}

/// tokenizer.json's BPE with byte fallback. llama.cpp merges by the score of what comes out, so that a token's score is
/// its merge's place.
void write_fallback(const TokenizerFile& file, const Tokenizer& tokenizer, const fs::path& folder, std::int64_t rows,
                    GgufTokenizer& out) {
  std::unordered_map<std::string, float> places;
  float place = 0;
  file.tables.visit_merges([&](std::string_view left, std::string_view right, const auto&) {
    const std::string text = std::string(left) + std::string(right);
    if (places.emplace(text, -place).second) ++place;
  });
  Tokens tokens(rows);
  const Vocabulary& vocabulary = file.tables.vocabulary;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const auto text = vocabulary.token(id);
    if (!text) continue;
    const auto found = places.find(std::string(*text));
    const float score = found == places.end() ? -place : found->second;
    const std::int32_t type = tokenizer.is_special(id) ? kControl : tokenizer.is_byte(id) ? kByte : kNormal;
    tokens.set(static_cast<std::size_t>(id), std::string(*text), score, type);
  }
  for (const AddedToken& token : all_added(file, folder)) {
    if (vocabulary.token(token.id)) continue;
    AddedToken settled = token;
    settled.special = tokenizer.is_special(token.id);
    set_added(settled, tokens);
  }
  put_llama(std::move(tokens), space_prefix(&file, nullptr, folder), out);
  out.kind = "BPE with byte fallback";
  out.notes.emplace_back(
      "there is no tokenizer.model beside tokenizer.json: tokens have scores by the order of their merges, so that "
      "llama.cpp merges as this tokenizer does (its converter would give all the same score)");
}

/// Ids of special tokens: what tokenizer_config.json names, else config.json's; whether BOS and EOS are put around a
/// text; and a further token that ends an answer, by generation_config.json.
void write_special(const Tokenizer& tokenizer, const fs::path& folder, std::int64_t rows, GgufTokenizer& out) {
  const core::Json named = settings_in(folder / "tokenizer_config.json"), config = settings_in(folder / "config.json"),
                   generation = settings_in(folder / "generation_config.json");
  const auto of_config = [&](const std::string& key) -> std::optional<std::int64_t> {
    const auto number = [&](const core::Json& json) -> std::optional<std::int64_t> {
      const auto found = json.find(key);
      if (found == json.end() || !found->is_number_integer()) return std::nullopt;
      return found->get<std::int64_t>();
    };
    if (const auto own = number(config)) return own;
    const auto text = config.find("text_config");
    return text != config.end() && text->is_object() ? number(*text) : std::nullopt;
  };
  const auto of_name = [&](const std::string& key) -> std::optional<std::int64_t> {
    const auto found = named.find(key);
    if (found == named.end()) return std::nullopt;
    const core::Json* text = &*found;
    if (text->is_object() && text->contains("content")) text = &text->at("content");
    if (!text->is_string()) return std::nullopt;
    const auto id = tokenizer.token_to_id(text->get<std::string>());
    return id ? std::optional<std::int64_t>(*id) : std::nullopt;
  };
  std::optional<std::int64_t> eos;
  for (const auto& [type, key] : std::vector<std::pair<std::string, std::string>>{{"bos", "bos"},
                                                                                  {"eos", "eos"},
                                                                                  {"unk", "unknown"},
                                                                                  {"sep", "seperator"},  // spelled so
                                                                                  {"pad", "padding"},
                                                                                  {"cls", "cls"},
                                                                                  {"mask", "mask"}}) {
    std::optional<std::int64_t> id = of_name(type + "_token");
    if (!id) id = of_config(type + "_token_id");
    if (!id || *id < 0 || *id >= rows) continue;
    if (type == "eos") eos = id;
    out.values.emplace_back("tokenizer.ggml." + key + "_token_id", static_cast<std::uint32_t>(*id));
  }
  const auto ends = generation.find("eos_token_id");
  if (ends != generation.end()) {
    for (const core::Json& id : ends->is_array() ? *ends : core::Json::array({*ends})) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= rows) continue;
      if (eos && id.get<std::int64_t>() == *eos) continue;
      out.values.emplace_back("tokenizer.ggml.eot_token_id", static_cast<std::uint32_t>(id.get<std::int64_t>()));
      break;
    }
  }
  out.values.emplace_back("tokenizer.ggml.add_bos_token", tokenizer.adds_bos());
  out.values.emplace_back("tokenizer.ggml.add_eos_token", tokenizer.adds_eos());
}

void write_templates(const fs::path& folder, GgufTokenizer& out) {
  std::vector<std::string> names;
  std::optional<std::string> standard;
  for (const TemplateSource& one : chat_templates_in(folder)) {
    if (one.name == "default") {
      standard = one.text;
      continue;
    }
    std::string name;
    for (const char c : one.name)
      name += std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_").find(c) ==
                      std::string_view::npos
                  ? '_'
                  : c;
    names.push_back(name);
    out.values.emplace_back("tokenizer.chat_template." + name, one.text);
  }
  if (!names.empty()) out.values.emplace_back("tokenizer.chat_templates", names);
  if (standard) out.values.emplace_back("tokenizer.chat_template", *standard);
}

}  // namespace

GgufTokenizer gguf_tokenizer(const fs::path& folder, std::int64_t rows) {
  GgufTokenizer out;
  const auto tokenizer = Tokenizer::load(folder);
  const fs::path json = folder / "tokenizer.json", pieces = folder / "tokenizer.model";
  std::optional<SentencePieceModel> model;
  if (fs::exists(pieces)) {
    const std::string bytes = core::read_file(pieces);
    if (!is_tiktoken(bytes)) model = SentencePieceModel::parse(bytes, pieces.string());
  }
  if (fs::exists(json)) {
    const TokenizerFile file(json);
    const bool byte_level = file.has_step("decoder", "decoders", "ByteLevel");
    if (file.type() == "BPE" && byte_level && !file.byte_fallback()) {
      write_byte_level(file, *tokenizer, folder, rows, out);
    } else if (model) {
      write_pieces(*model, &file, folder, rows, out);
    } else if (file.type() == "BPE" && file.byte_fallback()) {
      write_fallback(file, *tokenizer, folder, rows, out);
    } else {
      file.view.fail(fmt::format(
          "a tokenizer of the kind {} cannot be written for llama.cpp here: byte-level BPE, and BPE with byte "
          "fallback or a tokenizer.model beside it, can",
          file.type()));
    }
  } else if (model) {
    write_pieces(*model, nullptr, folder, rows, out);
  } else {
    throw ModelError(
        fmt::format("{}: a GGUF model needs tokenizer.json or SentencePiece's tokenizer.model; save the tokenizer with "
                    "transformers' AutoTokenizer",
                    folder.string()));
  }
  write_special(*tokenizer, folder, rows, out);
  write_templates(folder, out);
  return out;
}

}  // namespace lowrank::data
