// What ranks know of each other.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"

namespace lowrank::train {

struct Peer {
  int rank = 0;
  int first = 0;            // of a part of the ranks: what its rank 0 is called
  std::string host;         // its name
  std::int64_t pid = 0;
  std::string machine;      // equal for processes of one machine, whatever their names and networks
  std::vector<int> cores;   // that it may use
  std::string program;      // SHA-256 of what runs
  std::string address;      // where others reach it; empty: where they reach rank 0
  int port = 0;             // on which it takes their connections

  std::string name() const {
    return "rank " + std::to_string(first + rank) + " (" + host + ", pid " + std::to_string(pid) + ")";
  }
};

/// This process.
Peer this_process(int rank);
core::Json to_json(const Peer& peer);
Peer peer_from_json(const core::JsonView& json);

/// Another rank ended, hangs or cannot be reached: the same command again goes on from the last checkpoint.
struct RankLost : Error {
  explicit RankLost(const std::string& m) : Error(ErrorKind::kIo, m) {}
};

/// Threads for this process where all ranks use the cores they may at once: of each core the part that falls to it.
int fair_threads(const std::vector<Peer>& peers, int rank);
/// Ranks on the machine of this one.
int ranks_here(const std::vector<Peer>& peers, int rank);
/// How many of these have a lower rank.
int ranks_before_here(const std::vector<Peer>& peers, int rank);

}  // namespace lowrank::train
