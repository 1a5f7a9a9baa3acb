// Mixtures of experts and hybrids through the whole command: made, learned on, generated from, talked to, merged.
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

const Json kCommon = {{"vocab_size", 2048},     {"hidden_size", 32},         {"intermediate_size", 48},
                      {"num_hidden_layers", 2}, {"num_attention_heads", 2},  {"num_key_value_heads", 1},
                      {"head_dim", 16},         {"initializer_range", 0.2},  {"max_position_embeddings", 256},
                      {"bos_token_id", 1},      {"tie_word_embeddings", true}};

struct Family {
  std::string model_type;
  Json own;                             // keys beyond those
  std::vector<std::string> pretraining;  // options beyond the usual
};

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {"qwen3_moe",
       {{"num_local_experts", 4}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 16}, {"norm_topk_prob", true}},
       {"--router-aux-loss", "0.01"}},
      {"qwen3_5_text",
       {{"layer_types", {"linear_attention", "full_attention"}},
        {"linear_num_key_heads", 2},
        {"linear_num_value_heads", 4},
        {"linear_key_head_dim", 8},
        {"linear_value_head_dim", 8},
        {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e4}, {"partial_rotary_factor", 0.25}}}},
       {}},
      {"lfm2", {{"layer_types", {"conv", "full_attention"}}}, {}}};
  return all;
}

const char* const kTemplate =
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}";

}  // namespace

TEST_CASE("mixtures and hybrids are pretrained, adapted, generated from, talked to and merged", "[e2e]") {
  const std::string base = (source_dir() / "examples" / "base").string();
  const std::string text = (source_dir() / "examples" / "general.txt").string();
  for (const Family& family : families()) {
    INFO(family.model_type);
    TempDir dir;
    Json config = kCommon;
    config["model_type"] = family.model_type;
    config.merge_patch(family.own);
    write_text(dir / "shape.json", config.dump(2));  // a config.json would make a model of the folder
    const std::string model = (dir / "model").string(), adapter = (dir / "adapter").string(),
                      merged = (dir / "merged").string();
    const std::vector<std::string> short_run = {"--data",  text, "--seq-len",    "48", "--max-steps", "3",
                                                "--quiet", "--val-split", "0",  "--batch-size", "2"};
    const auto with = [&](std::vector<std::string> words, const std::vector<std::string>& more) {
      words.insert(words.end(), short_run.begin(), short_run.end());
      words.insert(words.end(), more.begin(), more.end());
      return words;
    };
    const CommandResult made = run(with({"pretrain", "--config", (dir / "shape.json").string(), "--tokenizer", base,
                                         "--save-dtype", "float32", "--out", model},
                                        family.pretraining));
    INFO(made.err);
    REQUIRE(made.exit == 0);
    const std::string rows = read_text(fs::path(model) / "metrics.jsonl");
    CHECK(contains(rows, "\"router_aux_loss\":") == !family.pretraining.empty());
    const CommandResult tuned = run(with({"finetune", model, "--out", adapter, "--lr", "0.05", "--rank", "4"}, {}));
    INFO(tuned.err);
    REQUIRE(tuned.exit == 0);

    const auto answer = [&](const std::string& folder, const std::vector<std::string>& more) {
      std::vector<std::string> words = {"generate",         folder, "--prompt",   "The panel was painted",
                                        "--max-new-tokens", "12",   "--dtype", "float32"};
      words.insert(words.end(), more.begin(), more.end());
      return run_json(words)["ids"];
    };
    const Json plain = answer(model, {}), adapted = answer(model, {"--adapter", adapter});
    CHECK(plain != adapted);
    const CommandResult merging =
        run({"merge", model, "--adapter", adapter, "--out", merged, "--quiet"});
    INFO(merging.err);
    REQUIRE(merging.exit == 0);
    CHECK(answer(merged, {}) == adapted);

    // The same conversation whether its turns are read on from the cache or taken back and read anew.
    write_text(fs::path(model) / "chat_template.jinja", kTemplate);
    const std::vector<std::string> chat = {"chat", model,           "--adapter", adapter, "--max-new-tokens",
                                           "6",    "--temperature", "0"};
    const CommandResult one = run(chat, {}, "Hello\n"), two = run(chat, {}, "Hello\nMore\n");
    INFO(two.err);
    REQUIRE(two.exit == 0);
    REQUIRE(two.out.starts_with(one.out));
    const CommandResult undone = run(chat, {}, "Hello\nLess\n/undo\nMore\n");
    CHECK(undone.exit == 0);
    CHECK(undone.out.ends_with("(taken back)\n" + two.out.substr(one.out.size())));
  }
}
