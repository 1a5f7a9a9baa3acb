#include "lowrank/train/checkpoint_state.h"

#include <charconv>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kState = "trainer_state.json";

}  // namespace

std::optional<std::int64_t> step_of_checkpoint(const std::string& name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  std::int64_t step = 0;
  const auto [stop, error] = std::from_chars(begin, end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

std::string checkpoint_state_text(const CheckpointState& state, const std::string& layout) {
  core::Json json;
  json["step"] = state.step;
  json["tokens"] = state.tokens;
  json["metrics_bytes"] = state.metrics_bytes;
  json["last_loss"] = state.last_loss;
  json["best_loss"] = state.best_loss ? core::Json(*state.best_loss) : core::Json(nullptr);
  json["best_step"] = state.best_step;
  json["evals_without_gain"] = state.evals_without_gain;
  json["best"] = state.best;
  json["last"] = state.last;
  json["before"] = state.before;
  json["seconds"] = state.seconds;
  if (!state.lr_test.is_null()) json["lr_test"] = state.lr_test;
  if (!state.spikes.is_null()) json["spikes"] = state.spikes;
  json["layout"] = layout;
  json["identity"] = state.identity;
  return core::json_text(json, 2) + "\n";
}

CheckpointState read_checkpoint_state(const fs::path& checkpoint, std::string* layout) {
  const core::Json json = core::read_json(checkpoint / kState);
  const core::JsonView view(json, (checkpoint / kState).string());
  CheckpointState state;
  state.step = view.at("step").as_int(0);
  const auto named = step_of_checkpoint(checkpoint.filename().string());
  if (named && *named != state.step) {
    throw FormatError(view.where() + ": its step is " + std::to_string(state.step) + ", but the folder's name says " +
                      std::to_string(*named) + ": the checkpoint was altered; remove it to go on from the one before it");
  }
  state.tokens = view.at("tokens").as_int(0);
  state.metrics_bytes = view.at("metrics_bytes").as_int(0);
  state.last_loss = view.at("last_loss").as_double();
  if (view.has_value("best_loss")) state.best_loss = view.at("best_loss").as_double();
  state.best_step = view.at("best_step").as_int(0);
  state.evals_without_gain = view.at("evals_without_gain").as_int(0);
  if (view.has("spikes")) state.spikes = view.at("spikes").raw();
  if (view.has("lr_test")) state.lr_test = view.at("lr_test").raw();
  if (view.has("seconds")) state.seconds = view.at("seconds").as_double();
  state.best = view.at("best").raw();
  state.last = view.at("last").raw();
  state.before = view.at("before").raw();
  if (!view.at("identity").is_object()) view.at("identity").fail("expected an object");
  state.identity = view.at("identity").raw();
  if (layout != nullptr) *layout = view.at("layout").as_string();
  return state;
}

}  // namespace lowrank::train
