// The field table: one line a field drives names, types, bounds, run.json, identity and the command.
#include <set>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/recipes/dpo.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/ppo.h"
#include "lowrank/recipes/pretrain.h"
#include "lowrank/recipes/reward.h"

using namespace lowrank;
using core::Json;
using recipes::fields_of;

namespace {

template <typename Call>
std::string field_error(const Call& call) {
  try {
    call();
  } catch (const recipes::FieldError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

template <typename Spec>
void check_table() {
  Spec spec;
  const recipes::Fields table = fields_of(spec);
  std::set<std::string> names;
  for (const recipes::FieldInfo& field : table.info()) {
    INFO(field.name);
    CHECK(names.insert(field.name).second);
    CHECK_FALSE(field.help.empty());
    CHECK_FALSE(field.group.empty());
    CHECK((field.type == recipes::FieldType::kFlag) == field.value.empty());
    CHECK_FALSE(table.given(field.name));
  }
  table.check();  // defaults are within bounds
}

}  // namespace

TEST_CASE("the table of every recipe names each field once, with its help and a default within bounds", "[unit]") {
  check_table<recipes::FinetuneSpec>();
  check_table<recipes::PretrainSpec>();
  check_table<recipes::DpoSpec>();
  check_table<recipes::RewardSpec>();
  check_table<recipes::PpoSpec>();
}

TEST_CASE("fields are set by name, and what was set counts as given", "[unit]") {
  recipes::FinetuneSpec spec;
  recipes::Fields table = fields_of(spec);
  table.set("rank", 8, "command line");
  table.set("epochs", 10, "few.yaml");  // a whole number is a number
  table.set("batch-size", 4, "command line");
  table.set("val-data", Json::array({"a.txt", "b.txt"}), "command line");
  CHECK(spec.adapter.rank == 8);
  CHECK(spec.train.epochs == 10);
  CHECK(spec.data.val_data == std::vector<std::string>{"a.txt", "b.txt"});
  CHECK(table.given("batch-size"));  // though it is the default
  CHECK_FALSE(table.given("grad-accum"));
  spec.train.grad_accum = 2;  // a member that was set is given too
  CHECK(table.given("grad-accum"));
  CHECK(field_error([&] { table.set("rank", "eight", "command line"); }).find("another type") != std::string::npos);
  CHECK(field_error([&] { table.set("rank", 8.5, "command line"); }).find("another type") != std::string::npos);
  try {
    table.set("rnak", 8, "");
    FAIL("an unknown name was taken");
  } catch (const ConfigError& error) {
    CHECK(std::string(error.what()).find("did you mean 'rank'") != std::string::npos);
  }
}

TEST_CASE("bounds and choices are checked in one place, and name field and file", "[unit]") {
  recipes::FinetuneSpec spec;
  recipes::Fields table = fields_of(spec);
  spec.train.batch_size = 0;
  CHECK(field_error([&] { table.check(); }) == "`batch-size`: expected 1 to 1048576, found 0");
  spec.train.batch_size = 4;
  table.set("val-split", 0.95, "run.yaml");
  CHECK(field_error([&] { table.check(); }) == "run.yaml: `val-split`: expected 0 to 0.9, found 0.95");
  spec.data.val_split = 0.1;
  spec.train.schedule = "cosin";
  CHECK(field_error([&] { table.check(); }).find("did you mean 'cosine'") != std::string::npos);
  spec.train.schedule = "linear";
  spec.train.lr = std::numeric_limits<double>::quiet_NaN();
  CHECK(field_error([&] { table.check(); }).starts_with("`lr`: expected"));
}

TEST_CASE("run.json's options, identity and command come from the table", "[unit]") {
  recipes::FinetuneSpec spec;
  recipes::Fields table = fields_of(spec);
  table.set("data", Json::array({"my text.txt"}), "command line");
  table.set("epochs", 2.0, "command line");
  table.set("no-shuffle", true, "command line");
  table.set("out", "out", "command line");
  const Json options = table.to_json();
  CHECK(options["epochs"].dump() == "2.0");  // as it was written
  CHECK(options["grad-accum"].dump() == "1");
  CHECK(options["clip"].dump() == "1.0");
  CHECK(options["weight-decay"].dump() == "0");
  CHECK(options["rank"].is_null());
  CHECK(options.size() == table.info().size());
  CHECK(table.command("finetune", {"model"}) ==
        "lowrank finetune model --data 'my text.txt' --no-shuffle --epochs 2.0 --out out");
  const Json identity = table.identity();
  CHECK(identity["--epochs"] == 2);
  CHECK(identity.contains("--seed"));
  for (const char* free : {"--out", "--threads", "--resume", "--keep-last", "--log-every", "--samples"})
    CHECK_FALSE(identity.contains(free));
  for (const char* otherwise : {"--data", "--val-data", "--adapter", "--dtype", "--recompute"})
    CHECK_FALSE(identity.contains(otherwise));
}

TEST_CASE("PPO's answers are 16 a micro-batch, and it has no batch-tokens", "[unit]") {
  recipes::PpoSpec spec;
  const recipes::Fields table = fields_of(spec);
  CHECK(table.get("batch-size") == 16);
  CHECK_FALSE(table.contains("batch-tokens"));
}

TEST_CASE("fields between backticks are spelled, commands are not", "[unit]") {
  const auto flag = [](const std::string& name) { return "--" + name; };
  CHECK(recipes::spell_fields("`min-gain`: give `early-stopping` too", flag) ==
        "--min-gain: give --early-stopping too");
  CHECK(recipes::spell_fields("see `lowrank inspect --json` and `Rank`", flag) ==
        "see `lowrank inspect --json` and `Rank`");
  CHECK(recipes::spell_fields("a lone ` stays", flag) == "a lone ` stays");
}
