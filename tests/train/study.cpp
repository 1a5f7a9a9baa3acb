// Studies that several processes share, in tables of Optuna's.
#include "lowrank/train/study/study.h"

#include <map>
#include <set>
#include <thread>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/train/study/distributions.h"
#include "lowrank/train/study/owner.h"
#include "message.h"

using namespace lowrank;
using namespace lowrank::train;
using lowrank_test::contains;
using core::Json;

namespace {

SearchSpace space_of_two() {
  Dimension lr, rank;
  lr.name = "lr";
  lr.scale = Dimension::Scale::kLog;
  lr.low = 1e-4;
  lr.high = 1e-2;
  rank.name = "rank";
  rank.choices = {4, 8, 16};
  return {{lr, rank}, "space.yaml"};
}

std::optional<Assignment> drawn(const SearchSpace& space, std::int64_t number, const std::vector<Trial>& ended) {
  return next_trial(Sampler::kRandom, space, number, ended, 3);
}

/// A process that works on a study.
struct Worker {
  Worker(const std::filesystem::path& file, const std::string& name, const SearchSpace& its_space, double silence = 60,
         Json identity = {{"model", "m"}})
      : space(its_space), study({file, "search", silence, {{"host", name}, {"pid", 1}}}, space, identity) {}
  Next next(std::int64_t count = 8, bool in_use = false) {
    return study.next(
        count,
        [this](std::int64_t number, const std::vector<Trial>& ended, const std::vector<Assignment>&) {
          return drawn(space, number, ended);
        },
        [in_use](std::int64_t) { return in_use; });
  }
  const SearchSpace& space;
  Study study;
};

Trial complete(const Claim& claim, double value) {
  Trial trial;
  trial.number = claim.number;
  trial.options = claim.options;
  trial.value = value;
  trial.steps = 9;
  return trial;
}

std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("two workers share the trials of a study, and both see what ended", "[unit]") {
  if (!has_sqlite()) LOWRANK_SKIP("no SQLite");
  lowrank_test::TempDir dir;
  const SearchSpace space = space_of_two();
  Worker a(dir / "study.db", "a", space), b(dir / "study.db", "b", space);
  std::set<std::int64_t> numbers;
  for (int i = 0; i < 4; ++i) {
    for (Worker* worker : {&a, &b}) {
      const Next next = worker->next();
      REQUIRE(next.claim);
      CHECK_FALSE(next.claim->again);
      CHECK(numbers.insert(next.claim->number).second);
      CHECK(next.claim->options == *drawn(space, next.claim->number, {}));
      CHECK(worker->study.end(next.claim->id, complete(*next.claim, 1.0 + static_cast<double>(next.claim->number))));
    }
  }
  CHECK(numbers == std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  for (Worker* worker : {&a, &b}) {
    const Next next = worker->next();
    CHECK_FALSE(next.claim);
    CHECK(next.others.empty());
    const std::vector<Trial> ended = worker->study.ended();
    REQUIRE(ended.size() == 8);
    for (std::size_t i = 0; i < 8; ++i) {
      CHECK(ended[i].number == static_cast<std::int64_t>(i));
      CHECK(ended[i].value == 1.0 + static_cast<double>(i));
      CHECK(ended[i].steps == 9);
      CHECK(ended[i].options == *drawn(space, static_cast<std::int64_t>(i), {}));
    }
  }
  CHECK(a.next(9).claim->number == 8);  // more may be asked for
}

TEST_CASE("a trial of a process that is silent or dead is given out again, and is no longer that one's", "[unit]") {
  if (!has_sqlite()) LOWRANK_SKIP("no SQLite");
  lowrank_test::TempDir dir;
  const SearchSpace space = space_of_two();
  Worker a(dir / "study.db", "a", space), b(dir / "study.db", "b", space);
  const Next first = a.next(1);
  REQUIRE(first.claim);
  // It gave a sign of life just now: b waits.
  Next next = b.next(1);
  CHECK_FALSE(next.claim);
  REQUIRE(next.others.size() == 1);
  CHECK(contains(next.others[0], "trial 0 (a, pid 1)"));
  // An hour ago.
  Database(dir / "study.db").run("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hours')");
  CHECK(contains(b.next(1, true).others.at(0), "no sign of life"));  // but its folder is held
  next = b.next(1);
  REQUIRE(next.claim);
  CHECK(next.claim->again);
  CHECK(next.claim->number == 0);
  CHECK(next.claim->options == first.claim->options);
  CHECK_FALSE(a.study.alive(first.claim->id));
  CHECK_FALSE(a.study.end(first.claim->id, complete(*first.claim, 1)));
  a.study.report(first.claim->id, 3, 0.5);
  a.study.give_back(first.claim->id);
  CHECK(b.study.alive(next.claim->id));
  CHECK(Database(dir / "study.db").run("SELECT * FROM trial_intermediate_values").empty());
  // Given back: at once.
  b.study.give_back(next.claim->id);
  next = a.next(1);
  REQUIRE(next.claim);
  CHECK(next.claim->again);
  CHECK(a.study.end(next.claim->id, complete(*next.claim, 2)));

  // A process of this machine that is gone: at once, too.
  Json gone = this_owner();
  gone["start"] = "1";
  CHECK(owner_lives(this_owner()) == true);
  CHECK(owner_lives(gone) == false);
  CHECK(owner_lives({{"host", "elsewhere"}}) == std::nullopt);
  Study dead({dir / "study.db", "search", 60, gone}, space, {{"model", "m"}});
  const auto choose = [&](std::int64_t number, const std::vector<Trial>& ended, const std::vector<Assignment>&) {
    return drawn(space, number, ended);
  };
  REQUIRE(dead.next(2, choose, [](std::int64_t) { return false; }).claim);
  next = a.next(2);
  REQUIRE(next.claim);
  CHECK(next.claim->number == 1);
}

TEST_CASE("a heartbeat keeps a trial, and knows when it is lost", "[unit]") {
  if (!has_sqlite()) LOWRANK_SKIP("no SQLite");
  lowrank_test::TempDir dir;
  const SearchSpace space = space_of_two();
  Worker a(dir / "study.db", "a", space, 0.2);
  const Next next = a.next();
  REQUIRE(next.claim);
  Database database(dir / "study.db");
  database.run("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hours')");
  const Heartbeat heart(a.study.options(), next.claim->id);
  const auto until = [](const std::function<bool()>& holds) {
    for (int i = 0; i < 3000 && !holds(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return holds();
  };
  CHECK(until([&] {
    return !database.run("SELECT 1 FROM trial_heartbeats WHERE heartbeat > datetime('now', '-10 minutes')").empty();
  }));
  CHECK_FALSE(heart.lost());
  database.run("UPDATE trials SET state = 'FAIL'");
  CHECK(until([&] { return heart.lost(); }));
}

TEST_CASE("what a trial was on its way is there for the others", "[unit]") {
  if (!has_sqlite()) LOWRANK_SKIP("no SQLite");
  lowrank_test::TempDir dir;
  const SearchSpace space = space_of_two();
  Worker a(dir / "study.db", "a", space), b(dir / "study.db", "b", space);
  const Claim one = *a.next().claim, two = *b.next().claim;
  a.study.report(one.id, 3, 0.75);
  a.study.report(one.id, 3, 0.5);  // gone on with, it says so again
  a.study.reached(one.id, {{3, 0.5}});
  const std::vector<Trial> others = b.study.others(two.id);
  REQUIRE(others.size() == 1);
  CHECK(others[0].rungs == std::vector<std::pair<std::int64_t, double>>{{3, 0.5}});
  CHECK(b.study.ended().empty());
  Trial trial = complete(one, 0.5);
  trial.state = Trial::State::kPruned;
  trial.rungs = {{3, 0.5}};
  CHECK(a.study.end(one.id, trial));
  Trial failed = complete(two, 0);
  failed.state = Trial::State::kFailed;
  failed.value.reset();
  failed.reason = "it diverged";
  CHECK(b.study.end(two.id, failed));
  const std::vector<Trial> ended = a.study.ended();
  REQUIRE(ended.size() == 2);
  CHECK(ended[0].state == Trial::State::kPruned);
  CHECK(ended[0].value == 0.5);
  CHECK(ended[0].rungs == trial.rungs);
  CHECK(ended[1].state == Trial::State::kFailed);
  CHECK(ended[1].reason == "it diverged");
}

TEST_CASE("trials that were put into the queue run with what was asked for", "[unit]") {
  if (!has_sqlite()) LOWRANK_SKIP("no SQLite");
  lowrank_test::TempDir dir;
  const SearchSpace space = space_of_two();
  Worker a(dir / "study.db", "a", space);
  Database database(dir / "study.db");
  int number = 0;
  const auto queue = [&](const std::string& fixed) {
    database.run("INSERT INTO trials (number, study_id, state) VALUES (?, 1, 'WAITING')", {number++});
    database.run(
        "INSERT INTO trial_system_attributes (trial_id, \"key\", value_json) VALUES (?, 'fixed_params', ?)",
        {database.last_id(), fixed});
  };
  queue(R"({"rank": 16})");
  queue(R"({"rank": 5})");
  queue(R"({"lr": 0.003, "rank": 4})");
  Claim claim = *a.next(1).claim;  // they count, but are run whatever was asked for
  CHECK(claim.number == 0);
  CHECK(*value_of(claim.options, "rank") == 16);
  CHECK(*value_of(claim.options, "lr") == *value_of(*drawn(space, 0, {}), "lr"));
  claim = *a.next(1).claim;
  CHECK(claim.number == 2);
  CHECK(claim.options == Assignment{{"lr", 0.003}, {"rank", 4}});
  const std::vector<Trial> ended = a.study.ended();
  REQUIRE(ended.size() == 1);
  CHECK(contains(ended[0].reason, "its rank was put into the queue as 5"));
}

TEST_CASE("options as Optuna has them, and back", "[unit]") {
  Dimension whole;
  whole.name = "rank";
  whole.scale = Dimension::Scale::kLog;
  whole.low = 1;
  whole.high = 64;
  whole.integer = true;
  CHECK(distribution_of(whole) ==
        Json::parse(
            R"({"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 1, "high": 64}})"));
  CHECK(*value_of_number(whole, 8, {}) == Json(8));
  CHECK_FALSE(value_of_number(whole, 8.5, {}));
  CHECK_FALSE(value_of_number(whole, 65, {}));
  Dimension real = whole;
  real.integer = false;
  real.scale = Dimension::Scale::kUniform;
  CHECK(distribution_of(real).dump() ==
        R"({"name":"FloatDistribution","attributes":{"step":null,"low":1.0,"high":64.0,"log":false}})");
  Dimension choice;
  choice.name = "targets";
  choice.choices = {Json::array({"q_proj", "v_proj"}), "all-linear", true, nullptr};
  const Json distribution = distribution_of(choice);
  CHECK(distribution["attributes"]["choices"] == Json::array({"q_proj,v_proj", "all-linear", true, nullptr}));
  for (const Json& value : choice.choices)
    CHECK(*value_of_number(choice, number_of(choice, value), distribution) == value);
  // Python has them in another order, or others.
  const Json other = Json::parse(R"({"attributes": {"choices": ["all-linear", "k_proj"]}})");
  CHECK(*value_of_number(choice, 0, other) == Json("all-linear"));
  CHECK_FALSE(value_of_number(choice, 1, other));
  CHECK_FALSE(value_of_number(choice, 2, other));
  CHECK_FALSE(value_of_number(choice, -1, other));
}

TEST_CASE("a study of something else is refused with what it is", "[unit]") {
  CHECK(contains(refusal([] { study_file("postgresql://host/db"); }), "expected sqlite:///FILE"));
  CHECK(contains(refusal([] { study_file("sqlite:///"); }), "expected sqlite:///FILE"));
  CHECK(contains(refusal([] { study_file("sqlite:///no/such/folder/study.db"); }), "no folder"));
  CHECK(study_file("sqlite:////tmp/study.db") == "/tmp/study.db");
  CHECK(study_file("sqlite:///study.db") == "study.db");
  CHECK(std::string(network_file_system(0x6969)) == "NFS");
  CHECK(std::string(network_file_system(static_cast<std::int32_t>(0xFF534D42))) == "SMB");
  CHECK(network_file_system(0xEF53) == nullptr);
  if (!has_sqlite()) LOWRANK_SKIP("no SQLite");
  lowrank_test::TempDir dir;
  const SearchSpace space = space_of_two();
  { const Worker a(dir / "study.db", "a", space); }
  { const Worker again(dir / "study.db", "a", space); }
  CHECK(contains(refusal([&] { const Worker b(dir / "study.db", "b", space, 60, {{"model", "n"}}); }),
                 "another model: \"m\" there, \"n\" here"));
  Database database(dir / "study.db");
  database.run("UPDATE study_directions SET direction = 'MAXIMIZE'");
  CHECK(contains(refusal([&] { const Worker b(dir / "study.db", "b", space); }), "lowest of one value"));
  database.run("UPDATE alembic_version SET version_num = 'v2.6.0.a'");
  CHECK(contains(refusal([&] { const Worker b(dir / "study.db", "b", space); }), "v2.6.0.a"));
  Database(dir / "other.db").run("CREATE TABLE things (thing)");
  CHECK(contains(refusal([&] { const Worker b(dir / "other.db", "b", space); }), "something else"));
  lowrank_test::write_text(dir / "text.db", std::string(4096, 'x'));
  CHECK(contains(refusal([&] { const Worker b(dir / "text.db", "b", space); }), "not a SQLite database"));
}
