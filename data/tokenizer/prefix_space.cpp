#include "lowrank/data/tokenizer/prefix_space.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace lowrank::data {

namespace {

using core::Json;

constexpr std::array<std::string_view, 6> kByteLevel = {"GPT2Tokenizer",    "Qwen2Tokenizer",   "Qwen3_5Tokenizer",
                                                        "GPTNeoXTokenizer", "CodeGenTokenizer", "CohereTokenizer"};
constexpr std::array<std::string_view, 2> kMetaspace = {"LlamaTokenizer", "CodeLlamaTokenizer"};

bool is_of(const Json& step, std::string_view type) {
  return step.is_object() && step.contains("type") && step["type"] == type;
}

/// The steps of a component, those of a sequence one by one; `list`: the sequence's key.
std::vector<Json*> steps_of(Json& tokenizer, const char* component, const char* list) {
  std::vector<Json*> steps;
  const auto found = tokenizer.find(component);
  if (found == tokenizer.end() || !found->is_object()) return steps;
  if (!is_of(*found, "Sequence")) return {&*found};
  if (const auto all = found->find(list); all != found->end() && all->is_array()) {
    for (Json& step : *all) steps.push_back(&step);
  }
  return steps;
}

Json* step_of(const std::vector<Json*>& steps, std::string_view type) {
  const auto found = std::find_if(steps.begin(), steps.end(), [&](const Json* step) { return is_of(*step, type); });
  return found == steps.end() ? nullptr : *found;
}

/// Takes steps out of a component.
template <class Goes>
void remove_steps(Json& tokenizer, const char* component, const char* list, Goes goes) {
  const auto found = tokenizer.find(component);
  if (found == tokenizer.end() || !found->is_object()) return;
  if (goes(*found)) {
    *found = nullptr;
  } else if (is_of(*found, "Sequence") && found->contains(list) && (*found)[list].is_array()) {
    Json kept = Json::array();
    for (Json& step : (*found)[list]) {
      if (!goes(step)) kept.push_back(std::move(step));
    }
    (*found)[list] = std::move(kept);
  }
}

void set_scheme(Json& metaspace, const char* scheme) {
  metaspace.erase("add_prefix_space");  // the older name
  metaspace["prepend_scheme"] = scheme;
}

/// Whether a Metaspace step puts the sign before a text.
bool prepends(const Json& metaspace) {
  if (metaspace.contains("prepend_scheme")) return metaspace["prepend_scheme"] != "never";
  return !metaspace.contains("add_prefix_space") || metaspace["add_prefix_space"] != false;
}

void apply_to_metaspace(Json& tokenizer, bool prefix, bool legacy) {
  const std::vector<Json*> pre = steps_of(tokenizer, "pre_tokenizer", "pretokenizers");
  if (step_of(pre, "ByteLevel") != nullptr) return;  // of Llama 3's kind: the class is not used
  Json* const metaspace = step_of(pre, "Metaspace");
  const bool by_normalizer = step_of(steps_of(tokenizer, "normalizer", "normalizers"), "Prepend") != nullptr;
  if ((by_normalizer || (metaspace != nullptr && prepends(*metaspace))) == prefix) return;
  const char* const scheme = !prefix ? "never" : legacy ? "always" : "first";
  if (metaspace != nullptr) {
    set_scheme(*metaspace, scheme);
  } else if (prefix) {
    if (!pre.empty()) return;  // what else cuts the text is not Llama's
    tokenizer["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", false}};
  }
  if (!prefix) remove_steps(tokenizer, "normalizer", "normalizers", [](const Json& step) { return is_of(step, "Prepend"); });
  // The first space of a decoded text is the one that was put there, or is not.
  const auto strips = [](const Json& step) { return is_of(step, "Strip") && step.value("content", "") == " " && step.value("start", 0) > 0; };
  const std::vector<Json*> decoders = steps_of(tokenizer, "decoder", "decoders");
  if (Json* const step = step_of(decoders, "Metaspace")) set_scheme(*step, scheme);
  if (!prefix) {
    remove_steps(tokenizer, "decoder", "decoders", strips);
  } else if (!decoders.empty() && is_of(tokenizer["decoder"], "Sequence") && step_of(decoders, "Metaspace") == nullptr &&
             std::none_of(decoders.begin(), decoders.end(), [&](const Json* step) { return strips(*step); })) {
    tokenizer["decoder"]["decoders"].push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
}

}  // namespace

void apply_prefix_space(Json& tokenizer, const SpecialTokens& special) {
  if (!special.add_prefix_space || !tokenizer.is_object()) return;
  const auto one_of = [&](const auto& classes) { return std::find(classes.begin(), classes.end(), special.tokenizer_class) != classes.end(); };
  if (one_of(kByteLevel)) {
    for (Json* const step : steps_of(tokenizer, "pre_tokenizer", "pretokenizers")) {
      if (is_of(*step, "ByteLevel")) (*step)["add_prefix_space"] = *special.add_prefix_space;
    }
  } else if (one_of(kMetaspace)) {
    apply_to_metaspace(tokenizer, *special.add_prefix_space, special.legacy.value_or(false));
  }
}

}  // namespace lowrank::data
