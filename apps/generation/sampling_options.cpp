#include "lowrank/apps/generation/sampling_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <string>
#include <vector>

namespace lowrank::apps {

void append_sampling_options(Verb& verb, std::int64_t max_new_tokens) {
  verb.options.insert(
      verb.options.end(),
      {
          {"max-new-tokens", OptionType::kInt, "N", max_new_tokens, "Sampling", "Tokens at most", {}},
          {"temperature", OptionType::kNumber, "X", 0.0, "Sampling", "0: always the likeliest token", {}},
          {"top-k", OptionType::kInt, "N", 0, "Sampling", "Only the N likeliest tokens; 0: all", {}},
          {"top-p", OptionType::kNumber, "X", 1.0, "Sampling", "Only the likeliest tokens that hold this share", {}},
          {"repetition-penalty",
           OptionType::kNumber,
           "X",
           1.0,
           "Sampling",
           "Above 1: tokens that were there get rarer",
           {}},
          {"no-repeat-ngram",
           OptionType::kInt,
           "N",
           0,
           "Sampling",
           "No run of N tokens twice, the prompt's included; 0: off",
           {}},
          {"stop",
           OptionType::kTexts,
           "TEXT...",
           nullptr,
           "Sampling",
           "Texts that end the answer and are not part of it",
           {}},
          {"seed", OptionType::kInt, "N", 42, "Sampling", "Of the draws", {}},
          {"ignore-eos", OptionType::kFlag, "", false, "Sampling", "Go on after the end token", {}},
          {"cache-dtype",
           OptionType::kText,
           "TYPE",
           "auto",
           "System",
           "Keys and values of what was read: as the model computes (auto), rounded to bfloat16, or int8 with a scale a token and "
           "head, which takes a quarter of fp32's memory and more time",
           {"auto", "bfloat16", "int8"}},
      });
}

namespace {

void say_what_is_idle(const Options& options, const Console& console) {
  std::vector<std::string> idle;
  for (const char* name : {"top-k", "top-p", "seed"})
    if (options.given(name)) idle.push_back(fmt::format("--{}", name));
  if (idle.empty()) return;
  // On stderr: a pipe gets the answer alone.
  console.warning(fmt::format("{} {} nothing at --temperature 0, which draws nothing; give a temperature above 0, such as 0.7",
                              fmt::join(idle, ", "), idle.size() == 1 ? "does" : "do"));
}

}  // namespace

models::GenerateOptions sampling_options(const Options& options, const Console& console) {
  constexpr double kMax = std::numeric_limits<double>::max();
  models::GenerateOptions sampling;
  sampling.max_new_tokens = options.integer_in("max-new-tokens", 1, 1 << 24);
  sampling.temperature = options.number_in("temperature", 0, kMax);
  sampling.top_k = options.integer_in("top-k", 0, std::numeric_limits<std::int32_t>::max());
  sampling.top_p = options.number_in("top-p", 0, 1);
  if (sampling.top_p == 0)
    options.fail("top-p", "expected more than 0 and at most 1 (--temperature 0 is greedy), found 0");
  sampling.repetition_penalty = options.number_in("repetition-penalty", 0, kMax);
  if (sampling.repetition_penalty == 0) options.fail("repetition-penalty", "expected more than 0 (1: none), found 0");
  sampling.no_repeat_ngram = options.integer_in("no-repeat-ngram", 0, 1 << 24);
  sampling.stop = options.texts("stop");
  for (const std::string& text : sampling.stop) {
    if (text.empty()) options.fail("stop", "an empty text would stop every answer at once; leave it out");
  }
  sampling.seed = static_cast<std::uint64_t>(options.integer_in("seed", 0, std::numeric_limits<std::int64_t>::max()));
  if (sampling.temperature == 0 && !options.given("beams")) say_what_is_idle(options, console);
  sampling.ignore_eos = options.flag("ignore-eos");
  const std::string cache = options.text("cache-dtype");
  sampling.cache = cache == "int8"       ? models::KvDtype::kInt8
                   : cache == "bfloat16" ? models::KvDtype::kBFloat16
                                         : models::KvDtype::kAuto;
  return sampling;
}

}  // namespace lowrank::apps
