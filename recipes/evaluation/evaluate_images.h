// `evaluate --task image-classification`.
#pragma once

#include "lowrank/apps/console/terminal.h"

namespace lowrank::apps {

/// Scores of the model, or of the base and its adapter, on sets of pictures. The exit code.
int evaluate_images(const Options& options, const Console& console);

}  // namespace lowrank::apps
