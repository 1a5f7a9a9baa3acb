#include "lowrank/recipes/run/memory_plan.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <numeric>

#include "lowrank/core/memory.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/head_scratch.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/dtype.h"
#include "lowrank/train/metrics_log.h"

namespace lowrank::recipes {

namespace {

// What LibTorch takes with its first products, and panels of the largest weight in fp32, converted and packed, 16 MiB of
// it at most. Fitted by bench/memory_plan.py.
constexpr std::uint64_t kFirstProducts = 6'000'000;
constexpr double kPanels = 5.5;
constexpr std::int64_t kPanelBytes = std::int64_t{1} << 24;

std::uint64_t bytes(std::int64_t values, std::int64_t element) { return static_cast<std::uint64_t>(values * element); }

std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

// Files that weights are mapped from.
std::vector<std::filesystem::path> weight_files(const models::LoadedModel& loaded) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : loaded.weights.files()) files.push_back(std::filesystem::absolute(file->path()));
  if (loaded.coded.base != nullptr && !loaded.coded.base->file().empty()) files.push_back(loaded.coded.base->file());
  return files;
}

// Weights as their files have them, but those that are in codes, and the codes.
std::uint64_t base_bytes(const models::LoadedModel& loaded) {
  if (const kernels::ShardedBase* const shares = loaded.shares.get())  // what is whole at a time stands with `workspace`
    return less(loaded.weights.total_bytes(), static_cast<std::uint64_t>(shares->total_bytes() - shares->held_bytes()));
  if (loaded.coded.base == nullptr) return loaded.weights.total_bytes();
  return less(loaded.weights.total_bytes(), loaded.coded.base->stored_bytes()) + loaded.coded.base->bytes();
}

}  // namespace

std::uint64_t MemoryPlan::total() const { return std::max(step(), before); }

std::uint64_t MemoryPlan::step() const {
  return program + base + packed + adapter + optimiser + activations + head + workspace;
}

std::string MemoryPlan::words() const {
  const std::pair<const char*, std::uint64_t> parts[] = {
      {"program", program},     {"base", base}, {"packed copies", packed},       {"adapter", adapter},
      {"optimiser", optimiser}, {"head", head}, {"activations", activations}, {"workspace", workspace}};
  std::string text = core::format_bytes(step());
  const char* separator = ": ";
  for (const auto& [name, size] : parts) {
    if (size == 0) continue;
    text += fmt::format("{}{} {}", separator, name, core::format_bytes(size));
    separator = ", ";
  }
  if (before > step()) text += fmt::format("; {} while the data was read", core::format_bytes(before));
  return text;
}

core::Json MemoryPlan::json() const {
  return {{"program", program},         {"base", base}, {"packed", packed},       {"adapter", adapter},
          {"optimiser", optimiser},     {"head", head}, {"workspace", workspace}, {"activations", activations},
          {"before", before},           {"total", total()}};
}

HeldMemory held_memory(const models::LoadedModel* loaded) {
  const auto before = static_cast<std::uint64_t>(train::peak_rss_bytes());
  ::malloc_trim(0);  // what reading the data took and gave back is the system's again, not the program's
  return {before,
          core::resident_memory(loaded == nullptr ? std::vector<std::filesystem::path>{} : weight_files(*loaded))};
}

MemoryPlan memory_plan(const PlannedStep& step) {
  MemoryPlan plan;
  const models::DecoderConfig& config = step.decoder.config();
  const std::int64_t element = step.decoder.dtype() == at::kBFloat16 ? 2 : step.decoder.dtype() == at::kDouble ? 8 : 4;
  const std::int64_t width = config.hidden_size, tokens = step.tokens;

  plan.adapter = bytes(step.trainable, 4);
  plan.optimiser = bytes(step.trainable, 12);
  if (!step.whole && step.loaded != nullptr) plan.base = base_bytes(*step.loaded);

  std::vector<std::int64_t> kept = step.decoder.kept_by_layer();
  std::erase(kept, 0);
  const auto layers = static_cast<std::int64_t>(kept.size());
  const std::int64_t again = step.recompute.of(layers);
  const std::int64_t most = kept.empty() ? 0 : *std::max_element(kept.begin(), kept.end());
  const std::int64_t held = std::accumulate(kept.begin() + again, kept.end(), std::int64_t{0});
  plan.head = kernels::head_scratch_bytes(tokens, config.vocab_size, width, 4) + bytes(tokens * width, element);
  // An adapter's own products are no gradients.
  const lora::SlotTable table = step.decoder.slot_table();
  std::int64_t largest = 0, widest = 0, of_adapters = 0, thin = 0;
  for (const lora::LinearSlot& slot : table.slots) {
    of_adapters += slot->kept_per_token();
    thin += slot->thin_per_token();
    if (slot->path() == table.head) continue;
    largest = std::max(largest, slot->base().out_features() * slot->base().in_features());
    widest = std::max(widest, slot->base().in_features());
  }
  // Most is taken while the loss is made, beside what the layers keep; or in a backward pass, beside a layer's gradients,
  // about as much as the layer keeps: the last layer's, with the others whole, or that of a layer computed again.
  const std::int64_t own = std::max<std::int64_t>(0, most - of_adapters / std::max<std::int64_t>(1, layers));
  const std::uint64_t gradients = bytes(tokens * own, element), of_layers = bytes(tokens * held, element);
  const std::uint64_t of_one = again > 0 ? bytes(tokens * most, element) : 0;
  const std::uint64_t peak = std::max(of_layers + std::max(plan.head, gradients), of_one + gradients);
  const std::uint64_t beside_head = std::clamp(less(peak, plan.head), of_layers, std::max(of_layers, of_one));
  // Each computed-again layer's input; the last norm's input and output.
  plan.activations = beside_head + bytes(tokens * (again + 2) * width, element);
  // x Aᵀ is fp32 beside activations in bf16: `held` counts it at two bytes of its four.
  if (element == 2) plan.activations += bytes(tokens * thin * (layers - again) / std::max<std::int64_t>(1, layers), 2);
  plan.workspace = kFirstProducts + less(peak, beside_head + plan.head) +
                   static_cast<std::uint64_t>(kPanels * static_cast<double>(std::min(4 * largest, kPanelBytes)));
  // What computes bf16 in fp32 turns a product's rows into those first.
  if (element == 2 && !kernels::computes_bf16()) plan.workspace += bytes(tokens * widest, 4);

  if (step.loaded != nullptr && step.loaded->shares != nullptr)
    plan.workspace += static_cast<std::uint64_t>(step.loaded->shares->buffer_bytes());

  plan.before = step.held.before;
  if (const std::optional<core::Resident>& now = step.held.resident) {
    const std::uint64_t trained = plan.adapter;
    const std::uint64_t in_memory = step.loaded != nullptr && step.loaded->coded.base != nullptr &&
                                            step.loaded->coded.base->file().empty()
                                        ? step.loaded->coded.base->bytes()
                                        : 0;
    plan.program = less(now->all, now->of_files + trained + in_memory);
    plan.there = now->all;
    if (step.whole) plan.base = now->of_files;  // pages that were copied from
    plan.mapped = less(plan.base, now->of_files + in_memory);
  }
  return plan;
}

std::uint64_t heap_holes(const MemoryPlan& plan) {
  constexpr std::uint64_t kLeast = 48 << 20;
  return core::available_address_space() ? kLeast + less(less(plan.step(), plan.there), plan.mapped) / 8 : 0;
}

bool fits(const MemoryPlan& plan) {
  const std::uint64_t to_come = less(plan.step(), plan.there);
  const auto memory = core::available_memory("/", /*mapped=*/true);
  const auto space = core::available_address_space();
  return (!memory || to_come <= *memory) && (!space || less(to_come, plan.mapped) + heap_holes(plan) <= *space);
}

FormThatFits form_that_fits(const std::filesystem::path& model) {
  const auto have = core::available_memory("/", /*mapped=*/true);
  const std::uint64_t stored = formats::WeightFiles::open(model).total_bytes();
  const std::uint64_t most = have ? *have / 5 * 4 : stored;
  if (stored <= most) return {};
  const models::DecoderConfig config = models::read_config(model);
  const std::int64_t all = config.parameter_count(), table = config.vocab_size * config.hidden_size;
  const std::int64_t outside = std::min(all, config.tied ? table : 2 * table);  // as stored in every form
  const double each = static_cast<double>(stored) / static_cast<double>(all);
  for (const auto form : {kernels::BaseForm::kInt8, kernels::BaseForm::kNf4}) {
    const double codes = form == kernels::BaseForm::kInt8 ? 1.0 : 0.52;  // bytes a weight, its scales too
    const double size = each * static_cast<double>(outside) + codes * static_cast<double>(all - outside);
    if (size > static_cast<double>(most) && form != kernels::BaseForm::kNf4) continue;
    return {form, fmt::format("the base takes {} as stored, and {} are free: its linear layers are kept in {} (about {}), "
                              "which costs a little of its accuracy",
                              core::format_bytes(stored), core::format_bytes(*have), kernels::form_name(form),
                              core::format_bytes(static_cast<std::uint64_t>(size)))};
  }
  return {};
}

models::Recompute least_recompute(PlannedStep step) {
  const std::vector<std::int64_t> kept = step.decoder.kept_by_layer();
  const auto layers = static_cast<std::int64_t>(kept.size() - static_cast<std::size_t>(
                                                                  std::count(kept.begin(), kept.end(), 0)));
  std::int64_t low = 0, high = layers;  // of these numbers the least that fits, by halves: more takes less
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    step.recompute = models::Recompute::first(middle);
    if (fits(memory_plan(step))) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return models::Recompute::first(low);
}

}  // namespace lowrank::recipes
