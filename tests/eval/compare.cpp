// Several models on one text against the logits that transformers and peft give; question sets.
#include "lowrank/eval/compare.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/eval/questions.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/models/load.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// A golden model with its adapter, under a name of its own.
struct Case {
  explicit Case(const std::string& name) : folder(golden_dir() / "models" / name) {
    decoder = models::load_decoder(models::read_config(folder), formats::WeightFiles::open(folder), at::kFloat);
    adapter = lora::load_peft(decoder->slot_table(), folder / "adapter", nullptr, "tuned");
    file = formats::SafetensorsFile::open(folder / "golden.safetensors");
  }
  at::Tensor tensor(const std::string& key) const { return formats::tensor_view(file, *file->find(key)).clone(); }
  std::vector<eval::Candidate> candidates() {
    return {{"base", decoder.get(), nullptr}, {"tuned", decoder.get(), &adapter}};
  }
  fs::path folder;
  models::Decoder decoder;
  lora::Adapter adapter;
  std::shared_ptr<const formats::SafetensorsFile> file;
};

data::Dataset of_ids(const std::vector<std::vector<data::TokenId>>& documents) {
  data::Dataset dataset;
  for (const auto& ids : documents) {
    data::Example example{ids, std::vector<std::uint8_t>(ids.size(), 1),
                          static_cast<std::uint32_t>(dataset.documents.size())};
    dataset.documents.push_back({"document"});
    dataset.examples.push_back(std::move(example));
  }
  return dataset;
}

std::vector<data::TokenId> ids_of(const at::Tensor& ids) {
  std::vector<data::TokenId> result;
  for (std::int64_t i = 0; i < ids.numel(); ++i)
    result.push_back(static_cast<data::TokenId>(ids[i].item<std::int64_t>()));
  return result;
}

}  // namespace

TEST_CASE("losses and KL are those of transformers' and peft's logits", "[parity]") {
  for (const char* name : {"llama", "mistral", "qwen2", "qwen3-bias-tied"}) {
    INFO(name);
    Case golden(name);
    const std::vector<data::TokenId> ids = ids_of(golden.tensor("ids"));
    const at::Tensor base = torch::log_softmax(golden.tensor("logits").to(at::kDouble), 1);
    const at::Tensor tuned = torch::log_softmax(golden.tensor("adapted_logits").to(at::kDouble), 1);
    double nll = 0, tuned_nll = 0, kl = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      nll -= base[row][ids[i + 1]].item<double>();
      tuned_nll -= tuned[row][ids[i + 1]].item<double>();
      kl += (base[row].exp() * (base[row] - tuned[row])).sum().item<double>();
    }
    const data::Dataset dataset = of_ids({ids});
    const auto found = eval::compare(golden.candidates(), dataset, eval::units_of(dataset));
    REQUIRE(found.size() == 2);
    REQUIRE(found[0].size() == 1);
    CHECK(found[0][0].tokens == static_cast<std::int64_t>(ids.size()) - 1);
    CHECK(found[0][0].nll == Approx(nll).epsilon(1e-5));
    CHECK(found[1][0].nll == Approx(tuned_nll).epsilon(1e-5));
    CHECK(found[0][0].kl == 0);
    CHECK(kl > 0.1);
    CHECK(found[1][0].kl == Approx(kl).epsilon(1e-4));
  }
}

TEST_CASE("a comparison depends neither on batches nor on threads, leaves adapters off, and agrees with perplexity()",
          "[unit]") {
  Case golden("llama");
  const std::vector<data::TokenId> ids = ids_of(golden.tensor("ids"));
  std::vector<std::vector<data::TokenId>> documents;
  for (std::size_t n = 2; n < 26; ++n)
    documents.emplace_back(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
  data::Dataset dataset = of_ids(documents);
  const eval::Units units = eval::units_of(dataset);
  CHECK(units.documents);
  CHECK(units.count == 24);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = eval::compare(golden.candidates(), dataset, units, 64);
  at::set_num_threads(3);
  const auto three = eval::compare(golden.candidates(), dataset, units, 64);
  at::set_num_threads(threads);
  const auto single = eval::compare(golden.candidates(), dataset, units, 1);
  double sum = 0;
  std::int64_t tokens = 0;
  for (std::size_t u = 0; u < 24; ++u) {
    CHECK(one[1][u].nll == three[1][u].nll);
    CHECK(one[1][u].kl == three[1][u].kl);
    CHECK(one[1][u].nll == Approx(single[1][u].nll).epsilon(1e-5));
    sum += one[0][u].nll;
    tokens += one[0][u].tokens;
  }
  for (const auto& slot : golden.adapter.slots()) CHECK_FALSE(slot->enabled());
  CHECK(sum / static_cast<double>(tokens) == Approx(eval::perplexity(*golden.decoder, dataset).nll).epsilon(1e-6));

  dataset.examples.resize(19);
  CHECK_FALSE(eval::units_of(dataset).documents);
  for (auto& example : dataset.examples.own()) std::fill(example.learned.begin(), example.learned.end(), std::uint8_t{0});
  CHECK_THROWS_AS(eval::compare(golden.candidates(), dataset, eval::units_of(dataset)), DataError);
}

TEST_CASE("question sets are read by their keys, and mistakes name the line", "[unit]") {
  TempDir dir;
  const auto read = [&](const std::string& rows) {
    write_text(dir / "q.jsonl", rows);
    return eval::read_questions({dir / "q.jsonl"});
  };
  const auto refused = [&](const std::string& rows, const std::string& part) {
    try {
      read(rows);
      FAIL("nothing was thrown for " << rows);
    } catch (const DataError& error) {
      CAPTURE(error.what());
      CHECK(std::string(error.what()).find(part) != std::string::npos);
      CHECK(std::string(error.what()).find("q.jsonl") != std::string::npos);
    }
  };
  const auto choice = read(
      "{\"question\": \"2+2?\", \"choices\": [\"3\", \"4\"], \"answer\": 1}\n"
      "{\"question\": \"2+1? \", \"choices\": [\"3\", \"4\"], \"answer\": \"A\"}\n"
      "{\"question\": \"4\", \"choices\": [\"3\", \"4\"], \"answer\": \"4\"}\n");
  CHECK(choice.kind == eval::QuestionKind::kChoice);
  REQUIRE(choice.questions.size() == 3);
  CHECK(choice.questions[0].prompt == "2+2?\n");
  CHECK(choice.questions[1].prompt == "2+1? ");
  CHECK(choice.questions[0].answer == 1);
  CHECK(choice.questions[1].answer == 0);
  CHECK(choice.questions[2].answer == 1);
  CHECK(read("{\"question\": \"a\", \"answer\": \"b\"}").kind == eval::QuestionKind::kAnswer);
  CHECK(read("{\"prompt\": \"a\", \"completion\": \"b\"}").kind == eval::QuestionKind::kText);
  CHECK(read("{\"prompt\": \"a\", \"reference\": \"b\"}").questions[0].reference == "b");

  refused("", "is empty");
  refused("{\"question\": \"a\", \"choices\": [\"b\", \"c\"]}", "no \"answer\"");
  refused("{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}", "none of the 2 choices");
  refused("{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": true}", "none of the 2 choices");
  refused("{\"question\": \"a\", \"choices\": [\"b\"], \"answer\": 0}", "at least two");
  refused("{\"question\": \"a\"}", "no \"answer\"");
  refused("{\"question\": \"\", \"answer\": \"b\"}", "is empty");
  refused("{\"text\": \"a\"}", "expected the keys");
  refused("{\"question\": \"a\", \"answer\": \"b\"}\n{\"prompt\": \"a\", \"reference\": \"b\"}", "line 2");
}

TEST_CASE("stories260K: choices by log-likelihood, answers and texts by generation", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  models::LoadedModel model =
      models::load((*assets() / "models" / "stories260K-hf").string(), {.dtype = models::DTypeChoice::kFloat32});
  const std::vector<eval::Candidate> alone = {{"base", model.decoder.get(), nullptr}};
  eval::QuestionSet set;
  set.kind = eval::QuestionKind::kChoice;
  set.questions = {{"a", "Once upon a ", {"time", "xqz"}, 0, ""},
                   {"b", "Once upon a ", {"zzz qqq", "time"}, 1, ""},
                   {"c", "Once upon a ", {"xqz", "time"}, 0, ""}};
  const auto chosen = eval::ask(alone, *model.tokenizer, set, {});
  REQUIRE(chosen.scores[0].size() == 2);
  CHECK(chosen.scores[0][0].name == "accuracy");
  CHECK(chosen.scores[0][0].units == std::vector<eval::Statistics>{{1, 1}, {1, 1}, {0, 1}});
  // By hand: the loss of the choice's tokens alone, over its characters.
  for (const auto& question : set.questions) {
    std::vector<double> cost;
    for (const std::string& choice : question.choices) {
      const auto head = model.tokenizer->encode(question.prompt),
                 all = model.tokenizer->encode(question.prompt + choice);
      at::NoGradGuard no_grad;
      const at::Tensor ids = at::tensor(std::vector<std::int64_t>(all.begin(), all.end()));
      const auto log_p = torch::log_softmax(
          model.decoder->logits(model.decoder->hidden(ids, kernels::Segments::of_lengths({ids.numel()}))), 1);
      std::size_t from = 0;
      while (from < head.size() && head[from] == all[from]) ++from;
      double nll = 0;
      for (std::size_t i = from; i < all.size(); ++i)
        nll -= log_p[static_cast<std::int64_t>(i) - 1][all[i]].item<double>();
      cost.push_back(nll / static_cast<double>(choice.size()));
    }
    const bool right = (cost[0] <= cost[1] ? 0U : 1U) == question.answer;
    CHECK(chosen.scores[0][0].units[static_cast<std::size_t>(&question - set.questions.data())][0] == (right ? 1 : 0));
  }

  set.kind = eval::QuestionKind::kAnswer;
  set.questions = {{"a", "Once upon a time, there was a", {}, 0, "girl"},
                   {"b", "Once upon a time, there was a", {}, 0, "whale"}};
  const eval::Extractor word("(girl|boy|whale)");
  eval::QuestionOptions options;
  options.generate.max_new_tokens = 16;
  options.extract = &word;
  const auto answered = eval::ask(alone, *model.tokenizer, set, options);
  CHECK(answered.scores[0][0].units == std::vector<eval::Statistics>{{1, 1}, {0, 1}});
  CHECK(answered.scores[0][1].name == "extracted");
  set.questions[0].reference = "nobody";
  CHECK_THROWS_AS(eval::ask(alone, *model.tokenizer, set, options), DataError);

  set.kind = eval::QuestionKind::kText;
  set.questions[0].reference = answered.generated[0][0];
  const auto scored = eval::ask(alone, *model.tokenizer, set, options);
  REQUIRE(scored.scores[0].size() == 3);
  CHECK(scored.scores[0][0].score(scored.scores[0][0].units[0]) == Approx(100));
  CHECK(scored.scores[0][1].score(scored.scores[0][1].units[0]) == Approx(100));
  CHECK(scored.scores[0][2].score(scored.scores[0][2].units[0]) == Approx(100));
  CHECK(scored.scores[0][0].score(scored.scores[0][0].units[1]) < 50);
}
