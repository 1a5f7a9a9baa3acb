// Counts the calls of a process that change files, and kills it, fails the call, or cuts the power at the n-th. Linked into a
// test program it is told what to do by the functions below; preloaded into the command (LD_PRELOAD) by its environment:
//
//   LOWRANK_FAULT_UNDER=FOLDER   only what stands beneath it counts
//   LOWRANK_FAULT=ACTION:N       at the N-th call: kill; ENOSPC, EDQUOT, EIO (that call fails, and all later writes), EINTR (that
//                                call alone), short (a write takes half); power (what was not synced is gone, names and bytes),
//                                bytes (names stay, bytes that were not synced are gone), mixed (a part of the names is gone)
//   LOWRANK_FAULT_COUNT=FILE     the number of calls, written at the process's end
//   LOWRANK_CLOCK_BACK=SECONDS   the clock goes back by so much at every look at it
#pragma once

namespace lowrank_test {

/// From now on the n-th (from 1) write, fsync, rename, mkdir, unlink … kills this process at its entry. 0: off.
void kill_at_call(int n);
/// From now on the n-th such call fails with `error` (errno), and all later writes too while `lasting`.
void fail_at_call(int n, int error, bool lasting);
/// Calls counted since the last of the above, or since count_calls().
void count_calls();
int calls_counted();

}  // namespace lowrank_test
