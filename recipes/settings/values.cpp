// A value of theirs as our option has it, by the table of names (translations.cpp) and the verb's options.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "lowrank/recipes/settings/converter.h"

namespace lowrank::recipes {

namespace {

/// Numbers in quotes, which the tools read all the same, and those that only YAML 1.1 has (+2, 4_096).
core::Json read_number(const core::Json& value) {
  if (!value.is_string()) return value;
  std::string text = value.get<std::string>();
  std::erase(text, '_');
  if (text.starts_with('+')) text.erase(0, 1);
  const char* const end = text.data() + text.size();
  if (std::int64_t n = 0; std::from_chars(text.data(), end, n).ptr == end && !text.empty()) return n;
  if (double x = 0; std::from_chars(text.data(), end, x).ptr == end && !text.empty()) return x;
  return value;
}

}  // namespace

std::string ForeignConverter::dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

void ForeignConverter::learns_all_turns(const std::string& key) {
  leave(key, result_.tool + " learns every turn of conversations; here it is the assistant's, or all by `train-on-prompt`");
}

bool ForeignConverter::of_records(const std::string& key, const Json& value) {
  if (key == "use_tensorboard") {
    if (!is_off(value)) set("tensorboard", true);
    return true;
  }
  if (key == "report_to") {
    std::string others;
    for (const Json& one : value.is_array() ? value : Json::array({value})) {
      const std::string name = in_words(one);
      if (name == "tensorboard" || name == "all") {
        set("tensorboard", true);
      } else if (name != "none" && !is_off(one)) {
        others += (others.empty() ? "" : ", ") + name;
      }
    }
    if (!others.empty()) leave(key, fmt::format("nothing is sent to {}; every run writes report.html, and an event file by `tensorboard`", others));
    return true;
  }
  if (key.starts_with("wandb")) {
    if (!is_off(value) && value != Json("")) leave(key, "nothing is sent; every run writes report.html, and an event file by `tensorboard`");
    return true;
  }
  return false;
}

void ForeignConverter::by_table(const std::string& key, const Json& value) {
  const std::string name = dashed(key);
  if (const auto answer = known_.translation(name)) {
    if (answer->starts_with("the MODEL")) return value.is_structured() ? leave(key, "one name or folder is expected") : set("model", in_words(value));
    if (!answer->starts_with("--")) {
      if (!is_off(value)) leave(key, *answer);
      return;
    }
    const std::size_t end = std::min(answer->find_first_of(" ,"), answer->size());
    const std::string ours = answer->substr(2, end - 2);
    const std::string rest = end < answer->size() ? answer->substr(end + 1) : "";
    if (option(ours) == nullptr) return leave(key, fmt::format("`lowrank {}` has no `{}`", result_.verb, ours));
    if (name == "quantization-bit") {
      if (value == Json(4) || value == Json(8)) return set(ours, value == Json(4) ? "nf4" : "int8");
      return is_off(value) ? void() : leave(key, "weights of 4 and 8 bits are offered");
    }
    if (name == "max-samples" || name == "max-train-samples") return leave(key, *answer);
    if (!rest.empty() && rest.front() != '(' && rest.find(' ') == std::string::npos) {  // "--recompute layer"
      if (!is_off(value) && value != Json("auto")) set(ours, rest);
      return;
    }
    return set_as(key, ours, value);
  }
  if (option(name) != nullptr) return set_as(key, name, value);
  const bool off = is_off(value) || value == Json("") || ((value.is_array() || value.is_object()) && value.empty());
  const auto said = [&](const auto& left) { return left.first == key; };
  if (!off && std::none_of(result_.left_out.begin(), result_.left_out.end(), said)) leave(key, "nothing like it here");
}

void ForeignConverter::set_as(const std::string& key, const std::string& name, const Json& value) {
  if (option(name) == nullptr) return leave(key, fmt::format("`lowrank {}` has no `{}`", result_.verb, name));
  const FieldInfo& ours = *option(name);
  if (value.is_object()) return leave(key, "a mapping has no counterpart here");
  if (ours.type == FieldType::kFlag) {
    if (value == Json(true) || value == Json("true")) return set(name, true);
    if (!is_off(value)) leave(key, "`" + name + "` is yes or no here");
    return;
  }
  if (name == "targets" || name == "exclude" || name == "modules-to-save") {
    const std::string list = in_words(value);
    if (!list.empty()) set(name, list == "all" ? "all-linear" : list);
    return;
  }
  if (name == "init" && value.is_boolean()) {
    if (is_off(value)) leave(key, "random beginnings of both matrices are not offered");
    return;
  }
  if (name == "bias" && value.is_boolean()) {  // PEFT's lora_bias
    if (!is_off(value)) leave(key, "biases beside B are not trained here");
    return;
  }
  if (name == "schedule") return schedule(key, in_words(value));
  if (ours.type == FieldType::kTexts) return set(name, value.is_array() ? value : Json::array({in_words(value)}));
  if (ours.type == FieldType::kInt || ours.type == FieldType::kNumber) return number(key, ours, value);
  const std::string text = in_words(value);
  if (!ours.choices.empty() && std::find(ours.choices.begin(), ours.choices.end(), text) == ours.choices.end())
    return leave(key, fmt::format("`{}` has no '{}'", name, text));
  set(name, text);
}

void ForeignConverter::number(const std::string& key, const FieldInfo& ours, const Json& written) {
  const Json value = read_number(written);
  if (!value.is_number()) return leave(key, "`" + ours.name + "` takes a number");
  const double x = value.get<double>();
  if (!std::isfinite(x)) return leave(key, "`" + ours.name + "` takes a finite number");
  if (ours.name == "max-steps" && x <= 0) return;  // their word for: by epochs
  if (ours.name == "early-stopping" && x <= 0) return;
  if (ours.name == "val-split" && x >= 1) return leave(key, "`val-split` is a share below 1 here; or give `val-data`");
  if (ours.name == "warmup" && has("warmup")) return warmup(key, x, value);
  if (ours.range && (x < ours.range->first || x > ours.range->second))
    return leave(key, fmt::format("`{}` is from {:g} to {:g} here", ours.name, ours.range->first, ours.range->second));
  const bool whole = ours.type == FieldType::kInt;
  if (whole && (std::abs(x) >= 0x1p63 || x != std::floor(x))) return leave(key, fmt::format("`{}` is a whole number here", ours.name));
  set(ours.name, whole && !value.is_number_integer() ? Json(static_cast<std::int64_t>(x)) : value);
}

}  // namespace lowrank::recipes
