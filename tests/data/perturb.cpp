#include "lowrank/data/perturb.h"

#include <cctype>
#include <cmath>

#include "catch.h"
#include "fake_tokenizer.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

std::string perturbed(const std::string& text, const std::string& how, std::uint64_t seed = 42,
                      std::uint64_t document = 0) {
  return data::perturb(text, data::parse_perturbation(how), seed, document);
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "The modern clown of Rembrandt's mill, 1650. ";
  return text;
}

}  // namespace

TEST_CASE("perturbations are the same for a seed and a document, and others for others", "[unit]") {
  const std::string text = long_text();
  for (const char* how : {"typos", "case", "ocr"}) {
    CAPTURE(how);
    CHECK(perturbed(text, how) == perturbed(text, how));
    CHECK(perturbed(text, how) != text);
    CHECK(perturbed(text, how, 43) != perturbed(text, how));
    CHECK(perturbed(text, how, 42, 1) != perturbed(text, how));
  }
}

TEST_CASE("about the share that was asked for is changed", "[unit]") {
  const std::string text = long_text();
  std::size_t letters = 0;
  for (const char c : text) letters += std::isalpha(static_cast<unsigned char>(c)) != 0;
  const auto close = [&](double share, double expected) {
    return std::abs(share - expected) < 0.15 * expected + 0.002;
  };
  // Typos: a quarter each swaps, deletes, doubles and replaces, so the length stays about the same.
  const std::string typos = perturbed(text, "typos:0.05");
  CHECK(std::abs(static_cast<double>(typos.size()) - static_cast<double>(text.size())) <
        0.02 * static_cast<double>(letters));
  // Case: in the same places other letters, a quarter of the words.
  const std::string cased = perturbed(text, "case");
  REQUIRE(cased.size() == text.size());
  std::size_t changed_words = 0, words = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end])) != 0) ++end;
    if (end > i) {
      ++words;
      changed_words += text.compare(i, end - i, cased, i, end - i) != 0;
    }
    i = end + 1;
  }
  CHECK(close(static_cast<double>(changed_words) / static_cast<double>(words), 0.25));
  CHECK(perturbed("Rembrandt's mill", "case:1") == "rembrandt'S MILL");
  CHECK(perturbed("modern clown 1650", "ocr:1") == "rncclcm dcvvu l6SO");
}

TEST_CASE("perturbed text is valid UTF-8 in any script", "[unit]") {
  const std::string text = "Ärger über Straßen, été, Ωmega, 絵画 и живопись 🎨\n";
  for (const char* how : {"typos:1", "case:1", "ocr:1"}) {
    for (std::uint64_t document = 0; document < 50; ++document) {
      CHECK(core::find_invalid_utf8(perturbed(text, how, 1, document)) == std::string::npos);
    }
  }
  CHECK(perturbed("絵画 12 !", "typos:1").find(" 12 !") != std::string::npos);
  CHECK(perturbed("", "typos:1").empty());
}

TEST_CASE("kinds and rates are checked", "[unit]") {
  CHECK(data::parse_perturbation("typos:0.1").rate == 0.1);
  for (const char* wrong : {"typo", "typos:", "typos:0", "typos:1.5", "typos:x", "typos:nan", ""}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(data::parse_perturbation(wrong), ConfigError);
  }
}

TEST_CASE("documents and prompts are perturbed, answers are not", "[unit]") {
  TempDir dir;
  write_text(dir / "a.txt", long_text());
  write_text(dir / "b.jsonl", "{\"prompt\": \"" + long_text() + "\", \"completion\": \"" + long_text() + "\"}\n");
  const FakeTokenizer tokenizer;
  const data::DataOptions options{.seq_len = 100000};
  const data::Perturbation typos = data::parse_perturbation("typos:0.2");
  const auto text_of = [&](const data::Dataset& dataset, bool learned) {
    std::string text;
    for (const data::Example& example : dataset.examples) {
      for (std::size_t i = 0; i < example.ids.size(); ++i) {
        if ((example.learned[i] != 0) == learned && example.ids[i] > 2) text += static_cast<char>(example.ids[i] - 3);
      }
    }
    return text;
  };
  const data::Dataset text = data::load_perturbed({dir / "a.txt"}, tokenizer, options, typos, 42);
  CHECK(text_of(text, true) == data::perturb(long_text(), typos, 42, 0));
  const data::Dataset rows = data::load_perturbed({dir / "b.jsonl"}, tokenizer, options, typos, 42);
  CHECK(text_of(rows, true) == long_text());
  CHECK(text_of(rows, false) == data::perturb(long_text(), typos, 42, 0));
}
