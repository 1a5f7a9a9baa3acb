#include "lowrank/apps/generation/model_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/settings_limits.h"

namespace lowrank::apps {

namespace {

using core::Json;

struct ModelSetting {
  const char* key;
  double idle;              // the number at which it does nothing; of others null, false and what is empty do nothing
  const char* option = "";  // ours for it
  bool draws = false;       // counts where tokens are drawn alone
};

constexpr std::array<ModelSetting, 21> kAsked = {{{"temperature", -1, "temperature", true},
                                                  {"top_k", 0, "top-k", true},
                                                  {"top_p", 1, "top-p", true},
                                                  {"min_p", 0, "", true},
                                                  {"top_h", 0, "", true},
                                                  {"typical_p", 1, "", true},
                                                  {"epsilon_cutoff", 0, "", true},
                                                  {"eta_cutoff", 0, "", true},
                                                  {"repetition_penalty", 1, "repetition-penalty"},
                                                  {"no_repeat_ngram_size", 0, "no-repeat-ngram"},
                                                  {"num_beams", 1, "beams"},
                                                  {"min_length", 0},
                                                  {"min_new_tokens", 0},
                                                  {"penalty_alpha", 0},
                                                  {"guidance_scale", 1},
                                                  {"bad_words_ids", -1},
                                                  {"sequence_bias", -1},
                                                  {"suppress_tokens", -1},
                                                  {"begin_suppress_tokens", -1},
                                                  {"forced_bos_token_id", -1},
                                                  {"forced_eos_token_id", -1}}};

bool does_something(const Json& value, const ModelSetting& setting) {
  if (value.is_number()) return value.get<double>() != setting.idle;
  return !value.is_null() && !(value.is_structured() && value.empty()) && value != false;
}

}  // namespace

void say_unused_settings(const Options& options, const Console& console, const std::filesystem::path& model) {
  const std::filesystem::path file = model / "generation_config.json";
  if (!std::filesystem::is_regular_file(file)) return;
  const Json settings = core::read_json(file, core::kSettings);
  if (!settings.is_object()) return;
  const auto given = [&](const char* option) { return *option != '\0' && options.has(option) && options.given(option); };
  const bool greedy = given("beams") || (given("temperature") && options.number("temperature") == 0);
  const bool draws = settings.contains("do_sample") && settings["do_sample"] == true && !greedy;
  std::vector<std::string> unused, flags;
  for (const ModelSetting& setting : kAsked) {
    if ((setting.draws && !draws) || given(setting.option)) continue;
    // Drawing is at temperature 1 where nothing else is said.
    const bool warm = std::string_view(setting.key) == "temperature";
    const Json value = settings.contains(setting.key) ? settings[setting.key] : warm ? Json(1.0) : Json();
    if (!does_something(value, setting)) continue;
    const std::string text = value.is_number() ? core::json_text(value) : "";
    unused.push_back(text.empty() ? setting.key : fmt::format("{} {}", setting.key, text));
    if (*setting.option != '\0' && find_option(options.verb(), setting.option) != nullptr && !text.empty())
      flags.push_back(fmt::format("--{} {}", setting.option, text));
  }
  if (unused.empty()) return;
  console.warning(fmt::format("generation_config.json of the model asks for {}, which {} not used here{}", fmt::join(unused, ", "),
                              unused.size() == 1 ? "is" : "are",
                              flags.empty() ? "" : fmt::format("; to have {} give {}", flags.size() == unused.size() ? "the same" : "as much of it",
                                                               fmt::join(flags, " "))));
}

}  // namespace lowrank::apps
