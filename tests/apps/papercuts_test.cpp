// The way around the core: help, mistakes in words, settings files of ours and of other tools, places for results.
#include <algorithm>
#include <map>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

/// Its text has every one of `parts`.
void check_parts(const std::string& text, const std::vector<std::string>& parts) {
  CAPTURE(text);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(text, part));
  }
}

std::size_t widest_line(const std::string& text) {
  std::size_t widest = 0, width = 0;
  for (const char c : text) {
    if (c == '\n') width = 0;
    if (c != '\n' && (static_cast<unsigned char>(c) & 0xC0) != 0x80) widest = std::max(widest, ++width);
  }
  return widest;
}

const char* const kFactory =
    "model_name_or_path: org/name\nstage: sft\nfinetuning_type: lora\nlora_rank: 8\nlora_target: all\n"
    "dataset: mine\ntemplate: llama3\ncutoff_len: 512\nmax_samples: 1000\noutput_dir: saves/x\n"
    "per_device_train_batch_size: 2\nlearning_rate: 1.0e-4\nnum_train_epochs: 3.0\nlr_scheduler_type: cosine\n"
    "warmup_ratio: 0.1\nbf16: true\nplot_loss: true\n";
const char* const kAxolotl =
    "base_model: org/name\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\nval_set_size: 0.1\nadapter: lora\n"
    "sequence_len: 512\nsample_packing: true\nlora_r: 4\nlora_alpha: 8\nlora_target_modules:\n  - q_proj\n  - v_proj\n"
    "micro_batch_size: 2\nnum_epochs: 2\nlearning_rate: 0.0002\ngradient_checkpointing: true\nwandb_project:\n";
const char* const kMlx =
    "model: org/name\ntrain: true\nfine_tune_type: dora\ndata: rows\niters: 100\nbatch_size: 2\nval_batches: 25\n"
    "learning_rate: 1e-5\nadapter_path: adapters\ngrad_checkpoint: false\nlora_parameters:\n  keys: "
    "[self_attn.q_proj, self_attn.v_proj]\n  rank: 4\n  scale: 10.0\n";
const char* const kTrl =
    "model_name_or_path: org/name\ndataset_name: org/rows\nlearning_rate: 2.0e-4\nnum_train_epochs: 1\npacking: true\n"
    "per_device_train_batch_size: 2\nuse_peft: true\nlora_r: 32\noutput_dir: saves/x\nlr_scheduler_type: polynomial\n";
const char* const kPeft =
    "{\"peft_type\": \"LORA\", \"base_model_name_or_path\": \"org/name\", \"r\": 8, \"lora_alpha\": 16, "
    "\"rank_pattern\": {\"q_proj\": 4}, \"target_modules\": [\"q_proj\", \"v_proj\"], \"use_dora\": true}";

}  // namespace

TEST_CASE("help: -h, verbs of two words, first what people need, as wide as the terminal", "[unit]") {
  for (const char* asked : {"-h", "--help", "help"})
    check_parts(run({asked}).out, {"finetune", "align ppo", "MODEL is a"});
  for (const char* word : {"align", "tokenizer"}) {
    const CommandResult help = run({word, "--help"});
    CHECK(help.exit == 0);
    CHECK(contains(help.out, std::string("lowrank ") + word + " "));
    CHECK(contains(help.out, "Example: "));
    CHECK(run({word, "-h"}).out == help.out);
    CHECK(run({"help", word}).out == help.out);
  }
  check_parts(run({"align", "dop"}).err, {"align dpo", "did you mean 'dpo'"});
  const CommandResult first = run({"finetune", "-h"}), all = run({"finetune", "--help", "all"});
  CHECK(first.exit == 0);
  CHECK(run({"help", "finetune"}).out == first.out);
  check_parts(first.out, {"--data PATH", "Required.", "--lr X", "--help all", "--config FILE",
                          "Usage: lowrank finetune MODEL --data PATH", "--out DIR [options]"});
  CHECK_FALSE(contains(first.out, "--neftune"));
  CHECK(contains(all.out, "--neftune"));
  CHECK(run({"finetune", "MODEL", "--rank", "4", "--help"}).out == first.out);
  for (const char* columns : {"80", "120"}) {
    const std::string text = run({"finetune", "--help", "all"}, {{"COLUMNS", columns}}).out;
    CHECK(widest_line(text) <= static_cast<std::size_t>(std::stoi(columns)));
    CHECK(widest_line(run({"--help"}, {{"COLUMNS", columns}}).out) <= static_cast<std::size_t>(std::stoi(columns)));
  }
  CHECK(run({"finetune", "--help"}, {{"COLUMNS", "120"}}).out != run({"finetune", "--help"}, {{"COLUMNS", "80"}}).out);
}

TEST_CASE("words in the wrong place are named, with what they were", "[unit]") {
  const auto says = [](const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
    const CommandResult result = run(arguments);
    CHECK(result.exit == 2);
    check_parts(result.err, parts);
    CHECK_FALSE(contains(result.err, "At Most"));
  };
  says({"finetune", "a", "b", "--data", "x", "--out", "y"}, {"'b' was not expected", "MODEL alone"});
  says({"finetune", "a", "--targets", "q_proj", "v_proj", "--data", "x", "--out", "y"},
       {"'v_proj' was not expected", "--targets takes one value", "q_proj,v_proj"});
  says({"generate", "a", "--prompt", "Once", "upon"},
       {"'upon' was not expected", "--prompt takes one value: 'Once upon'"});
  says({"finetune", "--data", "x", "a", "--out", "y"}, {"MODEL is missing", "--data takes every word"});
  says({"finetune"}, {"MODEL, --data and --out are missing"});
  says({"finetune", "a", "--out", "y"}, {"--data is missing"});
  says({"finetun"}, {"did you mean 'finetune'? `lowrank --help`"});
  says({"finetune", "a", "--rank", "3", "--rank", "4"}, {"--rank is given more than once"});
  says({"finetune", "a", "--adapter", "x", "--adapter", "y"}, {"--adapter is given more than once"});
  says({"finetune", "a", "--rank"}, {"--rank needs a value: --rank N ("});
  says({"finetune", "a", "--data", "--out", "y"}, {"--data needs a value", "found --out after it"});
  says({"generate", "a", "--prompt", "-hello"}, {"--prompt needs a value", "--prompt=-hello"});
  says({"generate", "a", "--prompt="}, {"--prompt needs a value", "--prompt ''"});
  says({"finetune", "a", "--quiet=maybe"}, {"--quiet is a switch", "found 'maybe'"});
  says({"pretrain", "a", "--config", "c", "--tokenizer", "t", "--data", "x", "--out", "y"},
       {"no word stands by itself"});
}

TEST_CASE("names of other tools are answered with ours, all at once", "[unit]") {
  const CommandResult many = run({"finetune", "m", "--data", "x", "--out", "y", "--max_samples", "100",
                                  "--fine-tune-type", "dora", "--load_in_4bit", "--per_device_train_batch_size", "4",
                                  "--learning_rate=1e-4", "--max_steps", "3", "--nothing-like-it"});
  CHECK(many.exit == 2);
  check_parts(many.err,
              {"--max_samples (here: --share", "--fine-tune-type (here: --dora)", "--load_in_4bit (here: --base-dtype nf4",
               "--per_device_train_batch_size (here: --batch-size)", "--learning_rate (here: --lr)",
               "--max_steps (did you mean --max-steps?)", "nor --nothing-like-it;"});
  CHECK(contains(run({"finetune", "m", "-o", "out"}).err, "has no -o"));
  CHECK(contains(run({"finetune", "m", "--finetuning_type", "full"}).err, "(here: --method)"));
  check_parts(run({"generate", "m", "--prompt", "a", "--num_beams", "4", "--no_repeat_ngram_size", "3", "--repeat-penalty", "1.1",
                   "--do_sample", "--kv-bits", "8", "--cache-type-k", "q8_0"})
                  .err,
              {"(here: --beams)", "(here: --no-repeat-ngram)", "(here: --repetition-penalty)", "(here: --temperature",
               "(here: --cache-dtype int8)", "(here: --cache-dtype)"});
  const std::string below = run({"generate", "m", "--prompt", "a", "--temperature", "-1"}).err;
  CHECK(contains(below, "0 or more"));
  CHECK_FALSE(contains(below, "e+308"));
}

TEST_CASE("errors are JSON on stdout under --json, and a sentence on stderr as ever", "[unit]") {
  const auto error = [](const std::vector<std::string>& arguments) {
    const CommandResult result = run(arguments);
    CAPTURE(result.out, result.err);
    const Json json = lowrank::core::parse_json(result.out, "stdout");
    CHECK(json["exit"] == result.exit);
    CHECK(contains(result.err, "lowrank: error: "));
    return json["error"].get<std::string>();
  };
  TempDir dir;
  CHECK(contains(error({"generate", (dir / "none").string(), "--prompt", "a", "--json"}), "none"));
  CHECK(contains(error({"finetune", "m", "--json", "--learning-rate", "1"}), "--lr"));
  CHECK(contains(error({"runs", dir.path().string(), "--json", "extra"}), "extra"));
  CHECK(contains(error({"finetun", "--json"}), "finetune"));
  CHECK(run({"generate", "none", "--prompt", "a"}).out.empty());
}

TEST_CASE("a settings file has model, lists and underscores; run.json runs a run again, to the byte", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "text.txt",
             "Once upon a time, there was a little girl named Lily. She had a red ball and a big dog.\n");
  write_text(dir / "own.yaml", "model: " + stories() + "\ndata: [" + (dir / "text.txt").string() +
                                   "]\ntargets: [q_proj, v_proj]\nlayers:\n  - 0\n  - 2\nmax_steps: 3\nseq_len: 64\n"
                                   "val_split: 0\n");
  const std::string own = (dir / "own.yaml").string(), a = (dir / "a").string(), b = (dir / "b").string();
  const CommandResult first = run({"finetune", "--config", own, "--out", a, "--quiet"});
  CAPTURE(first.err);
  REQUIRE(first.exit == 0);
  const Json config = lowrank::core::read_json(fs::path(a) / "adapter_config.json");
  CHECK(config["target_modules"].size() == 2);
  CHECK(config["layers_to_transform"] == Json({0, 2}));
  const std::string again = (fs::path(a) / "run.json").string();
  const CommandResult rerun = run({"finetune", "--config", again, "--out", b, "--quiet"});
  CAPTURE(rerun.err);
  REQUIRE(rerun.exit == 0);
  CHECK(read_text(fs::path(a) / "adapter_model.safetensors") == read_text(fs::path(b) / "adapter_model.safetensors"));
  check_parts(run({"finetune", "--config", again}).err, {"--out is missing"});
  check_parts(run({"align", "dpo", "--config", again, "--out", b}).err, {"lowrank finetune", "lowrank align dpo"});

  // argv wins, MODEL too; what is not known is answered all at once.
  check_parts(run({"finetune", (dir / "other").string(), "--config", own, "--out", b}).err, {"other"});
  write_text(dir / "wrong.yaml", "max_steps: 3\nmax-steps: 4\n");
  check_parts(run({"finetune", "m", "--config", (dir / "wrong.yaml").string()}).err, {"line 2", "twice"});
  write_text(dir / "two.yaml", "rnak: 4\nstepz: 4\nlr: 1e-4\n");
  check_parts(run({"finetune", "m", "--config", (dir / "two.yaml").string()}).err,
              {"rnak (did you mean rank?)", "nor stepz"});
}

TEST_CASE("settings of other tools are known, answered at once, and written in our names", "[unit]") {
  TempDir dir;
  struct Case {
    const char *tool, *text;
    Json options;
    std::vector<std::string> left_out;
  };
  const std::vector<Case> cases = {
      {"LLaMA-Factory",
       kFactory,
       {{"model", "org/name"},
        {"data", {"mine"}},
        {"rank", 8},
        {"targets", "all-linear"},
        {"seq-len", 512},
        {"out", "saves/x"},
        {"batch-size", 2},
        {"lr", 1e-4},
        {"epochs", 3.0},
        {"schedule", "cosine"},
        {"warmup", 0.1},
        {"dtype", "bfloat16"},
        {"val-split", 0}},
       {"max_samples", "plot_loss", "template"}},
      {"Axolotl",
       kAxolotl,
       {{"model", "org/name"},
        {"data", {"rows.jsonl"}},
        {"format", "alpaca"},
        {"val-split", 0.1},
        {"rank", 4},
        {"alpha", 8},
        {"targets", "q_proj,v_proj"},
        {"seq-len", 512},
        {"batch-size", 2},
        {"epochs", 2},
        {"lr", 2e-4},
        {"recompute", "layer"}},
       {"sample_packing"}},
      {"mlx-lm",
       kMlx,
       {{"model", "org/name"},
        {"data", {"rows"}},
        {"dora", true},
        {"rank", 4},
        {"alpha", 40.0},
        {"targets", "q_proj,v_proj"},
        {"max-steps", 100},
        {"batch-size", 2},
        {"clip", 0},
        {"lr", 1e-5},
        {"out", "adapters"},
        {"seq-len", 2048},
        {"schedule", "constant"},
        {"warmup", 0},
        {"train-on-prompt", true}},
       {"num_layers (not given)", "val_batches"}},
      {"TRL",
       kTrl,
       {{"model", "org/name"},
        {"data", {"org/rows"}},
        {"rank", 32},
        {"alpha", 32},
        {"dropout", 0.05},
        {"targets", "q_proj,v_proj"},
        {"batch-size", 2},
        {"lr", 2e-4},
        {"epochs", 1},
        {"out", "saves/x"},
        {"seq-len", 1024},
        {"schedule", "linear"},
        {"warmup", 0},
        {"val-split", 0}},
       {"assistant_only_loss (not given)", "lr_scheduler_type", "packing"}},
      {"PEFT",
       kPeft,
       {{"model", "org/name"},
        {"rank", 8},
        {"alpha", 16},
        {"rank-pattern", {"q_proj=4"}},
        {"targets", "q_proj,v_proj"},
        {"dora", true}},
       {}},
  };
  for (const Case& one : cases) {
    CAPTURE(one.tool);
    const std::string file = (dir / "theirs.yaml").string();
    write_text(file, one.text);
    const Json json = run_json({"config", file});
    CHECK(json["tool"] == one.tool);
    CHECK(json["verb"] == "finetune");
    using Unordered = std::map<std::string, Json>;
    CHECK(json["options"].get<Unordered>() == one.options.get<Unordered>());
    std::vector<std::string> left_out;
    for (const auto& [key, unused] : json["left_out"].items()) left_out.push_back(key);
    std::sort(left_out.begin(), left_out.end());
    CHECK(left_out == one.left_out);
    // What is written is a file of ours: every name in it is known to the verb.
    const CommandResult written = run({"config", file});
    write_text(dir / "ours.yaml", written.out);
    const CommandResult used = run({"finetune", "--config", (dir / "ours.yaml").string(), "--data", "x", "--out", "y"});
    check_parts(used.err, {"org/name", "no such folder"});
    // Theirs itself is refused with all its names, and the way out.
    const CommandResult refused = run({"finetune", "--config", file, "--data", "x", "--out", "y"});
    CHECK(refused.exit == 2);
    check_parts(refused.err, {std::string("a file of ") + one.tool, "lowrank config " + file});
    CHECK(std::count(refused.err.begin(), refused.err.end(), '\n') == 1);
  }
  write_text(dir / "mine.yaml", "rank: 4\n");
  check_parts(run({"config", (dir / "mine.yaml").string()}).err, {"--config", "Axolotl"});
}

TEST_CASE("a name with characters that show nothing of themselves comes out of config as it is", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path model = copy_of_stories(dir / "mo\xE2\x80\x8D" "del\xF3\xA0\x81\x81\xC2\xAD");
  write_text(dir / "theirs.yaml", "model: '" + model.string() + "'\ndata: d\nfine_tune_type: lora\niters: 10\n");
  const CommandResult written = run({"config", (dir / "theirs.yaml").string()});
  REQUIRE(written.exit == 0);
  check_parts(written.out, {"mo\\u200ddel\\U000e0041\\u00ad"});
  write_text(dir / "ours.yaml", written.out);
  write_text(dir / "d.txt", "Once upon a time there was a cat.\n");
  const CommandResult used = run({"finetune", "--config", (dir / "ours.yaml").string(), "--data", (dir / "d.txt").string(), "--out",
                                  (dir / "out").string(), "--val-split", "0", "--seq-len", "128", "--dry-run", "--json"});
  CAPTURE(used.err);
  CHECK(used.exit == 0);
}

TEST_CASE("of two keys of another tool's file the one counts that counts there, and what is read of a data set is said", "[e2e]") {
  TempDir dir;
  const auto written = [&](const std::string& text) {
    write_text(dir / "theirs.yaml", text);
    const CommandResult result = run({"config", (dir / "theirs.yaml").string()});
    CAPTURE(result.err);
    CHECK(result.exit == 0);
    return result.out;
  };
  fs::create_directory(dir / "data");
  write_text(dir / "data/dataset_info.json",
             R"({"mine": {"file_name": "x.json", "columns": {"response": "good"}}, "plain": {"file_name": "y.json"}})");
  const std::string factory = "model_name_or_path: m\nfinetuning_type: lora\nstage: sft\noutput_dir: o\ndataset_dir: " +
                              (dir / "data").string() + "\n";
  for (const char* warmup : {"warmup_steps: 20\nwarmup_ratio: 0.1\n", "warmup_ratio: 0.1\nwarmup_steps: 20\n"}) {
    CHECK(contains(written(factory + "dataset: mine,plain\n" + warmup), "warmup: 20\n"));
  }
  check_parts(written(factory + "dataset: mine\neval_dataset: plain\nmask_history: true\nwarmup_ratio: 0.1\nwarmup_steps: 0\n"),
              {"data: [" + (dir / "data/mine").string(), "val-data: [" + (dir / "data/y.json").string(), "warmup: 0.1", "loss-on: last"});
  const std::string restarts = written(factory + "dataset: plain\nlr_scheduler_type: cosine_with_restarts\n");
  check_parts(restarts, {"schedule: cosine", "cosine_with_restarts is not offered; cosine stands for it"});
  check_parts(written("stage: dpo\n" + factory.substr(0, factory.find("stage")) + "dataset: plain\npref_beta: 0.2\n"),
              {"lowrank align dpo", "lr: 5e-05", "beta: 0.2"});
  check_parts(written("base_model: m\nadapter: lora\ndatasets:\n  - path: a.jsonl\n    type: chat_template\n    field_messages: conv\n    split: train[:10%]\n"
                      "micro_batch_size: 2\nsequence_len: 64\npeft_use_rslora: true\nchat_template: chatml\noutput_dir: o\n"),
              {"rslora: true", "val-split: 0", "datasets: field_messages: name columns with --columns: messages=conv",
               "datasets: split:", "--chat-template FILE where chatml"});
  const std::string mlx = "model: m\ndata: d\nfine_tune_type: lora\niters: 10\nnum_layers: -1\nlearning_rate: 1e-5\n"
                          "lr_schedule: {name: cosine_decay, arguments: [1e-4, 10]}\n";
  check_parts(written(mlx), {"lr: 0.0001", "train-on-prompt: true"});
  CHECK_FALSE(contains(written(mlx + "mask_prompt: true\n"), "train-on-prompt"));
}

TEST_CASE("what other tools' files say of method, losses and sizes keeps its meaning, or is left out by name", "[unit]") {
  TempDir dir;
  const auto converted = [&](const std::string& text) {
    write_text(dir / "theirs.yaml", text);
    return run({"config", (dir / "theirs.yaml").string()});
  };
  const std::string axolotl = "base_model: m\ndatasets: [{path: a.jsonl, type: alpaca}]\nmicro_batch_size: 2\noutput_dir: o\n";
  const std::string trl = "model_name_or_path: m\ndataset_name: a.jsonl\nlearning_rate: 2e-5\noutput_dir: o\nper_device_train_batch_size: 2\n";
  const std::string factory = "model_name_or_path: m\ndataset: a.jsonl\ntemplate: x\nfinetuning_type: full\noutput_dir: o\n";
  const std::string mlx = "model: m\ndata: d\nfine_tune_type: lora\niters: 10\n";
  struct Case {
    std::string file;
    std::vector<std::string> parts, absent;
  };
  const std::vector<Case> cases = {
      {axolotl, {"method: full"}, {"rank:"}},
      {axolotl + "adapter: lora\nlora_r: 8\n", {"rank: 8"}, {"method: full"}},
      {axolotl + "lora_r: 8\n", {"method: full", "#   lora_r: of an adapter"}, {"\nrank: 8"}},
      {axolotl + "adapter: lora\nrl: ipo\n", {"lowrank align dpo", "loss: ipo"}, {}},
      {axolotl + "adapter: lora\nrl: simpo\n", {"#   rl: simpo is not offered"}, {}},
      {axolotl + "adapter: lora\nlora_target_modules: [q_proj]\nlora_target_linear: true\n", {"targets: all-linear"}, {}},
      {trl, {"method: full", "schedule: linear", "warmup: 0", "val-split: 0", "seq-len: 1024"}, {"dropout"}},
      {trl + "use_peft: false\nlora_r: 16\n", {"method: full"}, {"\nrank: 16"}},
      {trl + "use_peft: true\nload_in_4bit: false\nbnb_4bit_quant_type: nf4\n", {"of load_in_4bit, which is off"}, {"base-dtype"}},
      {trl + "use_peft: true\nlr_scheduler_type: constant\nwarmup_ratio: 0.1\n", {"warmup: 0\n"}, {"warmup: 0.1"}},
      {factory + "stage: dpo\n", {"lowrank align dpo", "#   finetuning_type: all weights are trained there"}, {"method: full"}},
      {mlx + "lora_layers: 4\n", {"#   lora_layers: the last 4 layers"}, {"\nlayers:"}},
      {"peft_type: IA3\nr: 8\nlora_alpha: 16\ntarget_modules: [q_proj]\nbase_model_name_or_path: m\n", {"#   peft_type: IA3 is not offered"}, {}},
      {axolotl + "adapter: lora\n\"zzz\\nepochs: 99 #\": 1\n", {"#   zzz"}, {"\nepochs: 99"}},
      // Two keys of theirs for one option of ours.
      {trl + "use_peft: true\nmax_length: 64\nmax_seq_length: 128\n", {"seq-len: 64", "#   max_seq_length: --seq-len is 64, by max_length"}, {}},
      {axolotl + "adapter: lora\nlora_target_linear: true\nlora_target_modules: [q_proj]\n",
       {"targets: all-linear", "#   lora_target_modules: --targets is all-linear, by lora_target_linear"}, {}},
      {factory + "warmup_steps: 20\nwarmup_ratio: 0.1\n", {"warmup: 20", "#   warmup_ratio: --warmup is 20, by warmup_steps"}, {}},
      {mlx + "learning_rate: 1e-5\nlr_schedule: {name: cosine_decay, arguments: [1e-4, 10]}\n",
       {"lr: 0.0001", "#   learning_rate: --lr is 0.0001, by lr_schedule"}, {}},
      {axolotl + "adapter: lora\nbatch_size: 64\n", {"batch-size: 2", "grad-accum: 32"}, {"batch-size: 64"}},
      {"batch_size: 64\n" + axolotl + "adapter: lora\n", {"batch-size: 2", "grad-accum: 32"}, {"batch-size: 64"}},
      {axolotl + "adapter: lora\nbatch_size: 64\ngradient_accumulation_steps: 4\n",
       {"grad-accum: 4", "#   batch_size: --grad-accum is 4, by gradient_accumulation_steps"}, {"batch-size: 64"}},
      {"defaults: &d {lora_r: 64}\n<<: *d\n" + axolotl + "adapter: lora\n", {"rank: 64"}, {}},
      // What is learned, and by which verb.
      {trl + "use_peft: true\nbeta: 0.01\nloss_type: [ipo]\nmax_prompt_length: 64\n",
       {"lowrank align dpo", "beta: 0.01", "loss: ipo"}, {"assistant_only_loss", "--loss"}},
      {trl + "use_peft: true\nbeta: 0.01\nlora_dropout: 0.1\n", {"#   lora_dropout: disable_dropout is on there"}, {"\ndropout:"}},
      {trl + "use_peft: true\nbeta: 0.01\ndisable_dropout: false\n", {"dropout: 0.05"}, {}},
      {trl + "use_peft: true\nbeta: 0.01\n", {"lowrank align dpo", "beta: 0.01  # taken for DPO's"}, {}},
      {trl + "use_peft: true\nloss_type: sigmoid\n", {"lowrank align dpo", "loss: sigmoid"}, {}},
      {"model_name_or_path: m\ndataset_name: a.jsonl\nuse_peft: true\nbeta: 0.1\n", {"lowrank align dpo", "lr: 1e-06"}, {"lr: 2e-05"}},
      {trl + "center_rewards_coefficient: 0.01\nuse_peft: true\nlora_task_type: SEQ_CLS\n",
       {"lowrank align reward", "center-rewards-coefficient: 0.01"}, {"assistant_only_loss", "#   lora_task_type"}},
      {"model_name_or_path: m\ndataset_name: a.jsonl\nuse_peft: true\nlora_task_type: SEQ_CLS\n", {"lowrank align reward", "lr: 0.0001"}, {}},
      {trl + "num_generations: 8\nbeta: 0.04\nuse_vllm: true\n", {"lowrank finetune", "#   num_generations: GRPO and RLOO are not offered; what is written here is a plain fine-tune\n"}, {"align dpo"}},
      {trl + "loss_type: simpo\ncpo_alpha: 0.0\n", {"#   cpo_alpha: CPO and SimPO are not offered"}, {"align dpo"}},
      {trl + "use_peft: true\nsft_model_path: p\nreward_model_path: runs/r\nresponse_length: 20\nkl_coef: 0.1\n",
       {"lowrank align ppo", "model: p", "reward: \"adapter:runs/r\"", "response-length: 20", "kl-coef: 0.1"}, {"seq-len"}},
      {axolotl + "adapter: lora\nrl: grpo\n", {"lowrank finetune", "#   rl: grpo is not offered"}, {}},
      {axolotl + "adapter: lora\nreward_model: true\n", {"lowrank align reward"}, {"#   reward_model"}},
      {axolotl + "adapter: lora\nprocess_reward_model: true\n", {"#   process_reward_model: rewards of steps are not offered"}, {}},
      {"stage: ppo\nfinetuning_type: lora\nmodel_name_or_path: m\ndataset: a.jsonl\nreward_model: runs/r\ncutoff_len: 100\nmax_new_tokens: 50\nppo_epochs: 2\n",
       {"lowrank align ppo", "reward: \"adapter:runs/r\"", "response-length: 50", "seq-len: 150", "num-ppo-epochs: 2", "num-mini-batches: 1", "target-kl: 6"},
       {"#   reward_model"}},
      {trl + "use_peft: true\nchat_template: \"{% for m in messages %}{% endfor %}\"\n", {"#   chat_template: a template's text"}, {"model's own"}},
      {trl + "use_peft: true\nchat_template_path: t.jinja\n", {"chat-template: t.jinja"}, {}},
      {axolotl + "adapter: lora\nchat_template: jinja\nchat_template_jinja: t.jinja\n", {"chat-template: t.jinja"}, {"#   chat_template"}},
      {axolotl + "adapter: lora\nchat_template_jinja: \"{{ messages }}\"\n", {"#   chat_template_jinja: a template's text"}, {}},
      // A run that goes on from an adapter takes rank, alpha and targets from it.
      {"model_name_or_path: m\nfinetuning_type: lora\ndataset: a.jsonl\ntemplate: x\nadapter_name_or_path: runs/a\nlora_rank: 16\nlora_target: all\n",
       {"adapter: runs/a", "#   lora_rank: the adapter runs/a brings it", "#   lora_target: the adapter"}, {"\nrank:", "\ntargets:"}},
      {"model_name_or_path: m\nfinetuning_type: lora\ndataset: a.jsonl\ntemplate: x\nadapter_name_or_path: a,b\n",
       {"adapter: b", "#   adapter_name_or_path: a is merged into the model there first"}, {"\nrank:"}},
      {"model_name_or_path: m\nfinetuning_type: lora\ndataset: a.jsonl\ntemplate: x\nadapter_name_or_path: a\ncreate_new_adapter: true\n",
       {"rank: 8", "#   adapter_name_or_path: a is merged into the model there first"}, {"\nadapter:"}},
      {axolotl + "adapter: lora\nlora_model_dir: ./prev\nlora_r: 8\nlora_target_linear: true\n",
       {"adapter: ./prev", "#   lora_r: the adapter ./prev brings it"}, {"\nrank:", "\ntargets:"}},
      {mlx + "resume_adapter_file: ad/adapters.safetensors\nlora_parameters: {rank: 4, scale: 2.0, dropout: 0.0}\n",
       {"adapter: ad\n", "#   lora_parameters: the adapter ad brings it"}, {"\nrank:", "\nalpha:", "safetensors"}},
      {mlx + "resume_adapter_file: adapters.safetensors\n", {"adapter: .\n"}, {"\nrank:"}},
      {trl + "use_peft: true\ncompletion_only_loss: false\n", {"train-on-prompt: true"}, {"#   completion_only_loss"}},
      {trl + "use_peft: true\ncompletion_only_loss: true\n", {}, {"#   completion_only_loss", "train-on-prompt: true"}},
      {"model_name_or_path: m\ndataset_name: a.jsonl\nuse_peft: true\nmax_length: null\n", {"#   max_length: nothing is cut there"}, {"seq-len:"}},
      {trl + "use_peft: true\nlora_target_parameters: [mlp.experts.down_proj]\n", {"target-parameters: mlp.experts.down_proj"}, {"#   lora_target_parameters"}},
      {"model_name_or_path: m\nfinetuning_type: lora\ndataset: a.jsonl\ntemplate: x\ndisable_shuffling: true\n", {"no-shuffle: true"}, {"#   disable_shuffling"}},
      {axolotl + "adapter: lora\npeft_init_lora_weights: pissa\n", {"init: pissa"}, {"#   peft_init"}},
      {trl + "lora_r: 16\n", {"method: full", "#   lora_r: of an adapter, and use_peft (not given) trains all weights"}, {"\nrank:"}},
      {"model_name: m\nper_device_train_batch_size: 2\nr: 16\nlora_alpha: 16\noutput_dir: o\nlearning_rate: 2e-4\n", {"model: m", "rank: 16"}, {"method: full"}},
      // Prompts of one's own.
      {"base_model: m\nadapter: lora\nmicro_batch_size: 2\ndatasets: [{path: a.jsonl, type: {field_instruction: question, field_output: response, "
       "format: \"[INST] {instruction} [/INST]\"}}]\ntest_datasets: [{path: b.jsonl, split: train, type: completion}]\n",
       {"layout: \"[INST] {question} [/INST][[{response}]]\"", "val-data: [b.jsonl]", "#   test_datasets: split"}, {"\nformat:", "#   datasets: type"}},
      {"base_model: m\nadapter: lora\nmicro_batch_size: 2\ndatasets: [{path: a.jsonl, type: {system_prompt: \"a{b}\", system_format: \"<{system}>\\n\", "
       "field_instruction: q, field_output: a, format: \"{{x}} {instruction}\"}}]\n",
       {"layout: \"<a{{b}}>\\n{{x}} {q}[[{a}]]\""}, {}},
      {"base_model: m\nadapter: lora\nmicro_batch_size: 2\ndatasets: [{path: a.jsonl, type: {field_instruction: q, field_input: i, field_output: a, "
       "format: \"{instruction} {input}\", no_input_format: \"{instruction}\"}}]\n",
       {"#   datasets: type: rows with an input and rows without have forms of their own there"}, {"\nlayout:", "\nformat:"}},
      {"base_model: m\nadapter: lora\nmicro_batch_size: 2\ndatasets: [{path: a.jsonl, type: {field_instruction: q, field_output: a, "
       "format: \"[[ {instruction}\"}}]\n",
       {"#   datasets: type: no --layout says it exactly"}, {"\nlayout:"}},
      {"base_model: m\nadapter: lora\nmicro_batch_size: +2\nsequence_len: 4_096\nlearning_rate: \"2e-4\"\nrl: dpo\n"
       "datasets: [{path: a.jsonl, field_chosen: chosen, field_rejected: bad}]\n",
       {"#   datasets: field_rejected: name columns with --columns: rejected=bad", "batch-size: 2", "seq-len: 4096", "lr: 0.0002"}, {"field_chosen"}},
      {"base_model: [a]\nadapter: lora\nmicro_batch_size: 2\nlora_target_modules: {}\ndatasets: [{path: a.jsonl}]\n",
       {"#   base_model: one name or folder is expected", "#   lora_target_modules: a mapping", "format: auto\n"}, {"\nmodel:", "\ntargets:"}},
      {axolotl + "adapter: lora\nload_in_4bit: No\ntrain_on_inputs: TRUE\n", {"train-on-prompt: true"}, {"base-dtype"}},
      {"base_model: m\nadapter: lora\nmicro_batch_size: 2\ndatasets: [{path: a.jsonl, type: chat_template, field_messages: conversations, "
       "message_property_mappings: {content: value, role: from}, roles_to_train: [assistant], chat_template: chatml}]\n",
       {"format: sharegpt", "#   chat_template: the model's own chat template"}, {"#   datasets"}},
      {mlx + "prompt_feature: question\ncompletion_feature: response\n", {"columns: \"prompt=question,completion=response\""}, {"_feature"}},
      {"stage: ppo\nfinetuning_type: lora\nmodel_name_or_path: m\ndataset: a.jsonl\nreward_model: r\nreward_model_type: full\n",
       {"#   reward_model: of type full", "# reward:   missing"}, {"adapter:r"}},
      // Kinds, schedules, records, sizes.
      {"peft_type: LORA\nr: 8\nlora_alpha: 16\nbase_model_name_or_path: m\ntask_type: SEQ_2_SEQ_LM\n", {"#   task_type: SEQ_2_SEQ_LM is not offered"}, {}},
      {"peft_type: LORA\nr: 8\nlora_alpha: 16\nbase_model_name_or_path: m\ntask_type: SEQ_CLS\n", {"task: classification"}, {"#   task_type"}},
      {axolotl + "adapter: lora\nlr_scheduler: constant\nwarmup_ratio: 0.1\n", {"warmup: 0\n", "#   warmup_ratio: the schedule constant has no warm-up there"}, {}},
      {axolotl + "adapter: lora\nlr_scheduler: constant\n", {"warmup: 0\n"}, {}},
      {axolotl + "adapter: lora\nlr_scheduler: constant_with_warmup\nwarmup_ratio: 0.1\n", {"schedule: constant", "warmup: 0.1\n"}, {}},
      {trl + "use_peft: true\nreport_to: tensorboard\n", {"tensorboard: true"}, {"report_to"}},
      {trl + "use_peft: true\nreport_to: [none]\n", {}, {"tensorboard", "report_to"}},
      {trl + "use_peft: true\nreport_to: [wandb, tensorboard]\n", {"tensorboard: true", "#   report_to: nothing is sent to wandb"}, {}},
      {axolotl + "adapter: lora\nwandb_project: x\nuse_tensorboard: true\n", {"tensorboard: true", "#   wandb_project: nothing is sent"}, {"yes or no"}},
      {axolotl + "adapter: lora\n", {"seq-len: 512  # Axolotl's default"}, {}},
      {mlx, {"clip: 0  # mlx-lm's default"}, {}},
      {mlx + "optimizer: adamw\noptimizer_config: {adamw: {weight_decay: 0.1, eps: 1e-6}}\n", {"weight-decay: 0.1", "#   optimizer_config: eps"}, {}},
      {mlx + "optimizer: adamw\n", {"weight-decay: 0.01"}, {}},
      {mlx + "rank_pattern: {a: {b: c}}\n", {"#   rank_pattern: a: expected a number"}, {"\nrank-pattern"}},
  };
  for (const Case& one : cases) {
    const CommandResult result = converted(one.file);
    CAPTURE(one.file, result.out, result.err);
    CHECK(result.exit == 0);
    for (const std::string& part : one.parts) CHECK(contains(result.out, part));
    for (const std::string& part : one.absent) CHECK_FALSE(contains(result.out, part));
  }
  // What would learn something else says so where it is seen.
  for (const std::string& file : {axolotl + "adapter: lora\nrl: kto\n", trl + "num_generations: 8\n", factory + "stage: dpo\npref_loss: orpo\n",
                                  trl + "use_peft: true\nbeta: 0.1\nloss_type: [sigmoid, bco_pair]\n", trl + "use_peft: true\nbeta: 0.1\nlabel_smoothing: 0.1\n"}) {
    CAPTURE(file, converted(file).err);
    CHECK(contains(converted(file).err, "learns something else"));
  }
  for (const std::string& file : {axolotl + "adapter: lora\nrl: dpo\ndpo_beta: 0.2\n", factory + "stage: dpo\npref_loss: sigmoid\npref_ftx: 0\n"}) {
    CAPTURE(file, converted(file).err);
    CHECK(converted(file).err.empty());
  }
  CHECK(contains(converted(axolotl + "adapter: lora\nrl: dpo\ndpo_beta: 0.2\n").out, "beta: 0.2"));
  // A name with a line break stays one line of a comment.
  const fs::path odd = dir / "a\nrank: 77 #.yaml";
  write_text(odd, axolotl + "adapter: lora\n");
  CHECK_FALSE(contains(run({"config", odd.string()}).out, "\nrank: 77"));
  // Numbers of mlx-lm's own mappings are checked where they stand.
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"lora_parameters: {rank: 9223372036854775807}\n", "theirs.yaml: lora_parameters.rank"},
      {"lora_parameters: {rank: 8, scale: 1e308}\n", "theirs.yaml: lora_parameters.scale"},
      {"lora_parameters: {dropout: [1]}\n", "theirs.yaml: lora_parameters.dropout"},
      {"lora_parameters: {keys: 5}\n", "theirs.yaml: lora_parameters.keys"},
      {"lora_parameters: 5\n", "theirs.yaml: lora_parameters: expected a mapping"},
      {"lr_schedule: {name: cosine_decay, arguments: [[1]]}\n", "theirs.yaml: lr_schedule.arguments[0]"},
      {"lr_schedule: {name: cosine_decay, arguments: [1e-4], warmup: {}}\n", "theirs.yaml: lr_schedule.warmup"},
  };
  for (const auto& [text, part] : wrong) {
    const CommandResult result = converted(mlx + text);
    CAPTURE(text, result.out, result.err);
    CHECK(result.exit == 2);
    CHECK(contains(result.err, part));
  }
  // What dataset_info.json names lies beside it.
  write_text(dir / "data/dataset_info.json", R"({"out": {"file_name": "../rows.json"}, "in": {"file_name": "rows.json"}})");
  write_text(dir / "rows.json", "[]");
  const std::string listed = "model_name_or_path: m\nfinetuning_type: lora\ndataset_dir: " + (dir / "data").string() + "\ndataset: ";
  const CommandResult outside = converted(listed + "out\n");
  CHECK(outside.exit == 65);
  CHECK(contains(outside.err, "is outside the folder"));
  CHECK(converted(listed + "in\n").exit == 0);
  // Files that refer to themselves, and few lines that stand for a thousand million values.
  std::string bomb = "base_model: x\nmicro_batch_size: 1\na: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (char name = 'b'; name < 'k'; ++name) {
    bomb += std::string(1, name) + ": &" + name + " [";
    for (int i = 0; i < 10; ++i) bomb += std::string(i > 0 ? ", *" : "*") + static_cast<char>(name - 1);
    bomb += "]\n";
  }
  for (const std::string& text : {std::string("base_model: x\nmicro_batch_size: 1\nq: &q [*q]\n"), bomb}) {
    const CommandResult result = converted(text);
    CHECK(result.exit == 2);
    CHECK(contains(result.err, "write it out without references"));
  }
}

TEST_CASE("names of any length are cut in a mistake's sentence", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "text.txt", "Once upon a time.\n");
  const CommandResult result = run({"finetune", stories(), "--data", (dir / "text.txt").string(), "--out", (dir / "o").string(),
                                    "--target-parameters", std::string(100'000, 'x'), "--dropout", "0.1"});
  CHECK(result.exit == 2);
  CHECK(contains(result.err, "xxx…"));
  CHECK(result.err.size() < 1000);
}

TEST_CASE("an adapter finds its base from any folder, and says what to do where the base is not there", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  copy_of_stories(dir / "models" / "base");
  write_text(dir / "text.txt", "Once upon a time, there was a little girl named Lily.\n");
  const fs::path was = fs::current_path();
  fs::current_path(dir.path());
  const CommandResult trained = run({"finetune", "models/base", "--data", "text.txt", "--out", "runs/a", "--max-steps",
                                     "1", "--seq-len", "32", "--val-split", "0", "--quiet"});
  fs::current_path(was);
  CAPTURE(trained.err);
  REQUIRE(trained.exit == 0);
  const std::string adapter = (dir / "runs" / "a").string();
  const std::string base =
      lowrank::core::read_json(fs::path(adapter) / "adapter_config.json")["base_model_name_or_path"];
  CHECK(fs::path(base).is_absolute());
  CHECK(fs::equivalent(base, dir / "models" / "base"));
  const std::vector<std::string> generate = {"generate", adapter, "--prompt", "Once", "--max-new-tokens", "3"};
  const CommandResult from_here = run(generate);
  CHECK(from_here.exit == 0);
  CHECK(from_here.err.empty());  // no word of another base
  fs::rename(dir / "models" / "base", dir / "models" / "moved");
  const CommandResult lost = run(generate);
  CHECK(lost.exit == 66);
  check_parts(lost.err, {"base was not found", "--adapter " + adapter, "base_model_name_or_path"});
  CHECK(run({"generate", (dir / "models" / "moved").string(), "--adapter", adapter, "--prompt", "Once",
             "--max-new-tokens", "3"})
            .exit == 0);
}

TEST_CASE("no verb writes at or into somebody's model, adapter, data set or checkout", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path model = copy_of_stories(dir / "model");
  write_adapter(dir / "adapter", 0.1);
  write_text(dir / "rows" / "train.jsonl", "{\"prompt\": \"Who?\", \"completion\": \" Lily.\"}\n");
  write_text(dir / "checkout" / ".git" / "HEAD", "ref: refs/heads/main\n");
  write_text(dir / "space.yaml", "lr: {log: [1e-4, 1e-3]}\n");
  const std::string m = model.string(), rows = (dir / "rows").string(), adapter = (dir / "adapter").string();
  const auto verbs = [&](const std::string& out) {
    return std::vector<std::vector<std::string>>{
        {"finetune", m, "--data", rows, "--out", out},
        {"finetune", m, "--data", rows, "--out", out, "--overwrite"},
        {"merge", m, "--adapter", adapter, "--out", out},
        {"compress", adapter, "--rank", "2", "--data", rows, "--out", out},
        {"sweep", (dir / "space.yaml").string(), m, "--data", rows, "--out", out, "--trials", "1"},
        {"pretrain", "--config", (model / "config.json").string(), "--tokenizer", m, "--data", rows, "--out", out},
        {"evaluate", m, "--data", rows, "--compare", "a=" + adapter, "--out", out}};
  };
  for (const std::string& out : {m, m + "/new", adapter, adapter + "/new", rows, (dir / "checkout").string(),
                                 (dir / "checkout" / ".git" / "new").string()}) {
    for (const std::vector<std::string>& arguments : verbs(out)) {
      const CommandResult result = run(arguments);
      CAPTURE(arguments, result.err);
      CHECK(result.exit == 2);
      CHECK(contains(result.err, "--out"));
      if (out.ends_with("/new")) CHECK_FALSE(fs::exists(out));
    }
  }
  CHECK_FALSE(fs::exists(fs::path(rows) / "run.json"));
}

TEST_CASE("runs needs no folder's name, shows the model, and fits", "[unit]") {
  TempDir dir;
  const Json run_of = {{"lowrank", "0.1.0"},
                       {"finished", true},
                       {"verb", "finetune"},
                       {"model", {{"name", "models/SmolLM2-135M"}}},
                       {"options", {{"rank", 8}}},
                       {"totals", {{"steps", 4}, {"planned_steps", 4}}},
                       {"result", {{"stop", "finished"}, {"best_step", 4}, {"best_loss", 2.0}}}};
  write_text(dir / "a" / "run.json", run_of.dump());
  CHECK(run_json({"runs", dir.path().string()})["runs"][0]["model"] == "models/SmolLM2-135M");
  const fs::path was = fs::current_path();
  fs::current_path(dir.path());
  const CommandResult here = run({"runs"});
  fs::current_path(was);
  check_parts(here.out, {"SmolLM2-135M", "next: lowrank generate"});
}

TEST_CASE("completion and the manual page come from the table of verbs", "[unit]") {
  TempDir dir;
  const CommandResult bash = run({"completion", "bash"});
  REQUIRE(bash.exit == 0);
  write_text(dir / "completion", bash.out);
  const auto complete = [&](const std::vector<std::string>& words) {
    std::string script = "source '" + (dir / "completion").string() + "'; COMP_WORDS=(";
    for (const std::string& word : words) script += "'" + word + "' ";
    script += "); COMP_CWORD=" + std::to_string(words.size() - 1) + "; _lowrank; echo \"${COMPREPLY[@]}\"";
    return Command({"-c", script}, {}, {}, "/bin/bash").wait().out;
  };
  CHECK(complete({"lowrank", "fine"}) == "finetune\n");
  CHECK(complete({"lowrank", "align", ""}) == "dpo reward ppo --help\n");
  CHECK(complete({"lowrank", "finetune", "--sche"}) == "--schedule\n");
  CHECK(complete({"lowrank", "align", "dpo", "MODEL", "--los"}) == "--loss\n");
  CHECK(complete({"lowrank", "align", "dpo", "MODEL", "--loss", "ip"}) == "ipo\n");
  CHECK(complete({"lowrank", "finetune", "MODEL", "--schedule", ""}) == "cosine linear constant\n");
  for (const char* shell : {"zsh", "fish"}) {
    const CommandResult script = run({"completion", shell});
    CHECK(script.exit == 0);
    check_parts(script.out, {"finetune", "grad-accum", "max-kl"});
  }
  check_parts(run({"completion", "csh"}).err, {"bash, zsh and fish"});
  const CommandResult man = run({"man"});
  CHECK(man.exit == 0);
  CHECK(man.out.starts_with(".TH LOWRANK 1"));
  check_parts(man.out, {"\\-\\-schedule", ".SH LOWRANK align dpo", ".SH EXIT STATUS"});
}

TEST_CASE("--lr auto tries rates on a copy of the start, says why, and a resumed run keeps it", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  std::string text;
  for (int i = 0; i < 60; ++i)
    text +=
        "Once upon a time, there was a fox who counted to " + std::to_string(i) + ". He liked the number very much.\n";
  write_text(dir / "text.txt", text);
  const auto train = [&](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"finetune",    stories(),
                                          "--data",      (dir / "text.txt").string(),
                                          "--out",       (dir / out).string(),
                                          "--seq-len",   "64",
                                          "--max-steps", "12",
                                          "--samples",   "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  const CommandResult chosen = train("auto", {"--lr", "auto"});
  CAPTURE(chosen.out, chosen.err);
  REQUIRE(chosen.exit == 0);
  CHECK(contains(chosen.out, "--lr "));
  CHECK(contains(chosen.out, "range test"));
  const Json run_of = lowrank::core::read_json(dir / "auto" / "run.json");
  CHECK(run_of["options"]["lr"] == "auto");
  const double rate = run_of["result"]["lr"];
  CHECK(run_of["result"]["lr_test"]["lr"] == rate);
  CHECK(rate > 1e-5);
  CHECK(contains(read_text(dir / "auto" / "report.html"), "Learning-rate test"));
  REQUIRE(train("same", {"--lr", Json(rate).dump()}).exit == 0);
  CHECK(read_text(dir / "auto" / "adapter_model.safetensors") == read_text(dir / "same" / "adapter_model.safetensors"));
  CHECK(contains(train("word", {"--lr", "fast"}).err, "a number or auto"));
}

TEST_CASE("a run's run.json runs it again, to the byte, whatever goes with its options", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const std::string model = stories(), text = (dir / "text.txt").string();
  std::string story;
  for (int i = 0; i < 20; ++i) story += "Once upon a time, there was a little girl named Lily. She had " + std::to_string(i) + " red balls.\n\n";
  write_text(text, story);
  const std::vector<std::pair<std::vector<std::string>, const char*>> kinds = {
      {{"--dora"}, "adapter_model.safetensors"},
      {{"--init", "pissa", "--rank", "4"}, "adapter_model.safetensors"},
      {{"--targets", "q_proj,embed_tokens"}, "adapter_model.safetensors"},
      {{"--method", "full"}, "model.safetensors"},
      {{"--seeds", "2"}, "seed-43/adapter_model.safetensors"}};
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const auto& [options, file] = kinds[i];
    CAPTURE(options.front());
    const fs::path first = dir / ("first-" + std::to_string(i)), again = dir / ("again-" + std::to_string(i));
    std::vector<std::string> words = {"finetune", model, "--data", text, "--seq-len", "64", "--max-steps", "2", "--batch-size", "2",
                                      "--threads", "1", "--out", first.string()};
    words.insert(words.end(), options.begin(), options.end());
    REQUIRE(run(words).exit == 0);
    const CommandResult result = run({"finetune", "--config", (first / "run.json").string(), "--out", again.string()});
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
    CHECK(read_text(first / file) == read_text(again / file));
  }
}
