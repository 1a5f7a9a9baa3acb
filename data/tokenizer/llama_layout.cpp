#include "lowrank/data/tokenizer/llama_layout.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

using core::Json;

// SentencePiece merges the two neighbours that together are the best piece; so every way to halve a piece is a merge,
// and the pieces' scores order them.
Json merges_of(const SentencePieceModel& model) {
  struct Halves {
    float score;
    std::size_t left_characters, right_characters;
    std::string_view left, right;
  };
  std::unordered_map<std::string_view, std::size_t> normal;
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].kind == SentencePieceModel::Kind::kNormal) normal[model.pieces[i].text] = i;
  }
  std::vector<Halves> merges;
  for (const auto& piece : model.pieces) {
    if (piece.kind != SentencePieceModel::Kind::kNormal) continue;
    const std::string_view text = piece.text;
    for (std::size_t at = character_length(text[0]); at < text.size(); at += character_length(text[at])) {
      const std::string_view left = text.substr(0, at), right = text.substr(at);
      if (!normal.contains(left) || !normal.contains(right)) continue;
      merges.push_back({piece.score, count_characters(left), count_characters(right), left, right});
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Halves& a, const Halves& b) {
    return std::tuple(-a.score, a.left_characters, a.right_characters) <
           std::tuple(-b.score, b.left_characters, b.right_characters);
  });
  Json out = Json::array();
  for (const Halves& m : merges) out.push_back(std::string(m.left) + " " + std::string(m.right));
  return out;
}

Json vocabulary_of(const SentencePieceModel& model) {
  // Past the interface: inserting a key into an ordered object looks through all keys before it.
  Json vocab = Json::object();
  auto& members = vocab.get_ref<Json::object_t&>();
  members.reserve(model.pieces.size());
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    members.Json::object_t::Container::emplace_back(model.pieces[i].text, static_cast<std::int64_t>(i));
  }
  return vocab;
}

Json added_token(const std::string& content, int id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::string llama_tokenizer_json(const SentencePieceModel& model) {
  const std::string &unk = model.pieces[0].text, &bos = model.pieces[1].text, &eos = model.pieces[2].text;
  const auto special = [](const std::string& id, int type) {
    return Json{{"SpecialToken", {{"id", id}, {"type_id", type}}}};
  };
  const auto text = [](const char* id, int type) { return Json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = Json::array({added_token(unk, 0), added_token(bos, 1), added_token(eos, 2)});
  json["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers", Json::array({{{"type", "Prepend"}, {"prepend", "\u2581"}},
                                   {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}})}};
  json["pre_tokenizer"] = nullptr;
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", Json::array({special(bos, 0), text("A", 0)})},
      {"pair", Json::array({special(bos, 0), text("A", 0), special(bos, 1), text("B", 1)})},
      {"special_tokens", {{bos, {{"id", bos}, {"ids", Json::array({1})}, {"tokens", Json::array({bos})}}}}}};
  json["decoder"] = {
      {"type", "Sequence"},
      {"decoders", Json::array({{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                                {{"type", "ByteFallback"}},
                                {{"type", "Fuse"}},
                                {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}})}};
  Json bpe;
  bpe["type"] = "BPE";
  bpe["dropout"] = nullptr;
  bpe["unk_token"] = unk;
  bpe["continuing_subword_prefix"] = nullptr;
  bpe["end_of_word_suffix"] = nullptr;
  bpe["fuse_unk"] = true;
  bpe["byte_fallback"] = true;
  bpe["ignore_merges"] = false;
  bpe["vocab"] = vocabulary_of(model);
  bpe["merges"] = merges_of(model);
  json["model"] = std::move(bpe);
  return core::json_text(json, 1) + "\n";
}

std::string llama_tokenizer_config(const SentencePieceModel& model) {
  const Json json = {{"tokenizer_class", "LlamaTokenizer"},
                     {"bos_token", model.pieces[1].text},
                     {"eos_token", model.pieces[2].text},
                     {"unk_token", model.pieces[0].text},
                     {"add_bos_token", true},
                     {"add_eos_token", false},
                     {"legacy", true},
                     {"clean_up_tokenization_spaces", false},
                     {"sp_model_kwargs", Json::object()}};
  return core::json_text(json, 2) + "\n";
}

std::string llama_special_tokens_map(const SentencePieceModel& model) {
  const Json json = {
      {"bos_token", model.pieces[1].text}, {"eos_token", model.pieces[2].text}, {"unk_token", model.pieces[0].text}};
  return core::json_text(json, 2) + "\n";
}

}  // namespace lowrank::data
