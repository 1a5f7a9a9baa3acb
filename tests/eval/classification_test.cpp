#include "lowrank/eval/classification.h"

#include <nlohmann/json.hpp>

#include "catch.h"
#include "lowrank/core/error.h"

using namespace lowrank;

TEST_CASE("Scores of predicted classes equal scikit-learn's", "[parity]") {
  const auto rows =
      nlohmann::ordered_json::parse(lowrank_test::read_text(lowrank_test::golden_dir() / "eval" / "classification.json"));
  REQUIRE(rows.size() == 9);
  for (const auto& row : rows) {
    INFO(row.dump());
    const auto found = eval::classification(row["truth"], row["predicted"], row["classes"]);
    CHECK(found.accuracy == Approx(row["accuracy"].get<double>()).margin(1e-12));
    CHECK(found.macro_f1 == Approx(row["macro_f1"].get<double>()).margin(1e-12));
    CHECK(found.matthews == Approx(row["matthews"].get<double>()).margin(1e-12));
    CHECK(found.confusion == row["confusion"].get<std::vector<std::vector<std::int64_t>>>());
    for (std::size_t k = 0; k < found.classes.size(); ++k) {
      CHECK(found.classes[k].precision == Approx(row["precision"][k].get<double>()).margin(1e-12));
      CHECK(found.classes[k].recall == Approx(row["recall"][k].get<double>()).margin(1e-12));
      CHECK(found.classes[k].f1 == Approx(row["f1"][k].get<double>()).margin(1e-12));
      CHECK(found.classes[k].support == row["support"][k].get<std::int64_t>());
    }
  }
}

TEST_CASE("Predictions that cannot be scored are refused", "[unit]") {
  CHECK_THROWS_AS(eval::classification({}, {}, 2), DataError);
  CHECK_THROWS_AS(eval::classification({0, 1}, {0}, 2), DataError);
  CHECK_THROWS_AS(eval::classification({0, 2}, {0, 1}, 2), DataError);
  CHECK_THROWS_AS(eval::classification({0, 1}, {0, -1}, 2), DataError);
}
