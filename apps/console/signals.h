// Signals: SIGINT, SIGTERM, SIGHUP, SIGXCPU and SIGUSR1 (a scheduler's warning) ask the run to stop; a second SIGINT or
// SIGTERM leaves at once; SIGBUS (a mapped file was cut) says so.
#pragma once

#include <atomic>

namespace lowrank::apps {

/// Installs the handlers of a process that runs a verb: SIGXFSZ and SIGPIPE ignored (writes then fail with errno),
/// SIGBUS one line and exit 74, SIGUSR1 the exit code that asks to be run again.
void install_signal_handlers();

/// From now on the first of these signals sets the returned flag to its number instead of ending the process. A second
/// SIGINT or SIGTERM ends it at once; the others may come again and again (SIGXCPU does, every second). SIGHUP that the
/// process was started to ignore (nohup) stays ignored. Where they are caught already, the same flag as it is.
std::atomic<int>& catch_stop_signals();
/// From now on they do what they do by default again.
void release_stop_signals();

/// What a process that a signal has stopped exits with: 128 + its number, and for SIGUSR1 75 (EX_TEMPFAIL of
/// sysexits.h: the same command again goes on), so that a job script knows when to requeue.
int exit_code_of(int signal);

}  // namespace lowrank::apps
