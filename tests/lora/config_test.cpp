#include "lowrank/lora/config.h"

#include "fixture.h"
#include "lowrank/core/random.h"

using namespace lora_test;
using lora::LoraConfig;

namespace {

LoraConfig parse(const std::string& text) {
  const core::Json json = core::parse_json(text, "adapter_config.json");
  return lora::parse_adapter_config(core::JsonView(json, "adapter_config.json"));
}

// A valid config with one key set (null removes nothing: PEFT writes nulls too).
std::string with(const std::string& key, const std::string& value) {
  auto json = nlohmann::ordered_json::parse(
      R"({"peft_type":"LORA","task_type":"CAUSAL_LM","r":8,"lora_alpha":16,"target_modules":["q_proj"]})");
  json[key] = nlohmann::ordered_json::parse(value);
  return json.dump();
}

}  // namespace

TEST_CASE("what PEFT wrote is read", "[unit]") {
  const LoraConfig rich = lora::read_adapter_config(lowrank_test::golden_dir() / "lora" / "adapter-rich");
  CHECK(rich.r == 4);
  CHECK(rich.lora_alpha == 6);
  CHECK(rich.lora_dropout == 0.05);
  CHECK(rich.use_rslora);
  CHECK(std::holds_alternative<std::string>(rich.target_modules));
  CHECK(rich.rank_pattern.size() == 2);
  CHECK(rich.rank_for("model.layers.0.self_attn.k_proj") == 2);
  CHECK(rich.rank_for("model.layers.2.mlp.gate_proj") == 6);
  CHECK(rich.rank_for("model.layers.0.mlp.gate_proj") == 4);
  CHECK(rich.alpha_for("model.layers.0.self_attn.o_proj") == 12);
  CHECK(rich.scale_for("model.layers.0.self_attn.o_proj") == Approx(12 / 2.0));
  CHECK(rich.base_model_name_or_path == "tiny/llama");

  const LoraConfig layers = lora::read_adapter_config(lowrank_test::golden_dir() / "lora" / "adapter-layers");
  CHECK(*layers.layers_to_transform == std::vector<std::int64_t>{1, 2});
  CHECK(std::get<0>(layers.exclude_modules) == std::vector<std::string>{"model.layers.2.mlp.up_proj"});
}

TEST_CASE("a config that says little has PEFT's defaults", "[unit]") {
  const LoraConfig config = parse(R"({"peft_type":"LORA","target_modules":["q_proj"]})");
  CHECK(config.r == 8);
  CHECK(config.lora_alpha == 8);
  CHECK(config.lora_dropout == 0);
  CHECK(config.task_type.empty());
  CHECK_FALSE(config.use_rslora);
}

TEST_CASE("a written config reads back the same, in sorted keys", "[unit]") {
  LoraConfig config;
  config.r = 12;
  config.lora_alpha = 2.5;
  config.lora_dropout = 0.1;
  config.use_rslora = true;
  config.init_lora_weights = "gaussian";
  config.target_modules = std::vector<std::string>{"q_proj", "v_proj"};
  config.exclude_modules = std::vector<std::string>{"lm_head"};
  config.layers_to_transform = {1, 3};
  config.layers_pattern = {"layers"};
  config.rank_pattern = {{"v_proj", 3}, {"q_proj", 2}};  // order decides, so it is kept
  config.alpha_pattern = {{"v_proj", 7}};
  config.base_model_name_or_path = "caf\xc3\xa9/model";
  const std::string text = lora::adapter_config_json(config);
  CHECK(contains(text, "\"caf\\u00e9/model\""));
  const auto json = nlohmann::ordered_json::parse(text);
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  CHECK(std::is_sorted(keys.begin(), keys.end()));
  const LoraConfig back = parse(text);
  CHECK(lora::adapter_config_json(back) == text);
  CHECK(back.rank_pattern == config.rank_pattern);
  CHECK(back.layers_pattern == config.layers_pattern);
  CHECK(back.lora_alpha == 2.5);
}

TEST_CASE("a written config says in PEFT's words what PEFT's own says", "[unit]") {
  for (const char* name : {"adapter-plain", "adapter-rich", "adapter-layers"}) {
    const auto folder = lowrank_test::golden_dir() / "lora" / name;
    const auto theirs = nlohmann::ordered_json::parse(lowrank_test::read_text(folder / "adapter_config.json"));
    const std::string text = lora::adapter_config_json(lora::read_adapter_config(folder));
    CHECK(text.substr(0, 4) == "{\n  ");
    const auto ours = nlohmann::ordered_json::parse(text);
    for (const auto& item : ours.items()) {
      INFO(name << " " << item.key());
      CHECK(theirs.at(item.key()) == item.value());
    }
  }
}

TEST_CASE("ranks that were computed come as floats, and are read where they are whole", "[unit]") {
  CHECK(parse(with("r", "4.0")).r == 4);
  CHECK(parse(with("rank_pattern", "{\"q_proj\": 2.0}")).rank_for("q_proj") == 2);
  for (const char* rank : {"4.5", "1e300", "\"4\""})
    CHECK(contains(message_of(ErrorKind::kFormat, [&] { parse(with("r", rank)); }), "adapter_config.json: r"));
}

TEST_CASE("keys that ask for nothing are passed over", "[unit]") {
  for (const char* value : {"null", "false", "0", "0.0", "\"\"", "[]", "{}"})
    CHECK_NOTHROW(parse(with("of_the_future", value)));
  for (const char* key :
       {"use_dora", "lora_bias", "modules_to_save", "target_parameters", "layer_replication", "kasa_config"})
    CHECK_NOTHROW(parse(with(key, "null")));
  CHECK_NOTHROW(parse(with("use_dora", "false")));
  CHECK_NOTHROW(parse(with("modules_to_save", "[]")));
  CHECK_NOTHROW(parse(with("qalora_group_size", "16")));
  CHECK_NOTHROW(parse(with("megatron_core", "\"megatron.core\"")));
  CHECK_NOTHROW(parse(with("eva_config", R"({"rho": 2.0})")));
  CHECK_NOTHROW(parse(with("auto_mapping", R"({"parent_library": "x"})")));
  for (const char* init : {"true", "false", "\"gaussian\"", "\"orthogonal\"", "\"eva\""})
    CHECK_NOTHROW(parse(with("init_lora_weights", init)));
}

TEST_CASE("what is trained beside A and B is read and written, and matched as PEFT does", "[unit]") {
  const lora::LoraConfig config = parse(R"({"peft_type": "LORA", "target_modules": ["q_proj"], "bias": "lora_only",
      "modules_to_save": ["norm", "1.mlp", "lm_head"], "task_type": "SEQ_CLS"})");
  CHECK(config.bias == "lora_only");
  CHECK(config.task_type == "SEQ_CLS");
  for (const char* path : {"model.norm", "model.layers.0.input_layernorm", "model.layers.1.mlp.up_proj", "lm_head"})
    CHECK(config.saves_whole(path));
  for (const char* path : {"model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj", "lm_head_2", "model"})
    CHECK_FALSE(config.saves_whole(path));
  const auto json = nlohmann::ordered_json::parse(lora::adapter_config_json(config));
  CHECK(json["bias"] == "lora_only");
  CHECK(json["modules_to_save"] == nlohmann::ordered_json({"norm", "1.mlp", "lm_head"}));
  CHECK(json["task_type"] == "SEQ_CLS");
}

TEST_CASE("a malformed config is refused with its own message", "[unit]") {
  struct Case {
    const char *key, *value, *message;
  };
  const std::vector<Case> cases = {
      {"r", "0", "r is 0; it must be from 1"},
      {"r", "-4", "r is -4; it must be from 1"},
      {"r", "1000000000", "r is 1000000000; it must be from 1 to 65536"},
      {"r", "\"8\"", "adapter_config.json: r"},
      {"r", "8.5", "adapter_config.json: r"},
      {"r", "true", "adapter_config.json: r"},
      {"lora_alpha", "1e13", "lora_alpha is 1"},
      {"lora_alpha", "\"16\"", "lora_alpha"},
      {"lora_dropout", "1", "lora_dropout is 1"},
      {"lora_dropout", "-0.1", "lora_dropout is -0.1"},
      {"target_modules", "[]", "target_modules is empty"},
      {"target_modules", "\"\"", "target_modules is an empty string"},
      {"target_modules", "null", "target_modules is missing or null"},
      {"target_modules", "[\"q_proj\", \"\"]", "target_modules has an empty entry"},
      {"target_modules", "[1]", "target_modules"},
      {"target_modules", "{}", "expected a list of module names or a regular expression"},
      {"target_modules", "\"(q_proj\"", "missing closing parenthesis"},
      {"target_modules", "\"[q\"", "missing terminating ]"},
      {"target_modules", "\"a\\\\\"", "ends in a single backslash"},
      {"target_modules", "\"(*MARK:x)q\"", "'(*' is not part of Python's re"},
      {"target_modules", "\"(?R)\"", "is not part of Python's re"},
      {"target_modules", "\"\\\\Kq_proj\"", "'\\K' is not an escape of Python's re"},
      {"target_modules", "\"[[:alpha:]]q\"", "POSIX classes"},
      {"target_modules", "\"[qk](*MARK:x)_proj\"", "'(*' is not part of Python's re"},  // behind a class
      {"target_modules", "\"q(?i)\"", "flags for the whole expression must stand first"},
      {"exclude_modules", "\"*\"", "exclude_modules: the regular expression"},
      {"rank_pattern", R"({"q_proj": 0})", "rank_pattern['q_proj'] is 0"},
      {"rank_pattern", R"({"q_proj": "4"})", "rank_pattern"},
      {"rank_pattern", R"({"(": 4})", "rank_pattern: the regular expression"},
      {"rank_pattern", "[]", "expected an object from module names to ranks"},
      {"alpha_pattern", R"({"q_proj": -1e13})", "alpha_pattern['q_proj'] is -1"},
      {"layers_to_transform", "-1", "layers_to_transform"},
      {"layers_to_transform", "[0, \"1\"]", "layers_to_transform"},
      {"layers_pattern", "\"layers\"", "layers_pattern is given without layers_to_transform"},
      {"peft_type", "\"ADALORA\"", "this adapter is of type ADALORA"},
      {"task_type", "\"TOKEN_CLS\"", "'TOKEN_CLS' is not supported"},
      {"bias", "\"lora-only\"", "bias is 'lora-only'; it is one of none, all and lora_only, did you mean 'lora_only'?"},
      {"use_dora", "1", "use_dora"},
      {"lora_bias", "1", "lora_bias"},
      {"modules_to_save", "[\"lm_head\", \"\"]", "modules_to_save has an empty entry"},
      {"modules_to_save", "\"lm_head\"", "modules_to_save"},
      {"trainable_token_indices", "[-1]", "trainable_token_indices"},
      {"trainable_token_indices", "[3, 3]", "trainable_token_indices has 3 twice"},
      {"trainable_token_indices", "\"3\"", "expected a list of token ids"},
      {"target_parameters", "[\"\"]", "target_parameters has an empty entry"},
      {"target_parameters", "\"w\"", "target_parameters"},
      {"layer_replication", "[[0, 4]]", "layer_replication"},
      {"megatron_config", "{\"a\": 1}", "megatron_config"},
      {"use_qalora", "true", "use_qalora"},
      {"alora_invocation_tokens", "1", "expected a list of token ids"},
      {"kasa_config", "{\"beta\": 1}", "kasa_config"},
      {"use_rslora", "\"yes\"", "use_rslora"},
      {"init_lora_weights", "\"pissa_niter_4\"", "'pissa_niter_4' changes the base's weights"},
      {"init_lora_weights", "\"olora\"", "'olora' changes the base's weights"},
      {"init_lora_weights", "\"loftq\"", "'loftq' changes the base's weights"},
      {"init_lora_weights", "\"gausian\"", "did you mean 'gaussian'"},
      {"use_rslorra", "true", "did you mean 'use_rslora'"},
      {"new_thing", "{\"on\": true}", "the key 'new_thing' (= {\"on\":true}) is not known"},
  };
  for (const char* expression : {"\"[](*x]q\"", "\"[^](*x]q\""})  // a leading ] is of the class
    CHECK_NOTHROW(parse(with("target_modules", expression)));
  for (const Case& c : cases) {
    INFO(c.key << " = " << c.value);
    CHECK(contains(message_of(ErrorKind::kFormat, [&] { parse(with(c.key, c.value)); }), c.message));
  }
  CHECK(contains(message_of(ErrorKind::kFormat, [&] { parse(R"({"target_modules":["q_proj"]})"); }), "peft_type"));
  CHECK(contains(message_of(ErrorKind::kFormat, [&] { parse("[]"); }), "object"));
  CHECK_THROWS_AS(parse(R"({"peft_type":"LORA","target_modules":["q"],"lora_alpha":NaN})"), FormatError);
  CHECK_THROWS_AS(parse(R"({"peft_type":"LORA","target_modules":["q"],"lora_alpha":1e999})"), FormatError);
  CHECK_THROWS_AS(lora::read_adapter_config("/nowhere"), MissingError);
}

TEST_CASE("configs made in code are checked too", "[unit]") {
  LoraConfig config;
  config.lora_alpha = std::nan("");
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { config.validate(); }), "lora_alpha is nan"));
  config = {};
  config.init_lora_weights = "gauss";
  CHECK_THROWS_AS(config.validate(), ConfigError);
  config = {};
  config.target_modules = ".*q_proj";
  config.layers_to_transform = {1};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { config.validate(); }), "not with a regular expression"));
  config = {};
  config.layers_to_transform = {1};
  CHECK_NOTHROW(config.validate());
}

TEST_CASE("100,000 mutations of a config end in success or in our own errors", "[unit]") {
  const std::string text =
      lowrank_test::read_text(lowrank_test::golden_dir() / "lora" / "adapter-rich" / "adapter_config.json");
  const core::RandomStream stream(3, "config mutations");
  const std::vector<std::string> linears = paths(tiny_llama().slots);
  const std::string bits = "\"{}[]:,.\\0123456789-+eE()*?|^$truefalsn \n\x80\xff";
  int accepted = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    std::string mutant = text;
    const auto edits = 1 + stream.below(3, i, 0);
    for (std::uint64_t e = 0; e < edits; ++e) {
      const auto at = stream.below(mutant.size(), i, 4 * e + 1);
      const char c = stream.below(2, i, 4 * e + 2) == 0 ? bits[stream.below(bits.size(), i, 4 * e + 3)]
                                                        : static_cast<char>(stream.below(256, i, 4 * e + 3));
      switch (stream.below(3, i, 4 * e + 4)) {
        case 0:
          mutant[at] = c;
          break;
        case 1:
          mutant.insert(mutant.begin() + static_cast<std::ptrdiff_t>(at), c);
          break;
        default:
          mutant.erase(at, 1 + stream.below(6, i, 4 * e + 5));
      }
    }
    try {
      const LoraConfig config = parse(mutant);
      lora::match_modules(config, linears, "lm_head");
      ++accepted;
    } catch (const Error&) {
    }
  }
  CHECK(accepted > 1000);
}

TEST_CASE("files may have any scale, what begins one above 0", "[unit]") {
  const auto parsed = [](const std::string& alpha) {
    const core::Json json = {{"peft_type", "LORA"}, {"target_modules", {"q_proj"}}, {"lora_alpha", std::stod(alpha)}};
    return lora::parse_adapter_config(core::JsonView(json, "adapter_config.json"));
  };
  CHECK(parsed("-4").scale_for("q_proj") == -0.5);
  CHECK(parsed("0").scale_for("q_proj") == 0);
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { parsed("0").validate_new(); }), "lora_alpha is 0"));
  lora::LoraConfig config = parsed("8");
  config.alpha_pattern = {{"q_proj", -1}};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { config.validate_new(); }), "alpha_pattern['q_proj'] is -1"));
}

TEST_CASE("methods that learn tokens before the text get advice of their own", "[unit]") {
  for (const char* type : {"PREFIX_TUNING", "IA3"}) {
    const core::Json json = {{"peft_type", type}};
    const std::string message = message_of(ErrorKind::kFormat, [&] { lora::parse_adapter_config(core::JsonView(json, "adapter_config.json")); });
    CHECK(contains(message, std::string("of type ") + type));
    CHECK(contains(message, "merge_and_unload") == (std::string(type) == "IA3"));
  }
}
