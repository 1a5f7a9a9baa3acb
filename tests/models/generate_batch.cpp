// Many answers at once against one by one.
#include "lowrank/models/generate_batch.h"

#include <map>

#include "lowrank/core/random.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/next_logits.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;
using models::BatchPrompt;
using models::GenerateOptions;
using Ids = std::vector<data::TokenId>;

namespace {

// The decoder of a golden case with larger weights, so that its answers vary; no end token.
models::Decoder random_model(const std::string& name) {
  models::DecoderConfig config = models::read_config(golden_dir() / "models" / name);
  config.initializer_range = 0.3;
  config.max_positions = 64;
  config.eos_token_ids = {};
  return models::random_decoder(config, 11, false);
}

// Prompts of unequal lengths, 1 among them.
std::vector<BatchPrompt> some_prompts(std::int64_t vocab) {
  const core::RandomStream stream(5, "prompts");
  std::vector<BatchPrompt> prompts;
  for (std::uint64_t i = 0; const std::uint64_t length : {3, 1, 17, 9, 2, 30, 5}) {
    Ids ids;
    for (std::uint64_t t = 0; t < length; ++t)
      ids.push_back(static_cast<data::TokenId>(3 + stream.below(static_cast<std::uint64_t>(vocab) - 3, i, t)));
    prompts.push_back({ids, 100 + i++});
  }
  return prompts;
}

at::Tensor full_logits(models::Decoder& decoder, const Ids& ids) {
  return logits_of(decoder, torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())))[-1];
}

// The same ids, or another one only where the two likeliest tokens are as good as equal.
void check_same_greedy(models::Decoder& decoder, const Ids& prompt, const Ids& found, const Ids& expected) {
  REQUIRE(found.size() == expected.size());
  Ids all = prompt;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] != expected[i]) {
      const auto two = std::get<0>(full_logits(decoder, all).topk(2));
      INFO("at " << i);
      CHECK((two[0] - two[1]).item<double>() < 1e-3);
      return;
    }
    all.push_back(found[i]);
  }
}

void check_batch_is_one_by_one(models::Decoder& decoder, const data::Tokenizer& tokenizer,
                               const std::vector<BatchPrompt>& prompts, const GenerateOptions& options) {
  const std::vector<models::Generated> batch = models::generate_batch(*decoder, tokenizer, prompts, options);
  REQUIRE(batch.size() == prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    INFO("prompt " << i);
    const models::Generated alone = models::generate(*decoder, tokenizer, prompts[i].ids, options);
    CHECK(batch[i].prompt_ids == prompts[i].ids);
    check_same_greedy(decoder, prompts[i].ids, batch[i].ids, alone.ids);
    if (batch[i].ids != alone.ids) continue;
    CHECK(batch[i].text == alone.text);
    CHECK(batch[i].finish == alone.finish);
  }
}

}  // namespace

TEST_CASE("logits of a batch are those of each sequence alone, as sequences come, leave and part", "[unit]") {
  for (const std::string name : {"mistral", "qwen3", "llama-llama3"}) {
    INFO(name);
    models::Decoder decoder = random_model(name);
    const at::NoGradGuard no_grad;
    std::vector<Ids> all;
    for (const BatchPrompt& prompt : some_prompts(decoder->config().vocab_size)) all.push_back(prompt.ids);
    models::KvCache cache(0);
    const auto check_logits = [&] {
      const at::Tensor logits = models::next_logits(*decoder, cache, {all.begin(), all.end()});
      for (std::size_t i = 0; i < all.size(); ++i) {
        INFO("sequence " << i << " of " << all[i].size());
        CHECK(distance(logits[static_cast<std::int64_t>(i)], full_logits(decoder, all[i])) <= 1e-4);
      }
    };
    const auto push_to_all = [&] {
      for (std::size_t i = 0; i < all.size(); ++i) {
        all[i].push_back(static_cast<data::TokenId>(3 + (7 * i + 13 * all[i].size()) % 50));
      }
    };
    for (std::size_t i = 0; i < all.size(); ++i) cache.add();
    check_logits();
    for (int step = 0; step < 3; ++step) {
      push_to_all();
      check_logits();
    }
    // Some leave, one parts into three that go on differently, and one comes while the others go on.
    cache.select({5, 1, 3, 1, 1});
    all = {all[5], all[1], all[3], all[1], all[1]};
    for (int step = 0; step < 3; ++step) {
      for (std::size_t i = 0; i < all.size(); ++i) all[i].push_back(static_cast<data::TokenId>(10 + i + 7 * step));
      check_logits();
    }
    cache.add();
    push_to_all();
    all.push_back({9, 8, 7, 6});
    check_logits();
    CHECK(cache.sequences() == 6);
    CHECK(cache.length(5) == 4);
  }
}

TEST_CASE("a batch gives the answers of one by one", "[unit]") {
  const ByteTokenizer tokenizer;
  for (const std::string& name : golden_cases()) {
    INFO(name);
    models::Decoder decoder = random_model(name);
    const std::vector<BatchPrompt> prompts = some_prompts(decoder->config().vocab_size);
    check_batch_is_one_by_one(decoder, tokenizer, prompts, {.max_new_tokens = 25});
    check_batch_is_one_by_one(decoder, tokenizer, prompts, {.max_new_tokens = 12, .no_repeat_ngram = 2});
  }
}

TEST_CASE("stories260K: a batch gives the answers of one by one, with ends of every kind", "[parity]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  models::LoadedModel model = models::load((*assets() / "models" / "stories260K-hf").string());
  std::vector<BatchPrompt> prompts;
  for (const char* text :
       {"Once upon a time", "Lily and Ben", "The dog", "One day, a little girl named Lucy went to the park", "Tom said",
        "A", "The big red ball rolled down the hill and"}) {
    prompts.push_back({model.tokenizer->encode(text), prompts.size()});
  }
  check_batch_is_one_by_one(model.decoder, *model.tokenizer, prompts, {.max_new_tokens = 60});
  check_batch_is_one_by_one(model.decoder, *model.tokenizer, prompts, {.max_new_tokens = 100, .stop = {".", " ran"}});
}

TEST_CASE("draws do not depend on what else is in the batch, and number 0 draws as generate() does", "[unit]") {
  models::Decoder decoder = random_model("mistral");
  const ByteTokenizer tokenizer;
  const GenerateOptions options{.max_new_tokens = 30, .temperature = 1.2, .top_k = 40, .top_p = 0.95, .seed = 9};
  std::vector<BatchPrompt> prompts = some_prompts(decoder->config().vocab_size);
  prompts[2].number = 0;
  prompts.push_back({prompts[3].ids, 77});  // the same prompt, another number
  const auto batch = models::generate_batch(*decoder, tokenizer, prompts, options);
  const auto two_at_a_time = models::generate_batch(*decoder, tokenizer, prompts, options, {.size = 2});
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    INFO(i);
    CHECK(models::generate_batch(*decoder, tokenizer, {prompts[i]}, options).front().ids == batch[i].ids);
    CHECK(two_at_a_time[i].ids == batch[i].ids);
  }
  CHECK(models::generate(*decoder, tokenizer, prompts[2].ids, options).ids == batch[2].ids);
  CHECK(batch[3].ids != batch[7].ids);
}

TEST_CASE("log-probabilities are the model's at the temperature, whatever top-k, top-p and penalties leave", "[unit]") {
  models::Decoder decoder = random_model("qwen2");
  const ByteTokenizer tokenizer;
  const std::vector<BatchPrompt> prompts = some_prompts(decoder->config().vocab_size);
  for (const double temperature : {0.0, 0.7}) {
    GenerateOptions options{.max_new_tokens = 9,
                            .temperature = temperature,
                            .top_k = 5,
                            .top_p = 0.9,
                            .repetition_penalty = 1.3,
                            .log_probs = true};
    const auto answers = models::generate_batch(*decoder, tokenizer, prompts, options);
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      const models::Generated& answer = answers[p];
      REQUIRE(answer.log_probs.size() == answer.ids.size());
      Ids all = prompts[p].ids;
      for (std::size_t i = 0; i < answer.ids.size(); ++i) {
        const at::Tensor expected =
            (full_logits(decoder, all).to(at::kDouble) / (temperature == 0 ? 1 : temperature)).log_softmax(0);
        CHECK(answer.log_probs[i] == Approx(expected[answer.ids[i]].item<double>()).margin(1e-4));
        all.push_back(answer.ids[i]);
      }
    }
    CHECK(models::generate(*decoder, tokenizer, prompts[0].ids, options).log_probs.size() == 9);
    options.log_probs = false;
    CHECK(models::generate_batch(*decoder, tokenizer, prompts, options).front().log_probs.empty());
  }
}

TEST_CASE("answers are told as they end, places are filled, and a step can end it all", "[unit]") {
  models::Decoder plain = random_model("mistral");
  const ByteTokenizer tokenizer;
  const std::vector<BatchPrompt> prompts = some_prompts(plain->config().vocab_size);
  // Some likely token ends the answers at different lengths.
  const auto free = models::generate_batch(*plain, tokenizer, prompts, {.max_new_tokens = 20, .temperature = 1});
  models::DecoderConfig config = plain->config();
  config.eos_token_ids = {free[0].ids[2], free[1].ids[9], free[3].ids[6]};
  models::Decoder decoder = models::random_decoder(config, 11, false);
  for (const std::int64_t size : {0, 1, 3}) {
    INFO("size " << size);
    std::map<std::size_t, Ids> told;
    std::int64_t tokens = 0, most = 0;
    models::BatchOptions batch{.size = size};
    batch.on_answer = [&](std::size_t i, const models::Generated& answer) {
      CHECK(told.emplace(i, answer.ids).second);
    };
    batch.on_step = [&](std::int64_t drawn) {
      tokens += drawn;
      most = std::max(most, drawn);
    };
    const auto answers =
        models::generate_batch(*decoder, tokenizer, prompts, {.max_new_tokens = 20, .temperature = 1}, batch);
    std::int64_t expected = 0;
    std::size_t ended = 0;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      CHECK(told.at(i) == answers[i].ids);
      // The free answer up to the first end token.
      const auto& eos = config.eos_token_ids;
      const auto end = std::find_first_of(free[i].ids.begin(), free[i].ids.end(), eos.begin(), eos.end());
      CHECK(answers[i].ids == Ids(free[i].ids.begin(), end == free[i].ids.end() ? end : end + 1));
      CHECK(answers[i].finish == (end == free[i].ids.end() ? "length" : "eos"));
      ended += answers[i].finish == "eos";
      expected += static_cast<std::int64_t>(answers[i].ids.size());
    }
    CHECK(ended >= 3);
    CHECK(tokens == expected);
    CHECK(most == (size == 0 ? 7 : size));
  }
  const auto ignored = models::generate_batch(*decoder, tokenizer, prompts,
                                              {.max_new_tokens = 20, .temperature = 1, .ignore_eos = true});
  for (std::size_t i = 0; i < prompts.size(); ++i) CHECK(ignored[i].ids == free[i].ids);
  struct Enough {};
  int steps = 0;
  CHECK_THROWS_AS(models::generate_batch(*decoder, tokenizer, prompts, {},
                                         {.on_step =
                                              [&](std::int64_t) {
                                                if (++steps == 4) throw Enough{};
                                              }}),
                  Enough);
  CHECK(steps == 4);
  CHECK(models::generate_batch(*decoder, tokenizer, {}, {}).empty());
}

TEST_CASE("the last position ends an answer, and an adapter in training leaves no graph behind", "[unit]") {
  models::Decoder decoder = random_model("mistral");
  const ByteTokenizer tokenizer;
  models::DecoderConfig config = decoder->config();
  config.max_positions = 32;
  decoder = models::random_decoder(config, 11, false);
  lora::LoraConfig lora_config;
  lora_config.r = 4;
  lora::Adapter adapter = lora::attach(decoder->slot_table(), lora_config);
  const std::vector<BatchPrompt> prompts = {{Ids(32, 5), 0}, {Ids(30, 6), 1}, {Ids(2, 7), 2}};
  const auto answers = models::generate_batch(*decoder, tokenizer, prompts, {.max_new_tokens = 100, .log_probs = true});
  CHECK(answers[0].ids.empty());
  CHECK(answers[1].ids.size() == 2);
  CHECK(answers[2].ids.size() == 30);
  for (const models::Generated& answer : answers) CHECK(answer.finish == "length");
  CHECK(at::GradMode::is_enabled());
  for (const lora::NamedTensor& parameter : adapter.parameters()) CHECK(!parameter.tensor.grad().defined());

  check_refused<ConfigError>(
      [&] {
        models::generate_batch(*decoder, tokenizer, {prompts[2], {Ids(33, 5), 1}}, {});
      },
      {"prompt 2 of 2", "33 tokens", "positions for 32"});
  check_refused<ConfigError>(
      [&] {
        models::generate_batch(*decoder, tokenizer, {{{}, 0}}, {});
      },
      {"the prompt", "no tokens"});
  check_refused<ConfigError>([&] { models::generate_batch(*decoder, tokenizer, prompts, {.top_k = -1}); }, {"top-k"});
  check_refused<ConfigError>([&] { models::generate_batch(*decoder, tokenizer, prompts, {.no_repeat_ngram = -1}); },
                             {"no-repeat-ngram"});
}

TEST_CASE("a token that would repeat an n-gram is not drawn", "[unit]") {
  const at::Tensor logits = torch::tensor({4.0F, 3.0F, 2.0F, 1.0F});
  const auto drawn = [&](std::int64_t n, const Ids& seen) {
    return models::sample(logits, {.no_repeat_ngram = n}, seen, 0);
  };
  CHECK(drawn(0, {0, 0, 0}) == 0);
  CHECK(drawn(1, {0}) == 1);
  CHECK(drawn(1, {0, 2, 1}) == 3);
  CHECK(drawn(2, {0}) == 0);
  CHECK(drawn(2, {0, 0}) == 1);           // 0 0 was there
  CHECK(drawn(2, {3, 0, 2, 1, 3}) == 1);  // 3 0 was there
  CHECK(drawn(2, {3, 0, 3, 1, 3}) == 2);
  CHECK(drawn(3, {3, 0, 0, 3, 0}) == 1);  // 3 0 0 was there
  CHECK(drawn(3, {2, 0, 0, 3, 0}) == 0);
  check_refused<ConfigError>([&] { drawn(1, {0, 1, 2, 3}); }, {"no token is left"});
}
