// Every option with every other: the walk covers all pairs of verb, method, target, beginning, penalty and start on a
// tiny model. What may not go together is refused by a name; everything else trains, resumes and loads again.
#include <fmt/format.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "crossed_ways.h"
#include "device/device.h"
#include "lowrank/core/error.h"
#include "lowrank/data/tokenizer/train_sentencepiece.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/recipes/dpo.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/ppo.h"
#include "lowrank/recipes/reward.h"
#include "train/toy.h"

using namespace lowrank;
using namespace lowrank_test;
using core::Json;
using State = recipes::RunResult::State;

namespace {

constexpr std::int64_t kSteps = 4, kStopAt = 2;
constexpr double kRate = 0.02, kL1 = 0.5;

/// The folder of the model, the data and the runs.
struct Place {
  Place() {
    ::setenv("HF_HOME", (folder / "hf").c_str(), 1);  // where a base in codes is kept
    std::string prose;
    for (int i = 0; i < 40; ++i) prose += fmt::format("Tom had {} red balls, a dog and a good day.\n", i);
    write_text(folder / "prose.txt", prose);
    data::TokenizerTraining tokens;
    tokens.files = {folder / "prose.txt"};
    tokens.out = folder / "tokens";
    tokens.vocab_size = 320;
    data::train_sentencepiece(tokens);
    const Json json = {{"model_type", "llama"},       {"vocab_size", 320},
                       {"hidden_size", 16},           {"intermediate_size", 24},
                       {"num_hidden_layers", 2},      {"num_attention_heads", 4},
                       {"num_key_value_heads", 2},    {"max_position_embeddings", 64},
                       {"initializer_range", 0.2},    {"attention_bias", true},
                       {"tie_word_embeddings", false}};
    models::Decoder decoder = models::random_decoder(models::parse_config(core::JsonView(json, "tiny")), 5, false);
    models::save_model(*decoder, *data::Tokenizer::load(tokens.out), folder / "model", at::kFloat);
    for (int i = 0; i < 8; ++i) {
      const bool good = i % 2 == 0;
      texts.push_back(fmt::format("Tom had {} red balls.", i));
      prompts.push_back(fmt::format("Tom had {}", i));
      rows +=
          Json{{"text", fmt::format("The day was {} {}.", good ? "good" : "sad", i)}, {"label", good ? "up" : "down"}}
              .dump() +
          "\n";
      pairs +=
          Json{{"prompt", fmt::format("Tom had {} ", i)}, {"chosen", "red balls."}, {"rejected", "no dog, no day."}}
              .dump() +
          "\n";
    }
    write_text(folder / "rows.jsonl", rows);
    write_text(folder / "pairs.jsonl", pairs);
  }
  TempDir folder;
  std::vector<std::string> texts, prompts;
  std::string rows, pairs;
};

struct StopsAt : recipes::Observer {
  explicit StopsAt(std::int64_t last) : step(last) {}
  void on_step(const train::StepMetrics& metrics) override {
    if (metrics.step == step) stop();
  }
  std::int64_t step;
};

/// What the way sets of the adapter's form; nothing of it where the run starts from an adapter, which has it.
std::vector<std::pair<std::string, Json>> form_of(const Way& way) {
  std::vector<std::pair<std::string, Json>> form;
  const auto& target = way[kTarget];
  if (way[kMethod] != "full") form.emplace_back("rank", 4);
  if (way[kMethod] == "dora" || way[kMethod] == "rslora") form.emplace_back(way[kMethod], true);
  if (target == "embedding") form.emplace_back("targets", "q_proj,embed_tokens");
  if (target == "head") form.emplace_back("targets", "q_proj,lm_head");
  if (target == "whole") form.emplace_back("modules-to-save", "norm,0.mlp");
  if (target == "biases") form.emplace_back("bias", "all");
  if (way[kInit] != "default") form.emplace_back("init", way[kInit]);
  return form;
}

struct Run {
  fs::path out, start;  // start: the adapter's folder
  std::int64_t steps = kSteps;
  bool resume = false;
};

template <typename Spec>
void set_fields(Spec& spec, const Way& way, const Run& run) {
  spec.data.val_split = 0;
  spec.data.seq_len = 32;
  spec.train.batch_size = 2;
  spec.train.max_steps = run.steps;
  spec.train.lr = kRate;
  spec.train.schedule = "constant";
  spec.train.warmup = 0;
  spec.train.clip = 0;  // what one parameter is pulled by says nothing of another
  spec.run.save_every = 1;
  spec.run.keep_last = 8;
  spec.run.out = run.out.string();
  spec.run.resume = run.resume;
  recipes::Fields fields = recipes::fields_of(spec);
  const auto set = [&](const std::string& name, const Json& value) { fields.set(name, value, "command line"); };
  if (way[kMethod] == "full") set("method", "full");
  if (way[kBase] != "auto") set("base-dtype", way[kBase]);
  set("device", way[kDevice]);
  if (!run.start.empty()) {
    set("adapter", run.start.string());
  } else {
    for (const auto& [name, value] : form_of(way)) set(name, value);
  }
  if (way[kPenalty] != "none")
    set(way[kPenalty], way[kPenalty] == "max-delta-norm" ? 0.02 : way[kPenalty].ends_with("l1") ? kL1 : 3.0);
}

State execute(const Place& place, const Way& way, const Run& run, recipes::Observer& observer) {
  const std::string model = (place.folder / "model").string();
  const auto checked = [&](const recipes::ModelResult& result) {
    if (result.training) CHECK(std::isfinite(result.training->last_loss));
    return result.state;
  };
  if (way[kVerb] == "dpo") {
    recipes::DpoSpec spec;
    spec.model = model;
    spec.data.data = {(place.folder / "pairs.jsonl").string()};
    set_fields(spec, way, run);
    return checked(recipes::dpo(spec, observer));
  }
  if (way[kVerb] == "reward") {
    recipes::RewardSpec spec;
    spec.model = model;
    spec.data.data = {(place.folder / "pairs.jsonl").string()};
    set_fields(spec, way, run);
    return checked(recipes::reward(spec, observer));
  }
  if (way[kVerb] == "ppo") {
    recipes::PpoSpec spec;
    spec.model = model;
    spec.prompt_source = recipes::prompts(place.prompts);
    spec.reward = "length:3";
    spec.response_length = 5;
    spec.num_ppo_epochs = 3;  // a run is stopped within its first rollout
    spec.num_mini_batches = 1;
    set_fields(spec, way, run);
    return checked(recipes::ppo(spec, observer));
  }
  recipes::FinetuneSpec spec;
  spec.model = model;
  if (way[kVerb] == "classification") {
    spec.task = "classification";
    spec.data.data = {(place.folder / "rows.jsonl").string()};
  } else {
    spec.data.train_source = recipes::texts(place.texts);
    spec.samples = 1;
  }
  set_fields(spec, way, run);
  return checked(recipes::finetune(spec, observer));
}

using Tensors = std::map<std::string, at::Tensor>;

Tensors tensors_of(const fs::path& folder, const Way& way) {
  const auto file = formats::SafetensorsFile::open(
      folder / (way[kMethod] == "full" ? "model.safetensors" : "adapter_model.safetensors"));
  Tensors tensors;
  for (const auto& info : file->header().tensors) tensors[info.name] = formats::tensor_view(file, info).clone();
  return tensors;
}

fs::path checkpoint(const fs::path& run, std::int64_t step) {
  return run / "checkpoints" / fmt::format("checkpoint-{}", step);
}

bool is_factor(const std::string& name) {
  return name.find("lora_A") != std::string::npos || name.find("lora_B") != std::string::npos ||
         name.find("lora_embedding_") != std::string::npos;
}

/// What must be equal to the byte between a run and the same run in two parts.
std::map<std::string, std::string> bytes_of(const fs::path& run) {
  auto files = results_of(run);
  for (const char* name : {"model.safetensors", "samples.jsonl", "adapter_config.json"})
    files[name] = read_text(run / name);
  return files;
}

/// Runs of the walk, each made once: a run without a penalty is what penalties are measured by, and what runs start
/// from.
class Runs {
 public:
  const Place place;

  /// The folder of the run in one go.
  fs::path whole(const Way& way) {
    const auto found = folders_.find(way);
    if (found != folders_.end()) return found->second;
    const Run run = {folder(way, "whole"), start_of(way)};
    recipes::Observer quiet;
    const State state = execute(place, way, run, quiet);  // a refusal passes through, which CHECK would take for a failure
    CHECK(state == State::kTrained);
    folders_[way] = run.out;
    return run.out;
  }
  /// The folder of the run stopped half-way and resumed.
  fs::path in_parts(const Way& way) {
    Run run = {folder(way, "parts"), start_of(way)};
    StopsAt stops(kStopAt);
    const State stopped = execute(place, way, run, stops);
    CHECK(stopped == State::kStopped);
    run.resume = true;
    recipes::Observer quiet;
    const State state = execute(place, way, run, quiet);
    CHECK(state == State::kTrained);
    return run.out;
  }

 private:
  fs::path start_of(const Way& way) {
    if (way[kStart] == "base") return {};
    Way first = way;
    first[kStart] = "base";
    first[kPenalty] = "none";
    if (way[kMethod] == "full") first[kMethod] = "lora";  // what is refused is the start
    const fs::path made = whole(first);
    return way[kStart] == "activated" ? activated(made, way) : made;
  }
  /// The same adapter, acting from words on that every text and prompt has.
  fs::path activated(const fs::path& adapter, const Way& way) {
    const fs::path start = folder(way, "activated");
    fs::create_directory(start);
    for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "label2id.json"})
      if (fs::exists(adapter / name)) fs::copy_file(adapter / name, start / name, fs::copy_options::overwrite_existing);
    Json config = core::read_json(start / "adapter_config.json");
    const auto ids = data::Tokenizer::load(place.folder / "model")->encode(place.prompts.front(), false);
    config["alora_invocation_tokens"] = {ids[0], ids[1]};
    write_text(start / "adapter_config.json", config.dump());
    return start;
  }
  fs::path folder(const Way& way, const std::string& what) const {
    return place.folder / fmt::format("{} {}", fmt::join(way, "-"), what);
  }
  std::map<Way, fs::path> folders_;
};

bool all_finite(const at::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); }

void check_metrics(const fs::path& run) {
  std::istringstream in(read_text(run / "metrics.jsonl"));
  std::int64_t rows = 0;
  for (std::string line; std::getline(in, line);) {
    const Json row = Json::parse(line);
    if (!row.contains("loss")) continue;
    ++rows;
    for (const auto& [name, value] : row.items()) {
      INFO(name);
      CHECK_FALSE(value.is_null());  // what JSON makes of NaN
    }
  }
  CHECK(rows == kSteps);
}

/// The result on a model that was just read.
void check_loads(const Runs& runs, const Way& way, const fs::path& run) {
  const fs::path model = way[kMethod] == "full" ? run : runs.place.folder / "model";
  const models::LoadedModel loaded = models::load(model.string());
  if (way[kMethod] == "full") {
    for (const lora::NamedTensor& weight : loaded.decoder->named_weights()) CHECK(all_finite(weight.tensor));
    return;
  }
  if (has_score(way)) {
    const auto classifier = models::load_classifier(loaded.decoder, run);
    CHECK(classifier.classifier.labels() == (way[kVerb] == "reward" ? 1 : 2));
    for (const lora::NamedTensor& one : classifier.adapter.parameters()) CHECK(all_finite(one.tensor));
    return;
  }
  const lora::Adapter adapter = lora::load_peft(loaded.decoder->slot_table(), run);
  for (const lora::NamedTensor& one : adapter.parameters()) CHECK(all_finite(one.tensor));
}

void check_moved(const Way& way, const fs::path& run) {
  const Tensors early = tensors_of(checkpoint(run, 1), way), late = tensors_of(run, way);
  REQUIRE(early.size() == late.size());
  for (const auto& [name, tensor] : late) {
    INFO(name);
    CHECK_FALSE(at::equal(tensor, early.at(name)));
  }
}

/// In the first step a penalty changes nothing but what it is a penalty on: A and B; of what begins as a part of the
/// base, what was added to it.
void check_penalty(const Way& way, const fs::path& run, const fs::path& without) {
  const Tensors end = tensors_of(run, way), end_without = tensors_of(without, way);
  CHECK(std::any_of(end.begin(), end.end(),
                    [&](const auto& one) { return !at::equal(one.second, end_without.at(one.first)); }));
  if (way[kMethod] == "full") return;
  const Tensors found = tensors_of(checkpoint(run, 1), way), expected = tensors_of(checkpoint(without, 1), way);
  for (const auto& [name, tensor] : found) {
    INFO(name);
    const double difference = (tensor - expected.at(name)).abs().max().item<double>();
    if (!is_factor(name)) CHECK(difference == 0);
    if (!splits_base(way) || way[kStart] != "base") continue;
    CHECK(difference <= (way[kPenalty] == "l1" ? kRate * kL1 * 1.001 : 0));
  }
}

/// The error's message; fails where there is none, or of another kind: options, or the file that a run starts from.
std::string refusal_of(Runs& runs, const Way& way) {
  try {
    runs.whole(way);
  } catch (const ConfigError& error) {
    return error.what();
  } catch (const FormatError& error) {
    CHECK(way[kStart] == "activated");
    return error.what();
  } catch (const std::exception& error) {
    FAIL_CHECK("not a ConfigError: " << error.what());
    return "";
  }
  FAIL_CHECK("it ran");
  return "";
}

}  // namespace

TEST_CASE("every pair of verb, method, target, beginning, penalty and start trains, resumes and loads, or is refused",
          "[e2e]") {
  keep_files_in_memory();
  const Walk ways = walk();
  Runs runs;
  for (const Way& way : ways.refused) {
    INFO(name_of(way));
    const std::string message = refusal_of(runs, way);
    INFO(message);
    const std::vector<std::size_t> why = reasons(way);
    CHECK(std::any_of(why.begin(), why.end(), [&](std::size_t i) {
      const std::string name = refusals()[i].names;
      return message.find(name.empty() ? way[kPenalty] : name) != std::string::npos;
    }));
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.find(". ") == std::string::npos);
  }
  for (const Way& way : ways.run) {
    INFO(name_of(way));
    try {
      const fs::path whole = runs.whole(way), parts = runs.in_parts(way);
      CHECK(core::read_json(whole / "run.json")["finished"] == true);
      check_metrics(whole);
      check_loads(runs, way, whole);
      check_moved(way, whole);
      CHECK(differing(bytes_of(parts), bytes_of(whole)) == "");
      if (way[kPenalty] == "none") continue;
      Way without = way;
      without[kPenalty] = "none";
      check_penalty(way, whole, runs.whole(without));
    } catch (const std::exception& error) {
      FAIL_CHECK("it ended: " << error.what());
    }
  }
}
