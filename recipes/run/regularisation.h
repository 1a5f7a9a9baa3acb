// What is checked of the fields against overfitting and forgetting, and what is reported of both after training.
#pragma once

#include <optional>

#include "lowrank/recipes/run/run_report.h"
#include "lowrank/recipes/spec/specs.h"
#include "lowrank/train/causal_lm.h"

namespace lowrank::recipes {

/// max_forgetting "5%" or "0.05" as a share; nothing where it is not given. FieldError without general data, or where
/// every weight is trained.
std::optional<double> max_forgetting(const RegularisationSpec& spec, const DataSpec& data, const AdapterSpec& adapter,
                                     const Fields& fields);

/// The weight of the routers' load-balancing loss, 0 where it is off. FieldError where one is asked for and the model has
/// no routers with such a loss.
double router_aux_loss(double asked, const models::DecoderImpl& decoder, const Fields& fields);

/// FieldError for fields on ΔW that an adapter's form does not have: with DoRA it is no product of the factors, with
/// PiSSA and OLoRA not of the trained ones alone, and where whole tensors or the embedding are trained they would leave
/// those out; and for penalties that would pull trained copies of whole tensors to zero.
void check_update_fields(const Fields& fields, const lora::Adapter& adapter);

/// Into the report's findings: the gap between training and validation loss of what was trained, and ‖ΔW‖/‖W‖ of each
/// adapted layer (`adapter` null: the gap alone).
void report_overfitting(RunReport& report, const train::TrainResult& result, train::CausalLm& objective,
                        const lora::Adapter* adapter);

/// max_forgetting: the scale of ΔW is chosen on the choosing half of the general data and the validation data, folded
/// into the adapter, evaluated (`result.after`) and saved over the one in `out`. ConfigError when no scale keeps the
/// bound.
void bound_forgetting(RunReport& report, train::TrainResult& result, train::CausalLm& objective,
                      models::DecoderImpl& decoder, lora::Adapter& adapter, const data::Dataset& choosing, double bound,
                      const std::filesystem::path& out, core::ProgressObserver& progress, train::GradSync& sync);

}  // namespace lowrank::recipes
