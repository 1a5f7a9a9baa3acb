// How bytes go between ranks: over TCP connections of our own, or over MPI.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/train/grad_sync.h"
#include "lowrank/train/ranks/launch.h"
#include "lowrank/train/ranks/sockets.h"
#include "lowrank/train/ranks/watch.h"

struct LowrankNccl;

namespace lowrank::train {

/// Bytes to or from one other rank, in this process's memory, or in its device's where a wire lies between devices. What two ranks send each other arrives in the order it was given.
struct Transfer {
  int peer = 0;
  bool send = false;
  char* bytes = nullptr;
  std::size_t count = 0;
};

class Wire {
 public:
  virtual ~Wire() = default;
  virtual std::string name() const = 0;
  /// All of these at the same time; returns when all are done. Throws what `watch` knows.
  virtual void move(const std::vector<Transfer>& transfers, Watch& watch) = 0;
  /// All ranks have done their work.
  virtual void leave() {}
};

/// `sockets`: a connection to each other rank, by rank.
std::unique_ptr<Wire> tcp_wire(std::vector<Socket> sockets);

/// MPI, from the module lowrank_mpi.so, which is loaded for it alone.
class MpiWire : public Wire {
 public:
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// Rank 0's text, before there is a watch.
  virtual std::string from_first(const std::string& own, Clock::time_point deadline) = 0;
};
/// Null where this build has no such module. IoError where it cannot be loaded or MPI does not start.
std::unique_ptr<MpiWire> mpi_wire();

/// NCCL, between the GPUs of the ranks: what is moved has addresses of `device`. From the module lowrank_nccl.so, or `nccl`.
/// Every rank calls it at the same place. Null, on all, where a rank has no such module or two share a GPU: `why`, a sentence
/// without its full stop. IoError where NCCL does not start.
std::unique_ptr<Wire> nccl_wire(GradSync& ranks, at::Device device, const std::string& machine, Watch& watch, const LowrankNccl* nccl,
                                std::string& why);

}  // namespace lowrank::train
