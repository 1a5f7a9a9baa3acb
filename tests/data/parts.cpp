#include "lowrank/data/parts.h"

#include <set>

#include "catch.h"
#include "documents.h"
#include "errors.h"
#include "lowrank/core/error.h"

using namespace lowrank;
using data::Dataset;
using lowrank_test::contains;
using lowrank_test::documents;
using lowrank_test::documents_in;
using lowrank_test::FakeTokenizer;
using lowrank_test::message_of;

TEST_CASE("over all folds each document is validation once, and never trained on beside it", "[unit]") {
  const Dataset all = documents(11);
  std::multiset<std::uint32_t> held;
  std::size_t examples = 0;
  for (int i = 1; i <= 4; ++i) {
    const data::Split split = data::fold(all, i, 4, 42);
    const auto out = documents_in(split.validation), in = documents_in(split.train);
    CHECK((out.size() == 2 || out.size() == 3));
    CHECK(out.size() + in.size() == 11);
    for (const std::uint32_t document : out) CHECK(in.count(document) == 0);
    held.insert(out.begin(), out.end());
    examples += split.validation.examples.size();
    CHECK(split.train.report.documents == static_cast<std::int64_t>(in.size()));
    CHECK(split.train.examples.size() + split.validation.examples.size() == all.examples.size());
    CHECK(contains(split.how, "fold " + std::to_string(i) + " of 4"));
  }
  CHECK(held.size() == 11);
  CHECK(std::set<std::uint32_t>(held.begin(), held.end()).size() == 11);
  CHECK(examples == all.examples.size());
  CHECK(documents_in(data::fold(all, 1, 4, 42).validation) == documents_in(data::fold(all, 1, 4, 42).validation));
  CHECK(documents_in(data::fold(all, 1, 4, 43).validation) != documents_in(data::fold(all, 1, 4, 42).validation));
}

TEST_CASE("more folds than documents are refused in a sentence that says how many there are", "[unit]") {
  const Dataset all = documents(3);
  CHECK(data::fold(all, 3, 3, 1).validation.report.documents == 1);
  const std::string message = message_of<ConfigError>([&] { data::fold(all, 1, 4, 1); });
  CHECK(contains(message, "4 folds"));
  CHECK(contains(message, "the data has 3"));
}

TEST_CASE("a smaller share of the data is part of a larger one", "[unit]") {
  const Dataset all = documents(16);
  const auto eighth = documents_in(data::share_of(all, 0.125, 5)), half = documents_in(data::share_of(all, 0.5, 5));
  CHECK(eighth.size() == 2);
  CHECK(half.size() == 8);
  for (const std::uint32_t document : eighth) CHECK(half.count(document) == 1);
  const Dataset whole = data::share_of(all, 1, 5);
  CHECK(whole.examples.size() == all.examples.size());
  CHECK(whole.report.tokens == all.report.tokens);
  // Of a few long documents, pieces.
  const Dataset book = documents(3);  // 6 pieces
  CHECK(data::share_of(book, 0.5, 5).examples.size() == 3);
}

TEST_CASE("a part counts what it holds: rows cut, texts seen before; what was dropped is said with the training part",
          "[unit]") {
  Dataset all = documents(4);
  all.documents.own()[1].duplicate = all.documents.own()[3].duplicate = true;
  all.examples.own().front().cut = 7;
  all.report.truncated = 2;  // a second one was cut to nothing, and dropped
  all.report.truncated_tokens = 30;
  all.report.duplicates = 2;
  all.report.all_masked = 1;
  all.report.empty = 3;
  std::vector<bool> held(all.examples.size());
  for (std::size_t i = 0; i < held.size(); ++i) held[i] = all.examples[i].document < 2;
  data::Split split;
  data::hold_out(all, held, split);
  const data::ReadReport &out = split.validation.report, &in = split.train.report;
  CHECK(out.truncated == 1);
  CHECK(out.truncated_tokens == 7);
  CHECK(in.truncated == 0);
  CHECK(out.duplicates == 1);
  CHECK(in.duplicates == 1);
  CHECK(out.all_masked == 0);
  CHECK(in.all_masked == 1);
  CHECK(in.empty == 3);
}
