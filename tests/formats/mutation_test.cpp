// Damaged inputs end in a result or a lowrank::Error: 100,000 mutations of valid files, the same ones every time.
#include <algorithm>
#include <cmath>

#include "core/expect_error.h"
#include "formats/raw_safetensors.h"
#include "lowrank/core/json.h"
#include "lowrank/core/random.h"
#include "lowrank/formats/weight_index.h"

using namespace lowrank::formats;
using lowrank::core::JsonView;
using lowrank::core::RandomStream;

namespace {

// One to four edits: a byte replaced, a bit flipped, bytes cut out, repeated, or a token that breaks things put in.
std::string mutate(std::string bytes, const RandomStream& random, std::uint64_t round) {
  static const std::vector<std::string> kTokens = {"-1",
                                                   "1e9",
                                                   "18446744073709551615",
                                                   "9223372036854775808",
                                                   "NaN",
                                                   "null",
                                                   "\"",
                                                   "{",
                                                   "}",
                                                   "[",
                                                   "]",
                                                   "[[[[[[[[",
                                                   "\\u0000",
                                                   "\\ud800",
                                                   "\xFF",
                                                   ",",
                                                   "0",
                                                   "../",
                                                   ":",
                                                   "true"};
  const std::uint64_t edits = 1 + random.below(4, round, 1);
  for (std::uint64_t e = 0; e < edits; ++e) {
    const auto draw = [&](std::uint64_t n, std::uint64_t what) { return random.below(n, round, 16 * (e + 1) + what); };
    const std::size_t at = draw(bytes.size() + 1, 0);
    const std::size_t length = std::min<std::size_t>(draw(12, 1) + 1, bytes.size() - at);
    switch (draw(5, 2)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(draw(256, 3));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << draw(8, 3)));
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, length));
        break;
      default:
        bytes.insert(at, kTokens[draw(kTokens.size(), 3)]);
    }
  }
  return bytes;
}

struct Outcomes {
  int accepted = 0, refused = 0;
};

// Calls `read` with every mutation. Anything but a return or a lowrank::Error of the expected kinds fails.
template <class Read>
Outcomes run(const std::string& valid, const char* name, std::uint64_t rounds, Read read) {
  const RandomStream random(1, name);
  Outcomes outcomes;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::string bytes = mutate(valid, random, round);
    const auto caught = lowrank_test::caught([&] { read(bytes); });
    if (!caught) {
      ++outcomes.accepted;
      continue;
    }
    ++outcomes.refused;
    const bool expected_kind =
        caught->kind == lowrank::ErrorKind::kFormat || caught->kind == lowrank::ErrorKind::kMissing;
    if (!expected_kind || caught->message.size() > 2000 || caught->message.find('\n') != std::string::npos) {
      FAIL_CHECK("round " << round << " of " << name << ": " << caught->message);
    }
  }
  return outcomes;
}

}  // namespace

TEST_CASE("mutated safetensors are read or refused", "[unit]") {
  const std::string valid = lowrank_test::read_text(lowrank_test::golden_dir() / "formats" / "reference.safetensors");
  const auto outcomes = run(valid, "safetensors", 50'000, [](const std::string& bytes) {
    const auto header = lowrank_test::parse_raw(bytes);
    std::uint64_t end = 0;
    for (const TensorInfo& info : header.tensors) {  // what was accepted lies inside the file, side by side
      if (info.begin != end || header.data_start + info.end > bytes.size()) FAIL_CHECK(info.name);
      end = info.end;
    }
  });
  CHECK(outcomes.accepted > 500);  // data bytes and metadata may be anything
  CHECK(outcomes.refused > 20'000);
}

TEST_CASE("mutated indexes are read or refused", "[unit]") {
  const lowrank_test::TempDir dir;
  lowrank_test::write_text(dir / "one.safetensors", lowrank_test::small_safetensors({"a", "b"}));
  lowrank_test::write_text(dir / "two.safetensors", lowrank_test::small_safetensors({"c"}));
  const std::string valid = R"({"metadata": {"total_size": 3, "version": 1.5}, "weight_map": {"a": "one.safetensors",
    "b": "one.safetensors", "c": "two.safetensors"}})";
  const auto parsed = run(valid, "index", 20'000, [](const std::string& bytes) {
    for (const auto& [tensor, shard] : parse_weight_index(bytes, "index.json")) {
      if (shard.find('/') != std::string::npos) FAIL_CHECK(bytes);
    }
  });
  CHECK(parsed.accepted > 500);
  CHECK(parsed.refused > 10'000);
  const auto opened = run(valid, "folder", 500, [&](const std::string& bytes) {  // a disk is slow
    lowrank_test::write_text(dir / "model.safetensors.index.json", bytes);
    if (WeightFiles::open(dir.path()).names() != std::vector<std::string>{"a", "b", "c"}) FAIL_CHECK(bytes);
  });
  CHECK(opened.accepted > 5);  // "metadata" is not looked at
  CHECK(opened.refused > 300);
}

TEST_CASE("mutated configs are read or refused", "[unit]") {
  const std::string valid = R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16.0, "lora_dropout": 0.05, "bias": "none",
    "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"a": 4}, "use_rslora": false, "revision": null})";
  const auto outcomes = run(valid, "config", 30'000, [](const std::string& bytes) {
    const auto json = lowrank::core::parse_json(bytes, "adapter_config.json");
    const JsonView config(json, "adapter_config.json");
    (void)config.at("peft_type").as_string();
    const auto rank = config.get_int("r", 8, 1, 1 << 20);
    if (rank < 1 || rank > 1 << 20) FAIL_CHECK(bytes);
    if (!std::isfinite(config.get_double("lora_alpha", 8))) FAIL_CHECK(bytes);
    (void)config.get_double("lora_dropout", 0);
    (void)config.get_bool("use_rslora", false);
    if (config.has_value("target_modules")) (void)config.at("target_modules").as_strings();
    if (config.has_value("rank_pattern")) {
      for (const auto& key : config.at("rank_pattern").keys()) (void)config.at("rank_pattern").at(key).as_int(1, 4096);
    }
    (void)config.raw().dump();  // what was accepted can be written again
  });
  CHECK(outcomes.accepted > 500);
  CHECK(outcomes.refused > 10'000);
}
