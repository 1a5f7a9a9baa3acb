// Counts the file-changing system calls of this test program and kills the process, or fails the call, at the n-th.
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
