// Signals: SIGINT and SIGTERM ask the run to stop; a second one leaves at once; SIGBUS (a mapped file was cut) says so.
#pragma once

#include <atomic>

namespace lowrank::apps {

/// Installs the handlers of a process that runs a verb: SIGXFSZ and SIGPIPE ignored (writes then fail with errno),
/// SIGBUS one line and exit 74.
void install_signal_handlers();

/// From now on SIGINT and SIGTERM set the returned flag to their number instead of ending the process; the second
/// one ends it at once with 128 + its number.
std::atomic<int>& catch_stop_signals();

}  // namespace lowrank::apps
