#include <set>
#include <utility>
#include <vector>

#include "catch.h"
#include "documents.h"
#include "errors.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/parts.h"

using namespace lowrank;
using data::Dataset;
using data::Split;
using lowrank_test::contains;
using lowrank_test::documents;
using lowrank_test::documents_in;
using lowrank_test::FakeTokenizer;
using lowrank_test::message_of;

TEST_CASE("a split in place is the split", "[unit]") {
  for (const std::uint32_t count : {1u, 3u, 40u}) {
    for (const double fraction : {0.0, 0.05, 0.4}) {
      CAPTURE(count, fraction);
      Dataset all = documents(count);
      all.report.notes = {"said once"};
      all.report.empty = 2;
      const Split expected = data::split(all, fraction, 1);
      std::string how;
      const Dataset validation = data::take_validation(all, fraction, 1, how);
      CHECK(how == expected.how);
      REQUIRE(all.examples.size() == expected.train.examples.size());
      REQUIRE(validation.examples.size() == expected.validation.examples.size());
      bool same = true;
      for (std::size_t i = 0; i < all.examples.size(); ++i) {
        const data::Example &a = all.examples[i], &b = expected.train.examples[i];
        same = same && a.ids == b.ids && a.learned == b.learned && a.document == b.document;
      }
      for (std::size_t i = 0; i < validation.examples.size(); ++i) {
        const data::Example &a = validation.examples[i], &b = expected.validation.examples[i];
        same = same && a.ids == b.ids && a.learned == b.learned &&
               validation.documents[a.document].where.text() == expected.validation.documents[b.document].where.text();
      }
      CHECK(same);
      CHECK(validation.documents.size() == documents_in(expected.validation).size());
      CHECK(validation.report.tokens == expected.validation.report.tokens);
      CHECK(validation.report.learned_tokens == expected.validation.report.learned_tokens);
      CHECK(validation.report.documents == expected.validation.report.documents);
      CHECK(validation.report.empty == 0);
      CHECK(validation.report.notes.empty());
      CHECK(all.report.tokens == expected.train.report.tokens);
      CHECK(all.report.documents == expected.train.report.documents);
      CHECK(all.report.notes == expected.train.report.notes);
      CHECK(all.report.empty == 2);
    }
  }
}

TEST_CASE("two threads part a million examples as one does", "[unit]") {
  const Dataset some = documents(40);
  Dataset all;
  all.documents = some.documents;
  all.documents.own().resize(41);
  for (std::size_t i = 0; i < 41; i += 3) all.documents.own()[i].duplicate = true;
  all.report = some.report;
  all.report.duplicates = 14;
  std::vector<bool> held;
  for (std::size_t i = 0; i < (std::size_t{1} << 20) + 3; ++i) {
    data::Example example;
    example.document = static_cast<std::uint32_t>(i * 40 >> 20);
    if (i % 1000 == 0) {
      example.ids = {1, 2};
      example.learned = {0, 1};
      example.cut = 5;
    }
    all.examples.push_back(std::move(example));
    held.push_back(i % 7 == 0);
  }
  Split one, two;
  data::hold_out(all, held, one, 1);
  data::hold_out(all, held, two, 2);
  CHECK(one.validation.examples.size() == 149'797);
  for (const auto& [a, b] : {std::pair(&one.train, &two.train), {&one.validation, &two.validation}}) {
    CHECK(a->examples.size() == b->examples.size());
    CHECK(documents_in(*a) == documents_in(*b));
    CHECK(a->report.documents == b->report.documents);
    CHECK(a->report.documents >= 40);
    CHECK(a->report.duplicates == 14);
    CHECK(b->report.duplicates == 14);
    CHECK(a->report.examples == b->report.examples);
    CHECK(a->report.tokens == b->report.tokens);
    CHECK(a->report.tokens > 200);
    CHECK(a->report.learned_tokens == b->report.learned_tokens);
    CHECK(a->report.truncated == b->report.truncated);
    CHECK(a->report.truncated_tokens == b->report.truncated_tokens);
  }
  CHECK(data::documents_of(all, 2) == data::documents_of(all, 1));
  std::string how_one, how_two;
  Dataset left = all;
  const Dataset taken = data::take_validation(left, 0.1, 5, how_one, 1), taken_by_two = data::take_validation(all, 0.1, 5, how_two, 2);
  CHECK(how_one == how_two);
  CHECK(taken.report.documents == 5);
  CHECK(taken.examples.size() == taken_by_two.examples.size());
  CHECK(documents_in(left) == documents_in(all));
}

TEST_CASE("from 20 documents on whole documents are held out, by the seed", "[unit]") {
  const Dataset all = documents(40);
  REQUIRE(all.examples.size() == 79);
  const Split split = data::split(all, 0.05, 1);
  CHECK(documents_in(split.validation).size() == 2);
  CHECK(documents_in(split.train).size() == 38);
  CHECK(split.train.examples.size() + split.validation.examples.size() == 79);
  for (const std::uint32_t document : documents_in(split.validation))
    CHECK(!documents_in(split.train).contains(document));
  CHECK(split.how == "2 of 40 documents held out, chosen by the seed");
  CHECK(split.train.report.tokens + split.validation.report.tokens == all.report.tokens);
  CHECK(split.train.report.learned_tokens + split.validation.report.learned_tokens == all.report.learned_tokens);
  CHECK(split.train.report.documents == 38);
  CHECK(split.train.documents.size() == 40);  // indices stay what they were

  CHECK(documents_in(data::split(all, 0.05, 1).validation) == documents_in(split.validation));
  std::set<std::set<std::uint32_t>> choices;
  for (std::uint64_t seed = 0; seed < 10; ++seed) choices.insert(documents_in(data::split(all, 0.05, seed).validation));
  CHECK(choices.size() > 5);
  for (std::size_t i = 1; i < split.train.examples.size(); ++i) {  // the order is kept
    CHECK(split.train.examples[i - 1].document <= split.train.examples[i].document);
  }
  CHECK(documents_in(data::split(all, 0.001, 1).validation).size() == 1);
  CHECK(documents_in(data::split(all, 0.999, 1).train).size() == 1);
}

TEST_CASE("with fewer documents the last pieces of each are held out", "[unit]") {
  data::DataOptions options;
  options.seq_len = 10;
  // 18 + 2 tokens: 2 pieces; 198 + 2: 20 pieces; 4 + 2: 1 piece.
  const Dataset all = data::from_texts({std::string(18, 'a'), std::string(198, 'b'), "cccc"}, FakeTokenizer(), options);
  REQUIRE(all.examples.size() == 23);
  const Split split = data::split(all, 0.05, 1);
  REQUIRE(split.validation.examples.size() == 2);  // ⌈0.1⌉ = 1 of 2, ⌈1.0⌉ = 1 of 20, none of a single piece
  CHECK(split.validation.examples[0].ids == all.examples[1].ids);
  CHECK(split.validation.examples[1].ids == all.examples[21].ids);
  CHECK(split.train.examples.size() == 21);
  CHECK(contains(split.how, "last 2 of 23 pieces"));
  const Split most = data::split(all, 0.99, 1);
  CHECK(documents_in(most.train).size() == 3);  // something of each stays
  CHECK(most.train.examples.size() == 3);
}

TEST_CASE("an empty validation part is said, and fractions that are none are refused", "[unit]") {
  const Split none = data::split(data::from_texts({"a", "b"}, FakeTokenizer(), {}), 0.05, 1);
  CHECK(none.validation.examples.empty());
  CHECK(none.train.examples.size() == 2);
  CHECK(contains(none.how, "no validation"));
  CHECK(contains(none.how, "`val-data`"));
  CHECK(contains(data::split(documents(3), 0, 1).how, "no validation"));
  for (const double fraction : {1.0, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(contains(message_of<ConfigError>([&] { data::split(documents(3), fraction, 1); }), "`val-split`"));
  }
}
