// The options of `finetune` against overfitting and forgetting, and what is reported of both after training.
#pragma once

#include <optional>

#include "lowrank/apps/training/run_report.h"
#include "lowrank/apps/training/training_run.h"

namespace lowrank::apps {

std::vector<OptionSpec> regularisation_options();
/// --delta-l1 … --min-gain into the trainer's options; nothing where the verb lacks them.
void read_regularisation(const Options& options, train::TrainOptions& training);
/// --max-forgetting "5%" or 0.05 as a share; nothing where it is not given. ConfigError without --general-data, or with
/// --method full.
std::optional<double> max_forgetting(const Options& options);

/// ConfigError for options on ΔW that an adapter's form does not have: with DoRA it is no product of the factors, with
/// PiSSA and OLoRA not of the trained ones alone, and where whole tensors or the embedding are trained they would leave
/// those out; and for penalties that would pull trained copies of whole tensors to zero.
void check_update_options(const Options& options, const lora::Adapter& adapter);

/// Into the report's findings: the gap between training and validation loss of what was trained, and ‖ΔW‖/‖W‖ of each
/// adapted layer (`adapter` null: the gap alone).
void report_overfitting(RunReport& report, const train::TrainResult& result, train::CausalLm& objective,
                        const lora::Adapter* adapter);

/// --max-forgetting: the scale of ΔW is chosen on the choosing half of the general data and the validation data, folded
/// into the adapter, evaluated (`result.after`) and saved over the one in `out`. ConfigError when no scale keeps the
/// bound.
void bound_forgetting(RunReport& report, train::TrainResult& result, train::CausalLm& objective,
                      models::DecoderImpl& decoder, lora::Adapter& adapter, const data::Dataset& choosing, double bound,
                      const std::filesystem::path& out, core::ProgressObserver& progress);

}  // namespace lowrank::apps
