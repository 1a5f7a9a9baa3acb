// Sources by weights: an epoch's share of each is exact, seeded, and other examples every time.
#include "lowrank/data/mixture.h"

#include <map>
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/plan.h"
#include "lowrank/data/preferences.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// 10 examples of source 0, 4 of source 1, at `weights`.
data::PlanOptions mixed(std::vector<double> weights) {
  data::PlanOptions options;
  options.batch_size = 1;
  options.epochs = 4;
  options.weights = std::move(weights);
  options.sources.assign(14, 0);
  for (std::size_t i = 10; i < 14; ++i) options.sources[i] = 1;
  return options;
}

std::vector<std::uint32_t> taken(const data::Plan& plan, std::int64_t first, std::int64_t last) {
  std::vector<std::uint32_t> all;
  for (std::int64_t i = first; i < last; ++i) {
    const auto& examples = plan.step(i).examples;
    all.insert(all.end(), examples.begin(), examples.end());
  }
  return all;
}

std::map<std::uint32_t, int> counts(const std::vector<std::uint32_t>& examples) {
  std::map<std::uint32_t, int> result;
  for (const std::uint32_t example : examples) ++result[example];
  return result;
}

}  // namespace

TEST_CASE("an epoch takes w passes of a source, other examples every time until all were taken", "[unit]") {
  const std::vector<std::int64_t> lengths(14, 5);
  const data::Plan plan(lengths, mixed({0.25, 2}));
  // 2, 3, 2, 3 of the ten, and 8 of the four twice.
  CHECK(plan.steps() == 10 + 4 * 8);
  CHECK(plan.steps_per_epoch() == 10);
  const std::map<std::uint32_t, int> all = counts(taken(plan, 0, plan.steps()));
  for (std::uint32_t i = 0; i < 14; ++i) CHECK(all.at(i) == (i < 10 ? 1 : 8));
  const std::map<std::uint32_t, int> first = counts(taken(plan, 0, 10));
  for (std::uint32_t i = 10; i < 14; ++i) CHECK(first.at(i) == 2);
  CHECK(plan.step(9).epoch == Approx(1));

  CHECK(taken(data::Plan(lengths, mixed({0.25, 2})), 0, 42) == taken(plan, 0, 42));
  data::PlanOptions other = mixed({0.25, 2});
  other.seed = 7;
  CHECK(taken(data::Plan(lengths, other), 0, 42) != taken(plan, 0, 42));
  other = mixed({0.25, 2});
  other.shuffle = false;
  CHECK(taken(data::Plan(lengths, other), 0, 10) == std::vector<std::uint32_t>{0, 1, 10, 11, 12, 13, 10, 11, 12, 13});
  other.batch_tokens = 20;
  CHECK(data::Plan(lengths, other).step(0).examples.size() == 4);

  CHECK(contains(message_of<ConfigError>([&] { data::Plan(lengths, mixed({0.01, 0.01})); }), "leave no example"));
}

TEST_CASE("paths carry weights", "[unit]") {
  CHECK(data::weighted_path("a/wiki.jsonl*0.3").path == "a/wiki.jsonl");
  CHECK(data::weighted_path("a/wiki.jsonl*0.3").weight == 0.3);
  CHECK(data::weighted_path("-*2").path == "-");
  for (const char* plain : {"a.txt", "a*", "a*b", "*.txt", "*3", "a*0.3x"}) CHECK(data::weighted_path(plain).path == plain);
  for (const char* wrong : {"a*0", "a*-1", "a*1001", "a*nan"})
    CHECK(contains(message_of<ConfigError>([&] { data::weighted_path(wrong); }), "above 0 and at most 1000"));
  TempDir dir;
  write_text(dir / "odd*2", "text");
  write_text(dir / "there.txt", "text");
  for (const char* wrong : {"*0,3", "*1e400", "*+2", "*x", "*"}) {
    CAPTURE(wrong);
    const std::filesystem::path path = (dir / "there.txt").string() + wrong;
    CHECK(contains(message_of<ConfigError>([&] { data::weighted_path(path); }), "stands no number"));
  }
  CHECK(data::weighted_path(dir / "odd*2").weight == 1);
}

TEST_CASE("a temperature draws sizes together and keeps the whole", "[unit]") {
  CHECK(data::tempered({1, 2}, {900, 100}, 1) == std::vector<double>{1, 2});
  const std::vector<double> flat = data::tempered({1, 1}, {900, 100}, 2);  // sqrt: 30 to 10
  CHECK(flat[0] * 900 == Approx(750));
  CHECK(flat[1] * 100 == Approx(250));
}

TEST_CASE("weights of data are read, said, hashed, and split with it", "[unit]") {
  TempDir dir;
  write_text(dir / "a.jsonl", "{\"text\": \"aa\"}\n{\"text\": \"ab\"}\n{\"text\": \"ac\"}\n");
  write_text(dir / "b.jsonl", "{\"text\": \"ba\"}\n");
  const std::string a = (dir / "a.jsonl").string(), b = (dir / "b.jsonl").string();
  const data::Dataset plain = data::load({a, b}, FakeTokenizer(), {});
  CHECK(plain.weights.empty());
  const data::Dataset all = data::load({a + "*0.5", b + "*2"}, FakeTokenizer(), {});
  CHECK(all.weights == std::vector<double>{0.5, 2});
  CHECK(all.documents.at(3).source == 1);
  CHECK(all.report.sha256 != plain.report.sha256);
  CHECK(contains(all.report.notes.at(0), "a.jsonl 0.5 times, of " + b + " twice"));
  CHECK(data::split(all, 0, 1).train.weights == all.weights);
  data::PlanOptions options;
  options.epochs = 2;
  data::weigh(options, all);
  CHECK(options.sources == std::vector<std::uint32_t>{0, 0, 0, 1});
  const data::Plan plan({4, 4, 4, 4}, options);
  CHECK(plan.total_tokens() == 4 * (3 + 4));

  data::DataOptions test;
  test.files.part = data::Part::kTest;
  CHECK(contains(message_of<ConfigError>([&] { data::load({a + "*0.5"}, FakeTokenizer(), test); }), "trained on"));
  data::DataOptions even;
  even.files.temperature = 1000;
  const data::Dataset evened = data::load({a, b}, FakeTokenizer(), even);
  CHECK(evened.weights.at(0) == Approx(2.0 / 3).margin(0.01));
  CHECK(evened.weights.at(1) == Approx(2.0).margin(0.01));
  write_text(dir / "p.jsonl", "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
  const data::Dataset pairs = data::load_preferences({(dir / "p.jsonl").string() + "*3"}, FakeTokenizer(), 64);
  data::weigh(options, pairs, 2);
  CHECK(options.sources.size() == 1);
  CHECK(options.weights == std::vector<double>{3});
}
