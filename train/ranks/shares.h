// What ranks keep for each other of a frozen base, over TCP connections of its own: each rank asks each other on one, and
// answers it on another, so that ranks need not be at the same place of a run.
#pragma once

#include <memory>
#include <vector>

#include "lowrank/kernels/sharded_base.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/ranks/peer.h"
#include "lowrank/train/ranks/watch.h"

namespace lowrank::train {

/// On every rank of `sync` at once. Its fetch() throws what `watch` knows; `watch` must outlive it. RankLost.
std::unique_ptr<kernels::ShareExchange> share_exchange(GradSync& sync, const std::vector<Peer>& peers, Watch& watch);

}  // namespace lowrank::train
