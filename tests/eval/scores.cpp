// Scores of text and intervals against sacrebleu, rouge-score and numpy; patterns; the pages' parts.
#include <cmath>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/eval/bootstrap.h"
#include "lowrank/eval/extract.h"
#include "lowrank/eval/report.h"
#include "lowrank/eval/text_scores.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

core::Json golden(const std::string& name) { return core::read_json(golden_dir() / "eval" / name); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("BLEU, chrF2 and ROUGE-L are sacrebleu's and rouge-score's", "[parity]") {
  const core::Json file = golden("scores.json");
  std::vector<eval::Statistics> all_words, all_characters;
  for (const core::Json& row : file["pairs"]) {
    const auto hypothesis = row["hypothesis"].get<std::string>(), reference = row["reference"].get<std::string>();
    CAPTURE(hypothesis, reference);
    CHECK(eval::tokenize_13a(hypothesis) == row["tokens"].get<std::vector<std::string>>());
    all_words.push_back(eval::bleu_statistics(hypothesis, reference));
    all_characters.push_back(eval::chrf_statistics(hypothesis, reference));
    CHECK(eval::bleu(all_words.back()) == Approx(row["bleu"].get<double>()).epsilon(1e-9));
    CHECK(eval::chrf(all_characters.back()) == Approx(row["chrf"].get<double>()).epsilon(1e-9));
    CHECK(eval::rouge_l(hypothesis, reference) == Approx(row["rouge_l"].get<double>()).epsilon(1e-9));
  }
  CHECK(eval::bleu(eval::total(all_words)) == Approx(file["bleu"].get<double>()).epsilon(1e-9));
  CHECK(eval::chrf(eval::total(all_characters)) == Approx(file["chrf"].get<double>()).epsilon(1e-9));
}

TEST_CASE("texts that are no UTF-8 are scored all the same", "[unit]") {
  CHECK(eval::chrf(eval::chrf_statistics("a\xff\xfe"
                                         "b",
                                         "ab")) > 0);
  CHECK(eval::bleu(eval::bleu_statistics("\xff", "a")) == 0);
  CHECK(eval::rouge_l("\x80", "\x80") == 0);
}

TEST_CASE("means and intervals of resamples are numpy's", "[parity]") {
  const core::Json file = golden("bootstrap.json");
  const auto tokens = file["tokens"].get<std::vector<double>>();
  const auto n = static_cast<std::uint32_t>(tokens.size());
  std::vector<std::vector<eval::Statistics>> models;
  for (const core::Json& nll : file["nll"]) {
    auto& units = models.emplace_back();
    for (std::size_t i = 0; i < tokens.size(); ++i) units.push_back({nll[i].get<double>(), tokens[i]});
  }
  const eval::Draw draw = [n](std::uint32_t r, std::uint32_t j) {
    return (r * 7919 + j * 104729 + (r * j) % 31 + 13 * (r % 17) * (j % 5)) % n;
  };
  const auto means = eval::resampled_scores(
      models, [](const eval::Statistics& sums) { return sums[0] / sums[1]; }, draw,
      file["resamples"].get<std::uint32_t>());
  std::vector<double> differences;
  for (std::size_t r = 0; r < means[0].size(); ++r) differences.push_back(means[1][r] - means[0][r]);
  for (std::size_t m = 0; m < models.size(); ++m) {
    for (std::size_t r = 0; r < 10; ++r)
      CHECK(means[m][r] == Approx(file["first_means"][m][r].get<double>()).epsilon(1e-12));
    const eval::Interval interval = eval::percentile_interval(means[m]);
    CHECK(interval.low == Approx(file["intervals"][m][0].get<double>()).epsilon(1e-12));
    CHECK(interval.high == Approx(file["intervals"][m][1].get<double>()).epsilon(1e-12));
  }
  const eval::Interval difference = eval::percentile_interval(differences);
  CHECK(difference.low == Approx(file["difference"][0].get<double>()).epsilon(1e-9));
  CHECK(difference.high == Approx(file["difference"][1].get<double>()).epsilon(1e-9));
}

TEST_CASE("counted draws are uniform, differ by resample, and cover a known mean", "[unit]") {
  const std::uint32_t n = 40;
  const eval::Draw draw = eval::counted_draw(42, n), other = eval::counted_draw(43, n);
  std::vector<int> times(n, 0);
  int same = 0;
  for (std::uint32_t r = 0; r < 1000; ++r) {
    for (std::uint32_t j = 0; j < n; ++j) {
      REQUIRE(draw(r, j) < n);
      ++times[draw(r, j)];
      same += draw(r, j) == other(r, j);
    }
  }
  CHECK(draw(3, 5) == eval::counted_draw(42, n)(3, 5));
  CHECK(same < 2000);  // 1,000 of 40,000 are expected
  for (const int count : times) CHECK((count > 800 && count < 1200));

  // Binomial: the percentile interval's ends lie near mean ± 1.96 standard errors.
  std::vector<std::vector<eval::Statistics>> models(1);
  for (std::uint32_t i = 0; i < 400; ++i) models[0].push_back({i < 100 ? 1.0 : 0.0, 1.0});
  const auto scores = eval::resampled_scores(
      models, [](const eval::Statistics& s) { return s[0] / s[1]; }, eval::counted_draw(1, 400));
  const eval::Interval interval = eval::percentile_interval(scores[0]);
  CHECK(interval.low == Approx(0.25 - 1.96 * 0.02165).margin(0.005));
  CHECK(interval.high == Approx(0.25 + 1.96 * 0.02165).margin(0.005));
}

TEST_CASE("answers are found by their pattern and compared", "[unit]") {
  const eval::Extractor number("#### (-?[0-9.,]+)");
  CHECK(number("She makes 9 * 2 = $18.\n#### 1,018") == std::optional<std::string>("1,018"));
  CHECK(number("no answer") == std::nullopt);
  CHECK(eval::Extractor("[0-9]+")("a 12 b 34") == std::optional<std::string>("12"));
  CHECK(number("\xff#### 5\xff") == std::optional<std::string>("5"));
  CHECK(eval::comparable_answer(" 1,018. \n") == "1018");
  CHECK(eval::comparable_answer("a, b") == "a, b");
  CHECK(eval::comparable_answer(" ").empty());
  CHECK_THROWS_AS(eval::Extractor("(a"), ConfigError);
  CHECK_THROWS_AS(eval::Extractor("(a+a+)+$")(std::string(60, 'a') + "b"), DataError);
}

TEST_CASE("a report escapes what is data, whatever its bytes, and holds nothing that runs or loads", "[unit]") {
  const std::string evil = "<script>alert(1)</script>\xff\x01\xE2\x80\xAE\"'&";
  eval::Report report;
  report.title = evil;
  report.subtitle = evil;
  report.facts = {{evil, evil}};
  report.tables = {{evil, evil, {evil}, {{evil}}}};
  report.charts = {{evil, evil, evil, {{evil, {{1, 2}, {2, NAN}, {3, 1}}, true}}}};
  report.samples = {{evil, {{evil, evil}}}};
  report.masks = {{evil, {{evil, true}, {evil, false}}}};
  const std::string page = eval::report_html(report);
  CHECK_FALSE(contains(page, "<script"));
  CHECK(contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;\xef\xbf\xbd\\x01\\xe2\\x80\\xae&quot;&#39;&amp;"));
  CHECK(core::find_invalid_utf8(page) == std::string::npos);
  CHECK_FALSE(contains(page, "http://"));
  CHECK_FALSE(contains(page, "https://"));
  CHECK(contains(page, "class=\"learned\""));
  // No coordinate or number is NaN. (The word is a part of "dominant-baseline".)
  for (const char* before : {" ", "\"", ",", ">"}) CHECK_FALSE(contains(page, std::string(before) + "nan"));
}

TEST_CASE("charts: round ticks, few points, none", "[unit]") {
  CHECK(eval::round_ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(eval::round_ticks(1.3, 1.3, 5).empty());
  CHECK(eval::chart_html({"t", "x", "y", {{"a", {}}}}).empty());
  CHECK(contains(eval::chart_html({"t", "x", "y", {{"a", {{1, 1}}}}}), "<path class=\"curve c0\" d=\"M"));
  eval::Curve longer{"many", {}};
  for (int i = 0; i < 10000; ++i) longer.points.emplace_back(i, i % 7);
  const std::string svg = eval::chart_html({"t", "x", "y", {longer}});
  CHECK(contains(svg, "means of 25"));
  CHECK(svg.size() < 20000);
}
