// What a verb needs and the hub has: offered to be downloaded, never without being asked for.
#pragma once

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// Runs the verb. Where it ends because a model, an adapter or a data set is not here, a person at a terminal is asked
/// whether to pull it, and it runs again; elsewhere, and after a no, the error goes on as it came: its sentence offers
/// the command.
int run_offering_pulls(const Verb& verb, const Options& options);

}  // namespace lowrank::apps
