// How the console shows which tokens are learned.
#pragma once

#include "lowrank/recipes/inspection/inspect.h"

namespace lowrank::apps {

/// Dimmed where stdout_is_styled(), else in brackets.
recipes::Marks token_marks();

}  // namespace lowrank::apps
