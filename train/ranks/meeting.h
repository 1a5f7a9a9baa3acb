// How ranks find each other at the start: all come to rank 0, which tells each where the others are.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lowrank/train/ranks/launch.h"
#include "lowrank/train/ranks/peer.h"
#include "lowrank/train/ranks/sockets.h"

namespace lowrank::train {

struct Met {
  std::vector<Peer> peers;      // by rank
  std::vector<Socket> control;  // rank 0: to each other rank; others: [0], to rank 0
  std::vector<Socket> data;     // to each other rank; empty where the bytes go another way
};

/// Where rank 0 is met: it publishes "HOST:PORT" ("HOST,HOST:PORT": by one of them), the others fetch it.
struct Place {
  int port = 0;  // that rank 0 listens on; 0: any
  std::function<void(const std::string& address)> publish;
  std::function<std::string(Clock::time_point deadline)> fetch;
};

/// On every rank. RankLost naming what did not come within `seconds`; ConfigError where ranks run different programs,
/// say that they are the same rank, or differ in how many they are. `data`: connections between all ranks too, which
/// the kernel gives up after `timeout` seconds without an answer.
Met meet(const Launch& launch, const Place& place, bool data, double seconds, double timeout);

/// host:port of the launch itself, or of the store of torchrun's agent.
Place place_of(const Launch& launch);

}  // namespace lowrank::train
