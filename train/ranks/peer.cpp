#include "lowrank/train/ranks/peer.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "lowrank/core/files.h"
#include "lowrank/core/own_binary.h"

namespace lowrank::train {
namespace {

std::vector<int> cores_of_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return {0};
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

/// The kernel's number of this boot; the host's name where there is none.
std::string machine_of_process(const std::string& host) {
  try {
    const std::string id = core::read_file(core::FileRef::named("/proc/sys/kernel/random/boot_id"));
    return id.substr(0, id.find('\n'));
  } catch (const Error&) {
    return host;
  }
}

}  // namespace

Peer this_process(int rank) {
  Peer own;
  own.rank = rank;
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  own.host = host.data();
  own.pid = ::getpid();
  own.machine = machine_of_process(own.host);
  own.cores = cores_of_process();
  static const std::string program = core::sha256_file(core::FileRef::named(core::own_binary()));
  own.program = program;
  return own;
}

core::Json to_json(const Peer& peer) {
  return {{"rank", peer.rank},       {"first", peer.first}, {"host", peer.host},
          {"pid", peer.pid},         {"machine", peer.machine}, {"cores", peer.cores},
          {"program", peer.program}, {"address", peer.address}, {"port", peer.port}};
}

Peer peer_from_json(const core::JsonView& json) {
  Peer peer;
  peer.rank = static_cast<int>(json.at("rank").as_int(0, 1 << 20));
  peer.first = static_cast<int>(json.at("first").as_int(0, 1 << 20));
  peer.host = json.at("host").as_string();
  peer.pid = json.at("pid").as_int();
  peer.machine = json.at("machine").as_string();
  const core::JsonView cores = json.at("cores");
  for (std::size_t i = 0; i < cores.size(); ++i) peer.cores.push_back(static_cast<int>(cores.at(i).as_int(0, 1 << 20)));
  peer.program = json.at("program").as_string();
  peer.address = json.at("address").as_string();
  peer.port = static_cast<int>(json.at("port").as_int(0, 65535));
  return peer;
}

int fair_threads(const std::vector<Peer>& peers, int rank) {
  const Peer& own = peers.at(static_cast<std::size_t>(rank));
  double threads = 0;
  for (const int core : own.cores) {
    int users = 0;
    for (const Peer& peer : peers) {
      if (peer.machine != own.machine) continue;
      users += std::find(peer.cores.begin(), peer.cores.end(), core) != peer.cores.end() ? 1 : 0;
    }
    threads += 1.0 / users;
  }
  return std::max(1, static_cast<int>(std::floor(threads + 1e-9)));
}

int ranks_before_here(const std::vector<Peer>& peers, int rank) {
  return ranks_here({peers.begin(), peers.begin() + rank + 1}, rank) - 1;
}

int ranks_here(const std::vector<Peer>& peers, int rank) {
  const std::string& machine = peers.at(static_cast<std::size_t>(rank)).machine;
  return static_cast<int>(
      std::count_if(peers.begin(), peers.end(), [&](const Peer& peer) { return peer.machine == machine; }));
}

}  // namespace lowrank::train
