// A frozen base that the ranks hold together: what the field `shard-base` asks for, of a run and of an evaluation.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/kernels/sharded_base.h"
#include "lowrank/recipes/spec/fields.h"
#include "lowrank/train/grad_sync.h"

namespace lowrank::recipes {

/// FieldError where `when` asks for shares of a single process, of a base in codes, or on a device.
void check_shares(const Fields& fields, const std::string& when, const std::string& base_dtype, at::Device device,
                  const train::GradSync& sync);

/// For the load to come; null: each rank has the base whole. Where "auto" keeps it whole `remarks` say why.
std::shared_ptr<kernels::ShardedBase> shares_among(train::GradSync& sync, const std::string& when,
                                                   std::vector<std::pair<std::string, std::string>>& remarks);

/// For the opening lines: what is kept here, and what comes from the others.
std::pair<std::string, std::string> describe(const kernels::ShardedBase& shares, const train::GradSync& sync);

/// At the end, on every rank: returns when none needs this one's share any more. Null: at once.
void part(kernels::ShardedBase* shares, train::GradSync& sync);

}  // namespace lowrank::recipes
