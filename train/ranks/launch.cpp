#include "lowrank/train/ranks/launch.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::train {
namespace {

constexpr int kMostRanks = 4096;
constexpr int kSlurmPort = 15000, kSlurmPorts = 1000;  // one of these, by the job's number

/// Reads variables and keeps what it read.
class Reader {
 public:
  Reader(const Variables& variables, Launch& launch) : variables_(variables), launch_(launch) {}

  bool has(const char* name) const {
    const char* value = variables_(name);
    return value != nullptr && *value != '\0';
  }
  std::string text(const char* name) {
    if (!has(name)) {
      throw ConfigError(std::string(name) + " is missing in the environment, where " + launch_.by +
                        " is to say how the ranks meet: set it, or unset the others to train in one process");
    }
    launch_.variables.emplace_back(name, variables_(name));
    return variables_(name);
  }
  int number(const char* name, int low, int high) {
    const std::string value = text(name);
    int result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size() || result < low || result > high) {
      throw ConfigError(std::string(name) + " in the environment is '" + core::printable(value) +
                        "'; expected a number from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return result;
  }
  std::optional<int> number_if_there(const char* name, int low) {
    return has(name) ? std::optional(number(name, low, kMostRanks)) : std::nullopt;
  }
  std::string text_if_there(const char* name) { return has(name) ? text(name) : ""; }

  void place(const char* rank, const char* ranks) {
    launch_.ranks = number(ranks, 1, kMostRanks);
    launch_.rank = number(rank, 0, kMostRanks);
    if (launch_.rank < launch_.ranks) return;
    throw ConfigError(std::string(rank) + " is " + std::to_string(launch_.rank) + " and " + ranks + " " +
                      std::to_string(launch_.ranks) + " in the environment: ranks count from 0");
  }
  void local(const char* rank, const char* ranks) {
    launch_.local_rank = number_if_there(rank, 0);
    launch_.local_ranks = number_if_there(ranks, 1);
  }
  void master(const char* host = "MASTER_ADDR", const char* port = "MASTER_PORT") {
    launch_.host = text(host);
    launch_.port = number(port, 1, 65535);
  }

 private:
  const Variables& variables_;
  Launch& launch_;
};

void read_torchrun(Reader& read, Launch& launch) {
  launch.by = "torchrun";
  read.place("RANK", "WORLD_SIZE");
  read.local("LOCAL_RANK", "LOCAL_WORLD_SIZE");
  read.master();
  launch.agent_store = read.text_if_there("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.job = read.text_if_there("TORCHELASTIC_RUN_ID") + "/" + read.text_if_there("TORCHELASTIC_RESTART_COUNT");
}

void read_mpi(Reader& read, Launch& launch, const char* rank, const char* ranks) {
  read.place(rank, ranks);
  // Without MPI in the build the ranks can still meet where the caller says.
  launch.engine = Engine::kMpi;
  if (!read.has("MASTER_ADDR") || !read.has("MASTER_PORT")) return;
  read.master();
}

void read_slurm(Reader& read, Launch& launch) {
  launch.by = "Slurm's srun";
  read.place("SLURM_PROCID", "SLURM_STEP_NUM_TASKS");
  launch.local_rank = read.number_if_there("SLURM_LOCALID", 0);
  launch.job = read.text("SLURM_JOB_ID") + "/" + read.text_if_there("SLURM_STEP_ID") + "/" +
               read.text_if_there("SLURM_RESTART_COUNT");
  if (read.has("MASTER_ADDR")) {
    read.master();
    return;
  }
  launch.host = first_host(read.text(read.has("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST"));
  launch.port = kSlurmPort + static_cast<int>(std::strtol(launch.job.c_str(), nullptr, 10) % kSlurmPorts);
}

void read_kubeflow(Reader& read, Launch& launch) {
  launch.by = "Kubeflow (PET_*, one process a node)";
  read.place("PET_NODE_RANK", "PET_NNODES");
  launch.local_rank = 0;
  launch.local_ranks = 1;
  read.master("PET_MASTER_ADDR", "PET_MASTER_PORT");
}

void read_by_hand(Reader& read, Launch& launch) {
  launch.by = "variables of the environment";
  read.place("RANK", "WORLD_SIZE");
  read.local("LOCAL_RANK", "LOCAL_WORLD_SIZE");
  if (launch.ranks > 1) read.master();
}

}  // namespace

std::string Launch::text() const {
  std::string list;
  for (const auto& [name, value] : variables) list += (list.empty() ? "" : ", ") + name + " " + value;
  return by + " (" + list + ")";
}

Variables process_variables() {
  return [](const char* name) { return static_cast<const char*>(std::getenv(name)); };
}

std::string first_host(const std::string& list) {
  const std::size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  const std::size_t end = list.find_first_of(",-]", bracket);
  return list.substr(0, bracket) + list.substr(bracket + 1, end == std::string::npos ? end : end - bracket - 1);
}

std::optional<Launch> read_launch(const Variables& variables) {
  Launch launch;
  Reader read(variables, launch);
  // The innermost launcher first: torchrun inside a Slurm step starts workers of its own.
  if (read.has("TORCHELASTIC_RUN_ID") && read.has("RANK")) {
    read_torchrun(read, launch);
  } else if (read.has("OMPI_COMM_WORLD_SIZE")) {
    launch.by = "Open MPI's mpirun";
    read_mpi(read, launch, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
    read.local("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE");
  } else if (read.has("SLURM_STEP_NUM_TASKS") && read.has("SLURM_PROCID")) {
    read_slurm(read, launch);
  } else if (read.has("PMI_RANK") && read.has("PMI_SIZE")) {
    launch.by = "a launcher of MPI (PMI)";
    read_mpi(read, launch, "PMI_RANK", "PMI_SIZE");
    read.local("MPI_LOCALRANKID", "MPI_LOCALNRANKS");
  } else if (read.has("RANK") && read.has("WORLD_SIZE")) {
    read_by_hand(read, launch);
  } else if (read.has("PET_NODE_RANK") && read.has("PET_NNODES") && read.has("PET_MASTER_ADDR")) {
    read_kubeflow(read, launch);
  } else if (read.has("WORLD_SIZE") && std::string_view(variables("WORLD_SIZE")) != "1") {
    read_by_hand(read, launch);  // that names what is missing: each process would train by itself, all into one folder
  } else {
    return std::nullopt;
  }
  if (launch.ranks == 1) return std::nullopt;
  return launch;
}

Launch part_of(const Launch& launch, int size) {
  if (launch.ranks % size != 0)
    throw ConfigError("`ranks-per-trial`: " + std::to_string(size) + " does not divide the " +
                      std::to_string(launch.ranks) + " ranks of this launch: start a multiple of " +
                      std::to_string(size) + ", or give a number that divides " + std::to_string(launch.ranks));
  if (launch.ranks == size) return launch;
  Launch part;
  part.by = launch.by;
  part.rank = launch.rank % size;
  part.ranks = size;
  part.first = launch.rank - part.rank;
  part.job = launch.job + "/from rank " + std::to_string(part.first);
  return part;
}

std::int64_t read_restarts(const Variables& variables) {
  for (const char* name : {"TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"}) {
    const char* value = variables(name);
    if (value == nullptr) continue;
    const long count = std::strtol(value, nullptr, 10);
    if (count > 0) return count;
  }
  return 0;
}

}  // namespace lowrank::train
