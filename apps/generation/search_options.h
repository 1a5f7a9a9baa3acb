// The options of generate that search by beams instead of drawing.
#pragma once

#include <optional>

#include "lowrank/apps/console/options.h"
#include "lowrank/models/beam_search.h"

namespace lowrank::apps {

void append_search_options(Verb& verb);
/// Nothing without --beams. ConfigError beside options that draw.
std::optional<models::BeamOptions> search_options(const Options& options);

}  // namespace lowrank::apps
