// Numbers that copies share until one is changed, and lists of examples as a data set has them.
#include "lowrank/data/records.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "catch.h"

using namespace lowrank;
using data::Examples;
using data::Values;

namespace {

Examples three() { return {{{1, 2}, {0, 1}, 0}, {{3}, {1}, 1, 4}, {{5, 6, 7}, {1, 1, 0}, 1}}; }

}  // namespace

TEST_CASE("a copy of values shares what is owned until either is changed", "[unit]") {
  Values<int> a = {1, 2, 3};
  Values<int> b = a;
  CHECK(std::as_const(a).data() == std::as_const(b).data());
  b[1] = 7;
  CHECK(a == Values<int>{1, 2, 3});
  CHECK(b == Values<int>{1, 7, 3});
  const Values<int> c = a;
  a.push_back(4);
  CHECK(c.size() == 3);
  CHECK(a.size() == 4);
  const int* const before = std::as_const(a).data();
  a[0] = 9;  // alone again: nothing is copied
  CHECK(std::as_const(a).data() == before);
  const std::vector<int> lasting = {5, 6};
  const Values<int> view = Values<int>::view(lasting.data(), lasting.size());
  Values<int> changed = view;
  changed[0] = 1;
  CHECK(lasting[0] == 5);
  CHECK(view.data() == lasting.data());
  a = b;
  b = Values<int>();
  CHECK(a == Values<int>{1, 7, 3});
  a.insert(a.begin() + 1, lasting.begin(), lasting.end());
  CHECK(a == Values<int>{1, 5, 6, 7, 3});
}

TEST_CASE("a list of examples reads as a vector does, and is changed through its own", "[unit]") {
  Examples list = three();
  REQUIRE(list.size() == 3);
  CHECK(list.in_memory());
  CHECK(list.front().ids == Values<data::TokenId>{1, 2});
  CHECK(list.back().document == 1);
  CHECK(list.at(1).cut == 4);
  CHECK(list.length(2) == 3);
  CHECK(list.counted(0) == 1);
  CHECK(list.counted(1) == 0);  // the first is never predicted
  CHECK_THROWS_AS(list.at(3), std::out_of_range);
  static_assert(std::is_same_v<decltype(list[0]), const data::Example>);
  std::size_t tokens = 0;
  for (const data::Example& example : list) tokens += example.ids.size();
  CHECK(tokens == 6);
  CHECK(std::vector(list.begin() + 1, list.end()).size() == 2);
  CHECK(std::count_if(list.begin(), list.end(), [](const data::Example& e) { return e.document == 1; }) == 2);
  const Examples part = list.part({true, false, true});
  REQUIRE(part.size() == 2);
  CHECK(part[1].ids.size() == 3);
  list.own()[0].ids[0] = 8;
  CHECK(list[0].ids[0] == 8);
  CHECK(part[0].ids[0] == 1);
  list.push_back(part[1]);
  list.emplace_back().document = 5;
  CHECK(list.size() == 5);
  CHECK(list.back().document == 5);
  list.resize(1);
  CHECK(list.size() == 1);
}
