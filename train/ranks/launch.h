// What a launcher (mpirun, srun, torchrun, a Kubernetes job, or a person) says of the ranks in environment variables.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lowrank::train {

enum class Engine { kTcp, kMpi };

struct Launch {
  std::string by;  // "torchrun", "Open MPI's mpirun", "Slurm's srun", "variables set by hand"
  int rank = 0, ranks = 1;
  int first = 0;  // of a part of the ranks that were started: which of these is its rank 0
  std::optional<int> local_rank, local_ranks;  // among the processes of its machine
  Engine engine = Engine::kTcp;
  std::string host;          // kTcp: where rank 0 is met
  int port = 0;              // the same
  bool agent_store = false;  // host:port is the store of torchrun's agent, which says where rank 0 is
  std::string job;           // what tells this start from another one on the same machines
  std::vector<std::pair<std::string, std::string>> variables;  // that were read, for the opening lines

  /// "torchrun (RANK 1, WORLD_SIZE 4, ...)"
  std::string text() const;
};

/// The value of an environment variable; null where it is not set.
using Variables = std::function<const char*(const char* name)>;
/// Those of this process.
Variables process_variables();

/// Nothing where no launcher started this process, or it started this one alone. ConfigError for variables that
/// contradict each other or are missing.
std::optional<Launch> read_launch(const Variables& variables);

/// Of the ranks of a launch the `size` after each other that this one works together with, which meet over TCP; the
/// launch itself where that is all. ConfigError where `size` does not divide them.
Launch part_of(const Launch& launch, int size);

/// How often the launcher has started this job again: TORCHELASTIC_RESTART_COUNT, SLURM_RESTART_COUNT; 0 without any.
std::int64_t read_restarts(const Variables& variables);

/// The first host of Slurm's compressed list: "node3" of "node[3-5,9]".
std::string first_host(const std::string& list);

}  // namespace lowrank::train
