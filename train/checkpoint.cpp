#include "lowrank/train/checkpoint.h"

#include <algorithm>
#include <memory>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/train/manifest.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kState = "trainer_state.json";
constexpr const char* kTensors = "optimizer.safetensors";
// A checkpoint on its way out gets this suffix before its files go, so that a kill leaves no half checkpoint.
constexpr const char* kRemoving = ".removing";

void remove_tree(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) throw IoError(folder.string() + " could not be removed: " + error.message());
}

void remove_checkpoint(const fs::path& checkpoint) {
  fs::path doomed = checkpoint;
  doomed += kRemoving;
  remove_tree(doomed);
  std::error_code error;
  fs::rename(checkpoint, doomed, error);
  if (error) throw IoError(checkpoint.string() + " could not be removed: " + error.message());
  remove_tree(doomed);
}

/// Names and shapes of the parameters, so that a buffer of the same length but other meaning is not taken.
std::string layout_of(const FlatParameters& parameters) {
  std::string text;
  for (const auto& [name, tensor] : parameters.parameters()) {
    text += name;
    for (const std::int64_t size : tensor.sizes()) text.append(" ").append(std::to_string(size));
    text += '\n';
  }
  return core::sha256(text);
}

void read_tensor(const std::shared_ptr<const formats::SafetensorsFile>& file, const std::string& name,
                 const at::Tensor& tensor) {
  const formats::TensorInfo* info = file->find(name);
  if (info == nullptr || info->dtype != formats::DType::kF32 || info->shape != tensor.sizes().vec()) {
    throw ModelError(file->path().string() + " does not hold " + name + " as " + std::to_string(tensor.numel()) +
                     " fp32 numbers in its shape: the checkpoint is of another adapter or optimiser");
  }
  tensor.detach().copy_(formats::tensor_view(file, *info));
}

}  // namespace

fs::path checkpoint_path(const fs::path& run, std::int64_t step) {
  return run / "checkpoints" / (kPrefix + std::to_string(step));
}

std::vector<std::pair<std::int64_t, fs::path>> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  const fs::path folder = run / "checkpoints";
  std::error_code none;
  if (fs::is_symlink(fs::symlink_status(folder, none))) return found;  // somebody else's folder: it is not even looked into
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const auto step = step_of_checkpoint(entry.path().filename().string());
    if (step && entry.is_directory() && !entry.is_symlink()) found.emplace_back(*step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string checkpoint_fault(const fs::path& checkpoint) {
  const auto step = step_of_checkpoint(checkpoint.filename().string());
  if (!step) return "its name is not checkpoint-N";
  return manifest_fault(checkpoint, *step, {kState, kTensors});
}

void save_checkpoint(const fs::path& run, const CheckpointState& state, FlatParameters& parameters,
                     const Optimizer& optimizer, Objective& objective, Ema* ema) {
  if (!parameters.finite()) {
    throw DataError("after step " + std::to_string(state.step) +
                    " a trained parameter is not finite; nothing was saved (a lower `lr` usually helps)");
  }
  const fs::path destination = checkpoint_path(run, state.step);
  std::error_code error;
  core::refuse_link(destination.parent_path());
  if (fs::create_directories(destination.parent_path(), error)) core::sync_directory(run);
  if (error) throw IoError(destination.parent_path().string() + " could not be made: " + error.message());

  if (fs::exists(destination)) remove_checkpoint(destination);
  core::StagedDirectory staged(destination);
  {
    const Averaged averaged(ema, parameters.values());
    objective.save(staged.path());
    objective.save_state(staged.path());
  }
  std::vector<formats::TensorToWrite> tensors = {formats::tensor_to_write("parameters", parameters.values())};
  for (const auto& [name, tensor] : optimizer.state()) tensors.push_back(formats::tensor_to_write(name, tensor));
  if (ema != nullptr) tensors.push_back(formats::tensor_to_write("ema", ema->average()));
  formats::write_safetensors(staged.path() / kTensors, std::move(tensors));
  core::write_file(staged.path() / kState, checkpoint_state_text(state, layout_of(parameters)));
  write_manifest(staged.path(), state.step);
  staged.commit();
}

std::optional<fs::path> newest_checkpoint(const fs::path& run, std::vector<std::string>* skipped) {
  auto all = list_checkpoints(run);
  std::reverse(all.begin(), all.end());
  for (const auto& [step, folder] : all) {
    const std::string fault = checkpoint_fault(folder);
    if (fault.empty()) return folder;
    if (skipped != nullptr) skipped->push_back(folder.string() + " is passed over: " + fault);
  }
  return std::nullopt;
}

CheckpointState load_checkpoint(const fs::path& checkpoint, FlatParameters& parameters, Optimizer& optimizer,
                                Ema* ema) {
  std::string layout;
  const CheckpointState state = read_checkpoint_state(checkpoint, &layout);
  if (layout != layout_of(parameters)) {
    throw ModelError(checkpoint.string() + " holds other parameters than this run trains (names or shapes differ): " +
                     "use the options it was started with");
  }
  const auto file = formats::SafetensorsFile::open(checkpoint / kTensors);
  read_tensor(file, "parameters", parameters.values());
  for (const auto& [name, tensor] : optimizer.state()) read_tensor(file, name, tensor);
  if (ema != nullptr) read_tensor(file, file->find("ema") != nullptr ? "ema" : "parameters", ema->average());
  return state;
}

void prune_checkpoints(const fs::path& run, std::int64_t keep_last, std::int64_t best_step) {
  const auto all = list_checkpoints(run);
  const auto keep = static_cast<std::size_t>(std::max<std::int64_t>(1, keep_last));
  for (std::size_t i = 0; i + keep < all.size(); ++i) {
    if (all[i].first != best_step) remove_checkpoint(all[i].second);
  }
}

void discard_checkpoints_after(const fs::path& run, std::int64_t step) {
  for (const auto& [n, folder] : list_checkpoints(run)) {
    if (n > step) remove_checkpoint(folder);
  }
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", none)) {
    if (entry.path().extension() == kRemoving) remove_tree(entry.path());
  }
}

}  // namespace lowrank::train
