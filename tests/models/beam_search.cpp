// Beam search against transformers' answers, against every sequence there is, and its own invariances.
#include "lowrank/models/beam_search.h"

#include <map>

#include "lowrank/core/json.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;
using core::Json;
using models::BatchPrompt;
using models::BeamOptions;
using models::BeamStop;
using models::GenerateOptions;
using Ids = std::vector<data::TokenId>;

namespace {

models::Decoder decoder_of(const fs::path& folder, const Ids& eos) {
  models::DecoderConfig config = models::read_config(folder);
  config.eos_token_ids.assign(eos.begin(), eos.end());
  return models::load_decoder(config, formats::WeightFiles::open(folder), at::kFloat, false);
}

struct Settings {
  GenerateOptions options;
  BeamOptions beams;
};

Settings settings_of(const Json& json, std::int64_t max_new_tokens) {
  Settings settings;
  settings.options.max_new_tokens = max_new_tokens;
  settings.options.no_repeat_ngram = json.value("no_repeat_ngram_size", 0);
  settings.options.repetition_penalty = json.value("repetition_penalty", 1.0);
  settings.beams.beams = json["num_beams"];
  settings.beams.length_penalty = json["length_penalty"];
  const Json& stop = json["early_stopping"];
  settings.beams.stop = stop.is_string() ? BeamStop::kNever : stop.get<bool>() ? BeamStop::kFull : BeamStop::kHeuristic;
  return settings;
}

double log_prob_sum(models::Decoder& decoder, const Ids& prompt, const Ids& ids) {
  std::vector<std::int64_t> all(prompt.begin(), prompt.end());
  all.insert(all.end(), ids.begin(), ids.end());
  const at::Tensor log_probs = logits_of(decoder, torch::tensor(all)).to(at::kDouble).log_softmax(-1);
  double sum = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    sum += log_probs[static_cast<std::int64_t>(prompt.size() + i) - 1][ids[i]].item<double>();
  }
  return sum;
}

}  // namespace

TEST_CASE("beam search gives transformers' answers and scores, one by one and in batches", "[parity]") {
  const Json goldens = core::read_json(golden_dir() / "models" / "beams.json");
  const ByteTokenizer tokenizer;
  for (const Json& golden : goldens["models"]) {
    const std::string name = golden["model"];
    const bool real = name == "stories260K-hf";
    if (real && !assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
    models::Decoder decoder =
        decoder_of(real ? *assets() / "models" / name : golden_dir() / "models" / name, golden["eos"].get<Ids>());
    std::map<std::string, std::vector<Json>> by_settings;
    for (const Json& answer : golden["answers"]) by_settings[answer["settings"].dump()].push_back(answer);
    CHECK(by_settings.size() == 7);
    for (const auto& [key, answers] : by_settings) {
      INFO(name << " " << key);
      const Settings settings = settings_of(answers.front()["settings"], goldens["max_new_tokens"]);
      std::vector<BatchPrompt> prompts;
      for (const Json& answer : answers) prompts.push_back({answer["prompt"].get<Ids>(), prompts.size()});
      for (const std::int64_t size : {0, 2}) {
        const auto found =
            models::beam_search(*decoder, tokenizer, prompts, settings.options, settings.beams, {.size = size});
        for (std::size_t i = 0; i < answers.size(); ++i) {
          INFO("prompt " << i);
          CHECK(found[i].ids == answers[i]["ids"].get<Ids>());
          CHECK(found[i].prompt_ids == prompts[i].ids);
          if (!answers[i]["score"].is_null())
            CHECK(found[i].score == Approx(answers[i]["score"].get<double>()).margin(1e-4));
        }
      }
      const auto alone = models::beam_search(*decoder, tokenizer, {prompts[1]}, settings.options, settings.beams);
      CHECK(alone.front().ids == answers[1]["ids"].get<Ids>());
    }
  }
}

TEST_CASE("with as many beams as there are beginnings the likeliest sequence of all is found", "[unit]") {
  models::DecoderConfig config = models::read_config(golden_dir() / "models" / "llama");
  config.vocab_size = 7;
  config.initializer_range = 0.5;
  config.eos_token_ids = {5};
  models::Decoder decoder = models::random_decoder(config, 3, false);
  const ByteTokenizer tokenizer;
  const Ids prompt = {3, 1, 4};
  // Every sequence of at most three tokens that ends with the end token or at the third.
  std::vector<Ids> all = {{}}, whole;
  for (int length = 0; length < 3; ++length) {
    std::vector<Ids> longer;
    for (const Ids& beginning : all) {
      for (data::TokenId id = 0; id < 7; ++id) {
        Ids ids = beginning;
        ids.push_back(id);
        (id == 5 || length == 2 ? whole : longer).push_back(ids);
      }
    }
    all = longer;
  }
  for (const double penalty : {0.0, 1.0, 2.0, -1.0}) {
    INFO(penalty);
    double best = -1e9;
    Ids expected;
    for (const Ids& ids : whole) {
      const double score = log_prob_sum(decoder, prompt, ids) / std::pow(static_cast<double>(ids.size()), penalty);
      if (score > best) {
        best = score;
        expected = ids;
      }
    }
    const auto found = models::beam_search(*decoder, tokenizer, {{prompt, 0}}, {.max_new_tokens = 3, .log_probs = true},
                                           {.beams = 343, .length_penalty = penalty, .stop = BeamStop::kNever});
    CHECK(found.front().ids == expected);
    CHECK(found.front().score == Approx(best).margin(1e-5));
    CHECK(found.front().finish == (expected.back() == 5 ? "eos" : "length"));
    double sum = 0;
    for (const double log_prob : found.front().log_probs) sum += log_prob;
    CHECK(sum == Approx(log_prob_sum(decoder, prompt, expected)).margin(1e-5));
  }
}

TEST_CASE("one beam is greedy, stop strings end beams, and what makes no sense is refused", "[unit]") {
  models::DecoderConfig config = models::read_config(golden_dir() / "models" / "mistral");
  config.initializer_range = 0.3;
  config.eos_token_ids = {};
  config.max_positions = 40;
  models::Decoder decoder = models::random_decoder(config, 11, false);
  const ByteTokenizer tokenizer;
  const std::vector<BatchPrompt> prompts = {{{10, 50, 90}, 0}, {Ids(30, 7), 1}, {Ids(40, 9), 2}, {{12}, 3}};
  const auto one = models::beam_search(*decoder, tokenizer, prompts, {.max_new_tokens = 20}, {.beams = 1});
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    CHECK(one[i].ids == models::generate(*decoder, tokenizer, prompts[i].ids, {.max_new_tokens = 20}).ids);
    CHECK(one[i].finish == "length");
  }
  CHECK(one[1].ids.size() == 10);
  CHECK(one[2].ids.empty());

  const auto free = models::beam_search(*decoder, tokenizer, {prompts[0]}, {.max_new_tokens = 20}, {.beams = 3});
  const std::string stop = free.front().text.substr(4, 1);
  const auto stopped = models::beam_search(*decoder, tokenizer, {prompts[0]}, {.max_new_tokens = 20, .stop = {stop}},
                                           {.beams = 3, .length_penalty = 0});
  CHECK(stopped.front().text.find(stop) == std::string::npos);
  if (stopped.front().finish == "stop") {
    CHECK(tokenizer.decode(stopped.front().ids, true) == stopped.front().text + stop);
  }
  int steps = 0;
  struct Enough {};
  CHECK_THROWS_AS(models::beam_search(*decoder, tokenizer, prompts, {}, {.beams = 2},
                                      {.on_step =
                                           [&](std::int64_t) {
                                             if (++steps == 2) throw Enough{};
                                           }}),
                  Enough);

  const auto refused = [&](const GenerateOptions& options, const BeamOptions& beams, const std::string& says_so) {
    check_refused<ConfigError>([&] { models::beam_search(*decoder, tokenizer, prompts, options, beams); }, {says_so});
  };
  refused({.temperature = 1}, {}, "temperature must be 0");
  refused({.top_k = 4}, {}, "top-k and top-p off");
  refused({}, {.beams = 0}, "beams must be 1 or more");
  refused({}, {.length_penalty = NAN}, "length-penalty");
}
