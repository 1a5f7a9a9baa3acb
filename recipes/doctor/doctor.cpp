#include "lowrank/recipes/doctor/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/data/parts.h"
#include "lowrank/data/plan.h"
#include "lowrank/data/unpaired.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/chat_files.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/spec/settings.h"
#include "lowrank/train/schedule.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

constexpr std::int64_t kBar = 40;  // characters of the longest

std::string histogram_text(const data::Dataset& dataset) {
  const auto bars = data::length_histogram(dataset);
  std::int64_t most = 1;
  for (const auto& [bound, count] : bars) most = std::max(most, count);
  std::string text;
  for (const auto& [bound, count] : bars) {
    text += fmt::format("  up to {:>7} tokens  {:<{}} {}\n", core::format_count(bound),
                        std::string(static_cast<std::size_t>((count * kBar + most - 1) / most), '#'), kBar,
                        core::format_count(count));
  }
  return text;
}

/// The sets of the run that is thought of.
struct Sets {
  data::Dataset train;
  std::optional<data::Dataset> validation, general;
};

Sets read_sets(const DoctorSpec& spec, const data::Tokenizer& tokenizer, const data::DataOptions& reading,
               core::ProgressObserver& progress) {
  Sets sets;
  sets.train = data::load(paths_of(spec.data.data), tokenizer, reading, &progress);
  if (!spec.data.val_data.empty()) {
    sets.validation = data::load(paths_of(spec.data.val_data), tokenizer, reading, &progress);
  } else if (spec.data.val_split > 0) {
    std::string how;
    data::Dataset held =
        data::take_validation(sets.train, spec.data.val_split, split_seed(spec.data, spec.train), how);
    if (!held.examples.empty()) sets.validation = std::move(held);
  }
  if (!spec.data.general_data.empty()) {
    data::DataOptions general = reading;
    general.format = data::Format::kAuto;
    sets.general = data::load(paths_of(spec.data.general_data), tokenizer, general, &progress);
  }
  return sets;
}

Json to_json(const std::vector<data::Finding>& findings) {
  Json list = Json::array();
  for (const data::Finding& finding : findings)
    list.push_back({{"check", finding.check}, {"fatal", finding.fatal}, {"text", finding.text}});
  return list;
}

/// Of data that nothing is trained on.
Diagnosis of_unpaired(const data::UnpairedRows& unpaired) {
  Diagnosis result;
  result.findings.push_back({"unpaired", true, unpaired.text()});
  result.summary = "Nothing would be learned.";
  result.json = {{"healthy", false},
                 {"findings", to_json(result.findings)},
                 {"summary", result.summary},
                 {"unpaired", {{"liked", unpaired.liked}, {"disliked", unpaired.disliked}, {"others", unpaired.others}}}};
  return result;
}

}  // namespace

void describe(Fields& t, DoctorSpec& s) {
  describe_text(t, s.data);
  describe_method(t, s.adapter);
  describe(t, s.adapter);
  describe(t, s.train, {.lr = "2e-4; 2e-5 for `method` full"});
  t.group("Output");
  t.add("examples", &s.examples, "N", "Examples that are shown token by token", {.range = {{0, 1 << 20}}});
}

Diagnosis doctor(const DoctorSpec& asked, const Marks& marks, core::ProgressObserver& progress) {
  DoctorSpec spec = asked;
  const Fields fields = fields_of(spec);
  fields.check();
  require_data(fields, spec.data);
  const models::Resolved resolved = models::resolve(spec.model);
  std::optional<fs::path> adapter = resolved.adapter;
  if (spec.adapter.adapter) adapter = adapter_folder(*spec.adapter.adapter, "adapter");
  const models::DecoderConfig config = models::read_config(resolved.model);
  auto tokenizer = adapter ? models::adapter_tokenizer(*adapter, config) : nullptr;
  if (tokenizer == nullptr) tokenizer = data::Tokenizer::load(resolved.model);
  data::DataOptions reading = data_options(spec.data, fields, config.max_positions);
  reading.chat = chat_layout(spec.data.chat, *tokenizer, resolved.model, adapter);
  if (const data::UnpairedRows unpaired = data::count_unpaired(paths_of(spec.data.data), reading.files); unpaired.any()) {
    return of_unpaired(unpaired);
  }
  const Sets sets = read_sets(spec, *tokenizer, reading, progress);

  const data::Plan plan(train::item_lengths(sets.train.examples), plan_options(spec.train, spec.data, fields));
  data::Patient patient{&sets.train, {}, tokenizer.get(), reading.chat.get(), config.eos_token_ids};
  if (sets.validation) patient.others.emplace_back("validation", &*sets.validation);
  if (sets.general) patient.others.emplace_back("general", &*sets.general);
  if (adapter) {
    for (const data::TokenId id : models::adapter_end_ids(*adapter)) patient.end_ids.push_back(id);
    patient.invocation = lora::read_adapter_config(*adapter).alora_invocation_tokens;
  }
  patient.threads = reading.threads;
  patient.full = spec.adapter.method == "full";
  patient.steps = plan.steps();
  patient.warmup = train::warmup_steps(spec.train.warmup, plan.steps());
  if (spec.train.warmup < 1) patient.warmup = std::min(patient.warmup, patient.steps - 1);  // a share is never all
  patient.lr = spec.train.lr.automatic ? 0 : spec.train.lr.value_or(patient.full ? 2e-5 : 2e-4);
  patient.parameters = config.parameter_count();

  Diagnosis result;
  result.findings = data::examine(patient);
  const data::ReadReport& report = sets.train.report;
  const double epochs = plan.steps() == 0 ? 0.0 : plan.step(plan.steps() - 1).epoch;
  result.summary = fmt::format(
      "{} of {} ({}, {} parameters) would learn {} of {} of {} ({}), in {} of {}, {:g} epoch{} of "
      "them, at a learning rate {}{}{}.",
      patient.full ? "Every weight" : fmt::format("An adapter of rank {}", spec.adapter.rank.value_or(16)),
      resolved.name, config.model_type, core::format_count(patient.parameters),
      core::format_count(report.learned_tokens), core::counted(report.tokens, "token"), core::counted(report.examples, "example"),
      report.format, core::counted(patient.steps, "step"),
      spec.train.batch_tokens ? core::counted(*spec.train.batch_tokens, "token")
                              : core::counted(spec.train.batch_size * spec.train.grad_accum, "example"),
      epochs, epochs == 1 ? "" : "s",
      patient.lr == 0 ? "that a range test finds" : fmt::format("of {:g}", patient.lr),
      patient.warmup > 0 ? ", reached after " + core::counted(patient.warmup, "step") : "",
      sets.validation ? "; held out for validation: " + core::counted(sets.validation->report.examples, "example")
                      : "");
  result.histogram = histogram_text(sets.train);
  result.shown = inspect_data(sets.train, *tokenizer, spec.examples, marks);
  result.json = {{"healthy", result.healthy()},
                 {"findings", to_json(result.findings)},
                 {"summary", result.summary},
                 {"steps", patient.steps},
                 {"report", result.shown.json["report"]},
                 {"examples", result.shown.json["examples"]}};
  return result;
}

}  // namespace lowrank::recipes
