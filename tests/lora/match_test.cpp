#include "lowrank/lora/match.h"

#include "fixture.h"
#include "lowrank/lora/path_change.h"
#include "lowrank/lora/pattern.h"

using namespace lora_test;
using lora::LoraConfig;

namespace {

LoraConfig targeting(const std::variant<std::vector<std::string>, std::string>& targets) {
  LoraConfig config;
  config.target_modules = targets;
  return config;
}
using List = std::vector<std::string>;

}  // namespace

TEST_CASE("modules, ranks and alphas are matched as PEFT matches them", "[parity]") {
  const auto json =
      nlohmann::ordered_json::parse(lowrank_test::read_text(lowrank_test::golden_dir() / "lora" / "matching.json"));
  int rows = 0;
  for (const auto& row : json["rows"]) {
    INFO(row["config"].dump());
    const auto names = json["names"][row["names"].get<std::string>()].get<List>();
    auto with_type = row["config"];
    with_type["peft_type"] = "LORA";
    with_type["r"] = 8;
    with_type["lora_alpha"] = 16;
    const core::Json parsed = core::parse_json(with_type.dump(), "golden");
    const LoraConfig config = lora::parse_adapter_config(core::JsonView(parsed, "golden"));
    List expected;
    for (const auto& hit : row["hits"]) expected.push_back(hit["module"]);
    CHECK(lora::match(config, names, "lm_head").modules == expected);
    for (const auto& hit : row["hits"]) {
      INFO(hit.dump());
      CHECK(config.rank_for(hit["module"]) == hit["r"].get<std::int64_t>());
      CHECK(config.alpha_for(hit["module"]) == hit["alpha"].get<double>());
      CHECK(config.scale_for(hit["module"]) == Approx(hit["scale"].get<double>()).epsilon(1e-14));
    }
    ++rows;
  }
  CHECK(rows >= 50);
}

TEST_CASE("all-linear takes every linear layer but the head", "[unit]") {
  const auto table = tiny_llama();
  const List all = paths(table.slots);
  for (const auto& config : {targeting(List{"all-linear"}), targeting("all-linear"), targeting("All-Linear")})
    CHECK(lora::match_modules(config, all, "lm_head") == List(all.begin(), all.end() - 1));
  LoraConfig some = targeting(List{"all-linear"});
  some.layers_to_transform = {1};
  some.exclude_modules = List{"down_proj"};
  CHECK(lora::match_modules(some, all, "lm_head") == List(all.begin() + 7, all.begin() + 13));
}

TEST_CASE("targets that match nothing are named, with the nearest that would", "[unit]") {
  const List all = paths(tiny_llama().slots);
  const auto message = [&](LoraConfig config) {
    return message_of(ErrorKind::kConfig, [&] { lora::match_modules(config, all, "lm_head"); });
  };
  CHECK(contains(message(targeting(List{"q_proj", "v_porj"})), "did you mean 'v_proj'?"));
  CHECK(contains(message(targeting(List{"c_attn"})), "no linear module is named 'c_attn'"));
  CHECK(contains(message(targeting(List{"self_attn"})), "ends in '.self_attn'"));
  CHECK(contains(message(targeting(List{"all-linear", "q_proj"})), "it stands alone"));
  CHECK(contains(message(targeting("q_proj")), "matches no linear module as a whole path"));
  LoraConfig config = targeting(List{"q_proj"});
  config.exclude_modules = List{"lm_haed"};
  CHECK(contains(message(config), "did you mean 'lm_head'?"));
  config.exclude_modules = List{"q_proj"};
  CHECK(contains(message(config), "no module is left to adapt"));
  config.exclude_modules = List{};
  config.layers_to_transform = {1, 7};
  CHECK(contains(message(config), "layers_to_transform has 7, but the targets are in layers 0 to 2"));
}

TEST_CASE("an expression that explodes is stopped", "[unit]") {
  const List names = {"model.layers.0." + std::string(60, 'a') + "!"};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::match_modules(targeting("(.*a+)+[bc]"), names, ""); }),
                 "takes more than"));
  CHECK_THROWS_AS(lora::Pattern(lora::Pattern::Kind::kFullMatch, std::string(20'000, 'a'), "target_modules"),
                  ConfigError);
}

TEST_CASE("targets are kept as given where PEFT reads them alike, else rewritten", "[unit]") {
  const auto table = tiny_llama();
  const List all = paths(table.slots);
  const auto portable = [&](const LoraConfig& config) {
    return lora::with_portable_targets(config, lora::match_modules(config, all, "lm_head"), all, table.others,
                                       "lm_head");
  };
  const List kinds = {"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"};
  CHECK(std::get<0>(portable(targeting(List{"all-linear"})).target_modules) == kinds);
  CHECK(std::get<0>(portable(targeting(List{"v_proj", "q_proj"})).target_modules) == List{"v_proj", "q_proj"});
  CHECK(std::get<1>(portable(targeting(".*q_proj")).target_modules) == ".*q_proj");
  // PEFT would match model.layers.0.mlp itself, and the norms.
  CHECK(std::get<0>(portable(targeting(".*mlp.*")).target_modules) == List{"down_proj", "gate_proj", "up_proj"});
  CHECK(std::get<0>(portable(targeting(R"(.*\.1\..*)")).target_modules).front() == "1.mlp.down_proj");

  LoraConfig layers = targeting(List{"all-linear"});
  layers.layers_to_transform = {0, 2};
  layers.exclude_modules = List{"mlp.up_proj"};
  const LoraConfig kept = portable(layers);
  CHECK(std::get<0>(kept.target_modules) == kinds);
  CHECK(kept.layers_to_transform == layers.layers_to_transform);
  CHECK(lora::match_modules(kept, all, "") == lora::match_modules(layers, all, "lm_head"));
}

TEST_CASE("the layer of a path is its first numbered segment", "[unit]") {
  using lora::Pattern;
  CHECK(Pattern::first_layer_of("model.layers.12.mlp.experts.3.up") == 12);
  CHECK(Pattern::first_layer_of("layers.12.up") == std::nullopt);
  CHECK(Pattern::first_layer_of("a.0.1.up") == 1);
  CHECK(Pattern::first_layer_of("model.layers.12") == std::nullopt);
  CHECK(Pattern::first_layer_of("lm_head") == std::nullopt);
  CHECK(Pattern::first_layer_of("m.l.99999999999999999999.up") == std::nullopt);
}

TEST_CASE("paths of a file are placed by their longest common end in whole segments, however short", "[unit]") {
  const auto change = lora::find_path_change({"net.q"}, {"model.q", "model.kq"});
  CHECK(change.from == "net.");
  CHECK(change.to == "model.");
  CHECK(lora::find_path_change({"net.0.q"}, {"model.1.q"}).unplaced == "net.0.q");  // layers do not change
  CHECK(lora::find_path_change({"net.q"}, {"model.kq"}).unplaced == "net.q");
}
