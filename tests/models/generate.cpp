// Sampling and generation.
#include "lowrank/models/generate.h"

#include "lowrank/core/error.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;
using models::GenerateOptions;

namespace {

// How often each id is drawn.
std::vector<double> shares(const at::Tensor& logits, const GenerateOptions& options,
                           const std::vector<data::TokenId>& seen = {}, int draws = 4000) {
  std::vector<double> counts(static_cast<std::size_t>(logits.numel()), 0);
  for (int i = 0; i < draws; ++i) {
    counts[static_cast<std::size_t>(models::sample(logits, options, seen, static_cast<std::uint64_t>(i)))] +=
        1.0 / draws;
  }
  return counts;
}

void check_shares(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO(i);
    if (expected[i] == 0) {
      CHECK(found[i] == 0);
    } else {
      CHECK(found[i] == Approx(expected[i]).margin(0.03));
    }
  }
}

// A model whose next token is always a function of the last one only through its weights; ids are bytes plus 3.
models::Decoder small_model() {
  models::DecoderConfig config = models::read_config(golden_dir() / "models" / "mistral");
  config.initializer_range = 0.3;
  config.eos_token_ids = {};
  config.max_positions = 64;
  return models::random_decoder(config, 11, false);
}

}  // namespace

TEST_CASE("sampling follows transformers' processors in their order", "[unit]") {
  const at::Tensor logits = torch::log(torch::tensor({0.5, 0.25, 0.15, 0.1})).to(at::kFloat);
  CHECK(models::sample(logits, {}, {}, 0) == 0);
  check_shares(shares(logits, {.temperature = 1}), {0.5, 0.25, 0.15, 0.1});
  check_shares(shares(logits, {.temperature = 0.5}), {0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345});
  check_shares(shares(logits, {.temperature = 1, .top_k = 2}), {2.0 / 3, 1.0 / 3, 0, 0});
  check_shares(shares(logits, {.temperature = 1, .top_p = 0.7}), {2.0 / 3, 1.0 / 3, 0, 0});
  check_shares(shares(logits, {.temperature = 1, .top_p = 0.01}), {1, 0, 0, 0});
  // top-k before top-p: of {2/3, 1/3}, 0.6 leaves the first alone.
  check_shares(shares(logits, {.temperature = 1, .top_k = 2, .top_p = 0.6}), {1, 0, 0, 0});
  // Near 0 scores leave fp32: the limit is the likeliest, whatever the signs.
  for (const double shift : {0.0, 30.0}) {
    for (const double cold : {1e-30, 1e-38, 1e-39, 1e-46, 1e-300, 5e-324}) {
      CAPTURE(shift, cold);
      for (const at::Tensor& from : {at::Tensor(logits + shift), at::Tensor(logits.flip({0}) - shift)}) {
        const std::int64_t likeliest = from.argmax().item<std::int64_t>();
        for (const double p : {1.0, 0.5}) {
          CHECK(models::sample(from, {.temperature = cold, .top_p = p}, {}, 3) == likeliest);
        }
        CHECK(models::log_probability(from, cold, static_cast<data::TokenId>(likeliest)) == 0);
      }
    }
  }
  check_shares(shares(logits, {.temperature = 1, .top_k = 99}), {0.5, 0.25, 0.15, 0.1});
  // Ties at the k-th place stay.
  check_shares(shares(torch::zeros({4}), {.temperature = 1, .top_k = 1}), {0.25, 0.25, 0.25, 0.25});
  // Positive scores are divided, negative ones multiplied, each id once however often it was seen.
  const at::Tensor mixed = torch::tensor({2.0F, 1.9F, -1.0F, -1.1F});
  CHECK(models::sample(mixed, {.repetition_penalty = 1.2}, {0, 0, 0}, 0) == 1);
  check_shares(shares(mixed, {.temperature = 1, .repetition_penalty = 2}, {0, 2, 2}), [] {
    const std::vector<double> scores = {1.0, 1.9, -2.0, -1.1};
    std::vector<double> p;
    double sum = 0;
    for (const double s : scores) sum += std::exp(s);
    for (const double s : scores) p.push_back(std::exp(s) / sum);
    return p;
  }());
  CHECK_THROWS_AS(models::sample(torch::full({4}, NAN), {}, {}, 0), ModelError);
}

TEST_CASE("draws depend on the seed and the place alone", "[unit]") {
  const at::Tensor logits = torch::zeros({1000});
  const GenerateOptions a{.temperature = 1, .seed = 1}, b{.temperature = 1, .seed = 2};
  int same_seed = 0, same_place = 0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    CHECK(models::sample(logits, a, {}, i) == models::sample(logits, a, {}, i));
    same_seed += models::sample(logits, a, {}, i) == models::sample(logits, b, {}, i);
    same_place += models::sample(logits, a, {}, i) == models::sample(logits, a, {}, i + 1);
  }
  CHECK(same_seed < 5);
  CHECK(same_place < 5);
}

TEST_CASE("greedy generation is the argmax of full passes", "[unit]") {
  models::Decoder decoder = small_model();
  const ByteTokenizer tokenizer;
  const std::vector<data::TokenId> prompt = {10, 50, 90};
  const models::Generated generated = models::generate(*decoder, tokenizer, prompt, {.max_new_tokens = 25});
  CHECK(generated.finish == "length");
  CHECK(generated.prompt_ids == prompt);
  REQUIRE(generated.ids.size() == 25);
  std::vector<std::int64_t> all(prompt.begin(), prompt.end());
  for (const data::TokenId id : generated.ids) {
    const at::Tensor logits = logits_of(decoder, torch::tensor(all));
    CHECK(logits[-1].argmax().item<std::int64_t>() == id);
    all.push_back(id);
  }
  CHECK(generated.text == tokenizer.decode(generated.ids, true));
  const GenerateOptions warm{.max_new_tokens = 25, .temperature = 1.5, .seed = 3};
  CHECK(models::generate(*decoder, tokenizer, prompt, warm).ids ==
        models::generate(*decoder, tokenizer, prompt, warm).ids);
}

TEST_CASE("a cache that holds the prompt's beginning gives the same answer, and can be cut back", "[unit]") {
  models::Decoder decoder = small_model();
  const ByteTokenizer tokenizer;
  const std::vector<data::TokenId> first = {10, 50, 90, 33}, second = {10, 50, 17, 61, 44};
  const GenerateOptions options{.max_new_tokens = 12};
  models::KvCache cache;
  const auto generate = [&](const std::vector<data::TokenId>& prompt, models::KvCache* kept) {
    return models::generate(*decoder, tokenizer, prompt, options, {}, kept).ids;
  };
  CHECK(generate(first, &cache) == generate(first, nullptr));
  CHECK(cache.length() == 15);  // all but the token that was drawn last
  cache.truncate(2);
  CHECK(generate(second, &cache) == generate(second, nullptr));
  cache.truncate(100);
  CHECK(cache.length() == 16);
}

TEST_CASE("generation ends at an end token, a stop string, or the last position", "[unit]") {
  models::Decoder decoder = small_model();
  const ByteTokenizer tokenizer;
  const std::vector<data::TokenId> prompt = {10, 50, 90};
  const models::Generated plain = models::generate(*decoder, tokenizer, prompt, {.max_new_tokens = 20});

  // A stop string from the middle of the text: what came before it remains, and nothing of it was streamed.
  const std::string stop = plain.text.substr(5, 3);
  const std::string before = plain.text.substr(0, plain.text.find(stop));
  std::string streamed;
  const models::Generated stopped =
      models::generate(*decoder, tokenizer, prompt, {.max_new_tokens = 20, .stop = {"\x7f\x7f", stop}},
                       [&](const std::string& text) { streamed += text; });
  CHECK(stopped.finish == "stop");
  CHECK(stopped.text == before);
  CHECK(streamed == before);
  // One that only begins at the end is let through when the end is reached.
  const models::Generated held =
      models::generate(*decoder, tokenizer, prompt, {.max_new_tokens = 20, .stop = {plain.text.substr(18) + "never"}});
  CHECK(held.finish == "length");
  CHECK(held.text == plain.text);

  const models::Generated room = models::generate(*decoder, tokenizer, prompt, {.max_new_tokens = 1000});
  CHECK(room.finish == "length");
  CHECK(room.ids.size() == 61);

  models::DecoderConfig config = decoder->config();
  config.eos_token_ids = {99999, plain.ids[4]};
  const std::size_t first =
      static_cast<std::size_t>(std::find(plain.ids.begin(), plain.ids.end(), plain.ids[4]) - plain.ids.begin());
  models::Decoder ending = models::random_decoder(config, 11, false);
  const models::Generated ended = models::generate(*ending, tokenizer, prompt, {.max_new_tokens = 20});
  CHECK(ended.finish == "eos");
  CHECK(ended.ids ==
        std::vector<data::TokenId>(plain.ids.begin(), plain.ids.begin() + static_cast<std::ptrdiff_t>(first) + 1));
  CHECK(ended.text == tokenizer.decode(std::span(plain.ids).first(first), true));
  CHECK(models::generate(*ending, tokenizer, prompt, {.max_new_tokens = 20, .ignore_eos = true}).ids == plain.ids);
}

TEST_CASE("options that make no sense are refused", "[unit]") {
  models::Decoder decoder = small_model();
  const ByteTokenizer tokenizer;
  const auto refused = [&](const GenerateOptions& options, const std::vector<data::TokenId>& prompt = {5}) {
    CHECK_THROWS_AS(models::generate(*decoder, tokenizer, prompt, options), ConfigError);
  };
  refused({}, {});
  refused({}, std::vector<data::TokenId>(65, 5));
  refused({.temperature = -1});
  refused({.temperature = NAN});
  refused({.top_k = -1});
  refused({.top_p = 0});
  refused({.top_p = 1.5});
  refused({.repetition_penalty = 0});
  refused({.stop = {""}});
  refused({.max_new_tokens = -1});
}
