// An adapter at the smallest ranks that stay within a bound of what it says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/eval/compression.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

/// Either of `max_kl`, a bound in nats a token, and `rank`, the same for every module.
struct CompressSpec : Spec {
  std::string adapter;  // its folder
  std::optional<double> max_kl;
  std::optional<std::int64_t> rank;
  std::vector<std::string> data;  // half to choose by, half to measure
  DataSource source;              // instead of `data`
  std::string format = "auto";
  std::optional<std::string> columns, layout;
  std::optional<std::int64_t> seq_len;
  std::int64_t seed = 42;
  std::optional<std::string> model;  // the base, where not the one that the adapter names
  std::string out;
  std::string dtype = "auto";
  std::optional<std::int64_t> threads;
  std::string command;  // that made this spec, for the model card; empty: it is made of the fields
};
void describe(Fields& table, CompressSpec& spec);

/// What was read, before ranks are looked for.
struct CompressOpening {
  const models::LoadedModel& model;
  const lora::Adapter& adapter;
  std::int64_t choosing_tokens, held_back_tokens;
};
class CompressObserver : public Observer {
 public:
  virtual void on_compress(const CompressOpening&) {}
};

struct CompressResult {
  std::vector<std::pair<std::string, std::int64_t>> ranks;  // of each module
  std::int64_t kept = 0;                                    // modules with a rank above 0
  std::string size, divergence;                             // in words
  core::Json json;  // bytes before and after, KL on held-back text and its upper bound, ranks by module, tries
};

/// The compressed adapter into the folder `out`, new or empty. DataError where the bound is not reached on the half of
/// the data that was held back.
CompressResult compress(const CompressSpec& spec, CompressObserver& observer);

}  // namespace lowrank::recipes
