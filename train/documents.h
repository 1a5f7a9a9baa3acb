// The documents of a step in words, for the message of a run that stops.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lowrank/data/dataset.h"

namespace lowrank::train {

/// Where these examples came from ("corpus.txt, train.jsonl line 12"), each named once, eight at most.
std::string documents_of(const data::Dataset& dataset, std::span<const std::uint32_t> examples);

}  // namespace lowrank::train
