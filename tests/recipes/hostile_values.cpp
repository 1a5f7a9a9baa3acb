// Every value of every JSON file that others may have written, replaced by ones that mean harm: what is thrown is an
// error of ours, with its sentence. Anything else would end the command with "unexpected".
#include <ATen/ops/arange.h>

#include <functional>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/generate.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/inspection/inspect.h"
#include "lowrank/recipes/inspection/run_listing.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/manifest.h"

using namespace lowrank;
using namespace lowrank_test;
using core::Json;

namespace {

const std::vector<Json>& hostile_values() {
  static const std::vector<Json> all = {
      nullptr,     true,     "",       "x",     Json::array(), Json::object(),  -1,     0,    1,
      3,           0.5,      -0.5,     1e-308,  1e308,         -1e308,          2147483648LL,  9007199254740993LL,
      INT64_MAX,   INT64_MIN, UINT64_MAX, 1e20, std::string(300, 'a'), Json::array({-1}), Json::array({1e308}),
      Json::array({"x", 1}), Json({{"x", 1}})};
  return all;
}

/// Every place of a document but its top; of a long list or table only the first entries.
void places_of(const Json& json, const Json::json_pointer& here, std::vector<Json::json_pointer>& all) {
  constexpr std::size_t kMost = 24;
  std::size_t n = 0;
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      if (++n > kMost) return;
      all.push_back(here / key);
      places_of(value, here / key, all);
    }
  } else if (json.is_array()) {
    for (std::size_t i = 0; i < std::min(json.size(), std::size_t{3}); ++i) {
      all.push_back(here / i);
      places_of(json[i], here / i, all);
    }
  }
}

/// Nothing, or what came that is no error of ours.
template <class Act>
std::string unexpected(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    const std::string what = error.what();
    if (error.kind() == ErrorKind::kInternal) return "InternalError: " + what;
    return what.size() > 8 ? "" : "an empty sentence";
  } catch (const std::exception& error) {
    return std::string(error.what()).substr(0, 300);
  }
  return "";
}

/// `act` with each place of the file at each value, and with the place missing.
template <class Act>
void try_all(const fs::path& file, const Act& act) {
  const std::string before = read_text(file);
  const Json json = Json::parse(before);
  REQUIRE(unexpected(act).empty());
  std::vector<Json::json_pointer> places;
  places_of(json, Json::json_pointer(), places);
  int findings = 0;
  for (const Json::json_pointer& place : places) {
    for (std::size_t i = 0; i <= hostile_values().size() && findings < 20; ++i) {
      Json changed = json;
      if (i < hostile_values().size()) {
        changed[place] = hostile_values()[i];
      } else if (changed[place.parent_pointer()].is_object()) {
        changed[place.parent_pointer()].erase(place.back());
      }
      write_text(file, changed.dump());
      const std::string found = unexpected(act);
      if (found.empty()) continue;
      ++findings;
      FAIL_CHECK(file.filename().string() << place.to_string() << " = "
                                          << (i < hostile_values().size() ? hostile_values()[i].dump() : "missing")
                                          << ": " << found);
    }
  }
  write_text(file, before);
}

fs::path copy_of(const fs::path& from, const fs::path& to) {
  fs::create_directories(to.parent_path());
  fs::copy(from, to, fs::copy_options::recursive);
  return to;
}

void compute(models::DecoderImpl& decoder) {
  at::NoGradGuard no_grad;
  decoder.logits(decoder.hidden(at::arange(5, at::kLong), kernels::Segments::of_lengths({5})));
}

}  // namespace

TEST_CASE("no value in a model's config.json does more than be refused", "[unit]") {
  TempDir dir;
  for (const char* name : {"llama", "llama-llama3", "llama-yarn", "llama-dynamic", "gemma2", "gpt2", "phi3", "qwen3"}) {
    CAPTURE(name);
    const fs::path model = copy_of(golden_dir() / "models" / name, dir / name);
    try_all(model / "config.json", [&] {
      recipes::inspect_path(model, false);
      const auto weights = formats::WeightFiles::open(model);
      compute(*models::load_decoder(models::read_config(model), weights, at::kFloat, false));
    });
  }
}

TEST_CASE("a config.json that is a mountain is refused before it is parsed", "[unit]") {
  TempDir dir;
  const fs::path model = copy_of(golden_dir() / "models" / "llama", dir / "llama");
  const std::string config = read_text(model / "config.json");
  write_text(model / "config.json", std::string(40 << 20, ' ') + config);
  for (const auto& act : {std::function<void()>([&] { models::read_config(model); }),
                          std::function<void()>([&] { recipes::inspect_path(model, false); })}) {
    try {
      act();
      FAIL_CHECK("not refused");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kFormat);
      CHECK(std::string(error.what()).find("more than") != std::string::npos);
    }
  }
}

TEST_CASE("no value in an adapter_config.json does more than be refused", "[unit]") {
  TempDir dir;
  const fs::path model = copy_of(golden_dir() / "models" / "llama", dir / "llama");
  const fs::path adapter = copy_of(golden_dir() / "lora" / "adapter-rich", dir / "adapter");
  try_all(adapter / "adapter_config.json", [&] { recipes::inspect_path(adapter, false); });
  const auto weights = formats::WeightFiles::open(model);
  for (const fs::path& one : {model / "adapter"}) {
    try_all(one / "adapter_config.json", [&] {
      const auto decoder = models::load_decoder(models::read_config(model), weights, at::kFloat, false);
      const lora::Adapter loaded = lora::load_peft(decoder->slot_table(), one);
      compute(*decoder);
    });
  }
}

TEST_CASE("no value in a tokenizer's files does more than be refused", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path folder = dir / "tokenizer";
  const fs::path from = *assets() / "models" / "stories260K-hf";
  for (const auto& entry : fs::directory_iterator(from)) {
    if (entry.path().filename().string().find("token") != std::string::npos)
      write_text(folder / entry.path().filename(), read_text(entry.path()));
  }
  const auto use = [&] {
    const auto tokenizer = data::Tokenizer::load(folder);
    tokenizer->decode(tokenizer->encode("Once upon a time\n there was <s> \xFF"));
  };
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    if (fs::exists(folder / name)) try_all(folder / name, use);
  }
}

TEST_CASE("no value in a run's files does more than be refused", "[unit]") {
  TempDir dir;
  const fs::path run = dir / "run", checkpoint = run / "checkpoints" / "checkpoint-3";
  write_text(run / "run.json",
             Json{{"lowrank", "0"},
                  {"finished", false},
                  {"verb", "finetune"},
                  {"options", {{"rank", 8}, {"lr", 1e-4}}},
                  {"totals",
                   {{"trainable_parameters", 8},
                    {"adapter_bytes", 32},
                    {"steps", 3},
                    {"planned_steps", 4},
                    {"seconds", 1.5}}},
                  {"result",
                   {{"stop", "finished"},
                    {"best_step", 2},
                    {"best_loss", 1.5},
                    {"before", Json::array({{{"split", "validation"}, {"loss", 3.0}}})},
                    {"after", Json::array({{{"split", "validation"}, {"loss", 2.0}}})}}}}
                 .dump());
  write_text(run / "metrics.jsonl", "{\"step\": 1, \"loss\": 3}\n");
  const auto list = [&] { recipes::list_runs(dir.path()); };
  try_all(run / "run.json", list);
  try_all(run / "metrics.jsonl", list);

  write_text(checkpoint / "trainer_state.json",
             Json{{"step", 3}, {"tokens", 30}, {"metrics_bytes", 10}, {"last_loss", 2.5}, {"best_loss", 2.0},
                  {"best_step", 2}, {"evals_without_gain", 0}, {"best", Json::array()}, {"last", Json::array()},
                  {"before", Json::array()}, {"seconds", 1.0}, {"layout", "x"}, {"identity", {{"lr", 1e-4}}}}
                 .dump());
  write_text(checkpoint / "optimizer.safetensors", "x");
  write_text(checkpoint / "adapter_config.json", "{}");
  try_all(checkpoint / "trainer_state.json", [&] {
    train::write_manifest(checkpoint, 3);  // whoever changes the file writes its hash too
    train::read_checkpoint_state(checkpoint);
    recipes::inspect_checkpoint(checkpoint, false);
  });
  train::write_manifest(checkpoint, 3);
  try_all(checkpoint / "manifest.json", [&] { train::checkpoint_fault(checkpoint); });
}
