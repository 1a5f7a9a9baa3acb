// Ranks that meet over TCP, each with its own connections and watch, in threads of one process; what launchers say.
#include "lowrank/train/ranks/rank_group.h"

#include <array>
#include <chrono>
#include <latch>
#include <map>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/train/ranks/meeting.h"
#include "memory_ranks.h"
#include "message.h"
#include "same_bytes.h"
#include "tcp_ranks.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

using Environment = std::map<std::string, std::string>;

std::optional<train::Launch> launch_of(const Environment& environment) {
  return train::read_launch([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

struct Summed {
  at::Tensor gradients;
  train::StepTotals totals;
};

Summed sum_over(train::GradSync& sync, std::int64_t n) {
  Summed summed{gradients_of(sync.rank(), n), totals_of(sync.rank())};
  sync.sum(summed.gradients, summed.totals);
  return summed;
}

}  // namespace

TEST_CASE("ranks over TCP sum to the bytes of ranks in memory, on every rank", "[unit]") {
  for (const int ranks : {2, 3, 4}) {
    for (const std::int64_t n : {1, 2, 1000, 300'001}) {
      INFO(ranks << " ranks, " << n << " gradients");
      std::vector<Summed> expected(static_cast<std::size_t>(ranks)), found(static_cast<std::size_t>(ranks));
      const auto into = [n](std::vector<Summed>& all) {
        return [&all, n](train::GradSync& sync) { all[static_cast<std::size_t>(sync.rank())] = sum_over(sync, n); };
      };
      on_ranks(ranks, into(expected));
      over_tcp(ranks, into(found));
      for (const Summed& one : found) {
        CHECK(torch::equal(one.gradients, expected[0].gradients));
        CHECK(one.totals.loss == expected[0].totals.loss);
        CHECK(one.totals.count == expected[0].totals.count);
        CHECK(one.totals.tokens == expected[0].totals.tokens);
        CHECK(one.totals.metrics == expected[0].totals.metrics);
      }
    }
  }
}

TEST_CASE("ranks over TCP tell each other texts of any length, in the order of the ranks", "[unit]") {
  over_tcp(3, [](train::RankGroup& group) {
    for (const std::size_t length : std::initializer_list<std::size_t>{0, 1, 240, 241, 3'000'000}) {
      const auto text = [&](int rank) {
        return std::string(length * static_cast<std::size_t>(rank), static_cast<char>('a' + rank));
      };
      const std::vector<std::string> all = group.gather(text(group.rank()));
      for (int r = 0; r < 3; ++r)
        if (all.at(static_cast<std::size_t>(r)) != text(r)) throw InternalError("another text came");
    }
  });
}

namespace {

/// A base of two layers that the ranks of a group hold together, opened.
struct HeldTogether {
  explicit HeldTogether(train::RankGroup& group)
      : base(std::make_shared<kernels::ShardedBase>(group.exchange())) {
    for (int i = 0; i < 2; ++i) {
      whole.push_back(gradients_of(i, 40 * 30).view({40, 30}));
      const auto [first, last] = base->share(40);
      weights.emplace_back(base->add(i, whole.back().narrow(0, first, last - first), 40, false));
    }
    base->open();
  }
  void check(std::size_t i) const {
    if (!torch::equal(weights[i].rows(0, 40, at::kFloat), whole[i])) throw InternalError("other rows came");
  }
  std::shared_ptr<kernels::ShardedBase> base;
  std::vector<at::Tensor> whole;
  std::vector<kernels::BaseWeight> weights;
};

}  // namespace

TEST_CASE("ranks over TCP give each other what they hold of a base, whenever one asks", "[unit]") {
  for (const int ranks : {2, 3, 4}) {
    INFO(ranks << " ranks");
    over_tcp(ranks, [](train::RankGroup& group) {
      if (!group.on_one_machine()) throw InternalError("threads of one process are on one machine");
      const HeldTogether held(group);
      for (int pass = 0; pass < 3 * group.rank(); ++pass) {  // rank 0 asks for nothing, and answers
        held.check(0);
        held.check(1);
        const at::Tensor ids = torch::tensor({39, 0, 17, 20, 20}, at::kLong);
        if (!torch::equal(held.weights[0].rows_at(ids), held.whole[0].index_select(0, ids)))
          throw InternalError("other rows came");
      }
      if ((held.base->traffic().bytes == 0) != (group.rank() == 0)) throw InternalError("bytes are not counted");
      group.gather("done");
    });
  }
}

TEST_CASE("a rank that ends while its share of the base is asked for is named", "[unit]") {
  const int port = free_port();
  std::array<std::string, 3> messages;
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      const auto group = train::join(by_hand(r, 3, port), {3, 20});
      const HeldTogether held(*group);
      held.check(0);
      group->gather("all have begun");
      if (r == 2) return;
      messages[static_cast<std::size_t>(r)] = message_of<train::RankLost>([&] {
        for (;;) held.weights[0].rows_at(torch::tensor({39, 0}, at::kLong));
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int r = 0; r < 2; ++r) {
    INFO(messages[static_cast<std::size_t>(r)]);
    CHECK(contains(messages[static_cast<std::size_t>(r)], "rank 2 ("));
  }
}

TEST_CASE("training over TCP leaves the bytes of training in memory", "[unit]") {
  const auto results = [](const auto& run_on) {
    TempDir out;
    run_on([&](train::GradSync& sync) {
      Toy toy;
      Recorder recorder;
      train::Trainer(toy, toy_training(), out.path(), {}, nullptr, &sync).run(recorder);
    });
    return results_of(out.path());
  };
  const Results memory = results([](const auto& work) { on_ranks(2, work); });
  const Results tcp = results([](const auto& work) { over_tcp(2, work); });
  CHECK(differing(memory, tcp) == "");
}

TEST_CASE("a rank that ends without a word, hangs, or stops with an error is named on all others", "[unit]") {
  enum class End { kDies, kHangs, kFails };
  for (const End end : {End::kDies, End::kHangs, End::kFails}) {
    for (const int who : {0, 2}) {
      INFO("rank " << who << (end == End::kDies ? " dies" : end == End::kHangs ? " hangs" : " fails"));
      const int port = free_port();
      std::array<std::string, 3> messages;
      std::atomic<int> told{0};
      std::vector<std::thread> threads;
      for (int r = 0; r < 3; ++r) {
        threads.emplace_back([&, r] {
          const train::Launch launch = by_hand(r, 3, port);
          if (r == who && end == End::kHangs) {  // connected, and silent
            const train::Met met = train::meet(launch, train::place_of(launch), true, 20, 20);
            while (told < 2) std::this_thread::sleep_for(std::chrono::milliseconds(10));
            return;
          }
          const auto group = train::join(launch, {3, 20});
          if (r == who) {
            if (end == End::kFails) group->fail(ErrorKind::kData, "row 7 is a riddle");
            return;
          }
          messages[static_cast<std::size_t>(r)] = message_of<Error>([&] {
            for (;;) group->gather("here");
          });
          ++told;
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (int r = 0; r < 3; ++r) {
        if (r == who) continue;
        const std::string& message = messages[static_cast<std::size_t>(r)];
        INFO(message);
        CHECK(contains(message, "rank " + std::to_string(who) + " ("));
        CHECK(contains(message, ", pid " + std::to_string(::getpid()) + ")"));
        CHECK(contains(message, end == End::kFails  ? "stopped: row 7 is a riddle"
                                : end == End::kDies ? "has ended, or its connection broke"
                                                    : "has given no sign of life for"));
      }
    }
  }
}

TEST_CASE("ranks meet again in groups, which talk within and are called as the launcher calls them", "[unit]") {
  std::array<std::vector<std::string>, 4> texts;
  std::array<std::string, 4> names, lost;
  std::array<Summed, 4> found, expected;
  std::latch all_summed(4);  // else rank 2 may hear of rank 3's end while it still sums
  const auto at = [](int rank) { return static_cast<std::size_t>(rank); };
  const auto summed = [](train::GradSync& sync, int first) {
    Summed own{gradients_of(first + sync.rank(), 1000), totals_of(first + sync.rank())};
    sync.sum(own.gradients, own.totals);
    return own;
  };
  over_tcp(4, [&](train::RankGroup& whole) {
    const train::Launch part = train::part_of(by_hand(whole.rank(), 4, 0), 2);
    const auto group = train::join_part(whole, part, {20, 20});
    const int own = whole.rank();
    texts[at(own)] = group->gather(std::to_string(own));
    names[at(own)] = group->name(1);
    found[at(own)] = summed(*group, part.first);
    all_summed.count_down();
    for (int i = 0; i < 2000 && !all_summed.try_wait(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (own == 3) return;  // without a word
    if (own != 2) return group->leave();
    lost[2] = message_of<train::RankLost>([&] {
      for (;;) group->gather("here");
    });
  });
  for (const int first : {0, 2})
    on_ranks(2, [&, first](train::GradSync& sync) { expected[at(first + sync.rank())] = summed(sync, first); });
  for (int r = 0; r < 4; ++r) {
    const int first = r / 2 * 2;
    CHECK(texts[at(r)] == std::vector<std::string>{std::to_string(first), std::to_string(first + 1)});
    CHECK(names[at(r)].starts_with("rank " + std::to_string(first + 1) + " ("));
    CHECK(torch::equal(found[at(r)].gradients, expected[at(r)].gradients));
    CHECK(found[at(r)].totals.metrics == expected[at(r)].totals.metrics);
  }
  CHECK(contains(lost[2], "rank 3 ("));
}

TEST_CASE("groups of ranks are those after each other, and of one size", "[unit]") {
  const train::Launch launch = by_hand(3, 4, 5000);
  const train::Launch pair = train::part_of(launch, 2), alone = train::part_of(launch, 1), all = train::part_of(launch, 4);
  CHECK((pair.rank == 1 && pair.ranks == 2 && pair.first == 2));
  CHECK((alone.rank == 0 && alone.ranks == 1 && alone.first == 3));
  CHECK((all.rank == 3 && all.ranks == 4 && all.first == 0 && all.port == 5000));
  CHECK(train::part_of(by_hand(1, 4, 5000), 2).job != pair.job);
  const std::string refused = message_of<ConfigError>([&] { train::part_of(launch, 3); });
  CHECK(contains(refused, "`ranks-per-trial`: 3 does not divide the 4 ranks of this launch"));
  CHECK(contains(message_of<ConfigError>([&] { train::part_of(launch, 8); }), "8 does not divide the 4 ranks"));
}

TEST_CASE("who does not come, or comes as another, is named", "[unit]") {
  const int port = free_port();
  CHECK(contains(message_of<train::RankLost>([&] { train::join(by_hand(0, 3, port), {1, 0.3}); }),
                 "ranks 1, 2 of 3 did not come within 0 s"));
  CHECK(contains(message_of<train::RankLost>([&] { train::join(by_hand(1, 3, port), {1, 0.3}); }),
                 "rank 0 could not be met at localhost:"));
  std::string first, other;
  std::thread thread([&] { other = message_of<ConfigError>([&] { train::join(by_hand(2, 3, port), {1, 20}); }); });
  first = message_of<ConfigError>([&] { train::join(by_hand(0, 2, port), {1, 20}); });
  thread.join();
  CHECK(contains(first, "was told of 3 ranks and rank 0 of 2"));
  CHECK(first == other);
}

TEST_CASE("what launchers say of the ranks is read", "[unit]") {
  CHECK_FALSE(launch_of({}));
  CHECK_FALSE(launch_of({{"WORLD_SIZE", "1"}, {"RANK", "0"}}));
  CHECK_FALSE(launch_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}}));  // sbatch's own script

  const auto hand = launch_of({{"RANK", "1"},
                               {"WORLD_SIZE", "4"},
                               {"LOCAL_WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "node1"},
                               {"MASTER_PORT", "29500"}});
  REQUIRE(hand);
  CHECK((hand->rank == 1 && hand->ranks == 4 && hand->local_ranks == 2));
  CHECK((hand->host == "node1" && hand->port == 29500));
  CHECK(hand->engine == train::Engine::kTcp);
  CHECK(contains(hand->text(), "RANK 1"));

  const auto torchrun = launch_of({{"TORCHELASTIC_RUN_ID", "none"},
                                   {"TORCHELASTIC_RESTART_COUNT", "2"},
                                   {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                   {"RANK", "0"},
                                   {"WORLD_SIZE", "2"},
                                   {"MASTER_ADDR", "a"},
                                   {"MASTER_PORT", "1"},
                                   {"SLURM_STEP_NUM_TASKS", "1"},
                                   {"SLURM_PROCID", "0"}});
  REQUIRE(torchrun);
  CHECK((torchrun->by == "torchrun" && torchrun->agent_store && torchrun->job == "none/2"));

  const auto ompi = launch_of(
      {{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
  REQUIRE(ompi);
  CHECK((ompi->engine == train::Engine::kMpi && ompi->rank == 3 && ompi->ranks == 8 && ompi->local_ranks == 4));
  const auto pmi = launch_of({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  REQUIRE(pmi);
  CHECK(pmi->engine == train::Engine::kMpi);

  const auto slurm = launch_of({{"SLURM_PROCID", "2"},
                                {"SLURM_STEP_NUM_TASKS", "4"},
                                {"SLURM_LOCALID", "0"},
                                {"SLURM_JOB_ID", "31234"},
                                {"SLURM_STEP_ID", "0"},
                                {"SLURM_STEP_NODELIST", "gpu[03-04,9]"}});
  REQUIRE(slurm);
  CHECK((slurm->host == "gpu03" && slurm->port == 15234 && slurm->rank == 2 && slurm->job == "31234/0/"));
  CHECK(train::first_host("a,b") == "a");
  CHECK(train::first_host("rack1-node[7]") == "rack1-node7");
  CHECK(train::first_host("login,gpu[1-2]") == "login");

  const auto kubeflow = launch_of({{"PET_NNODES", "2"},
                                   {"PET_NODE_RANK", "1"},
                                   {"PET_NPROC_PER_NODE", "auto"},
                                   {"PET_MASTER_ADDR", "job-0"},
                                   {"PET_MASTER_PORT", "29400"}});
  REQUIRE(kubeflow);
  CHECK((kubeflow->rank == 1 && kubeflow->ranks == 2));
  CHECK((kubeflow->host == "job-0" && kubeflow->port == 29400));

  const auto refused = [](const Environment& environment) {
    return message_of<ConfigError>([&] { launch_of(environment); });
  };
  CHECK(contains(refused({{"RANK", "1"}, {"WORLD_SIZE", "2"}}), "MASTER_ADDR is missing in the environment"));
  CHECK(contains(refused({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), "RANK is 2 and WORLD_SIZE 2"));
  CHECK(contains(refused({{"WORLD_SIZE", "4"}}), "RANK is missing in the environment"));
  CHECK_FALSE(launch_of({{"WORLD_SIZE", "1"}}));
  CHECK_FALSE(launch_of({{"RANK", "16"}}));  // of somebody's own
  CHECK(contains(refused({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), "RANK in the environment is 'x'"));
  CHECK(contains(refused({{"PET_NNODES", "1:4"}, {"PET_NODE_RANK", "0"}, {"PET_MASTER_ADDR", "a"}}),
                 "PET_NNODES in the environment is '1:4'"));

  const auto requeued = [](const char* name) { return std::string(name) == "SLURM_RESTART_COUNT" ? "12" : nullptr; };
  CHECK(train::read_restarts(requeued) == 12);
  CHECK(train::read_restarts([](const char*) -> const char* { return nullptr; }) == 0);
}

TEST_CASE("threads of ranks that share cores are shared out", "[unit]") {
  const auto peer = [](const char* machine, std::vector<int> cores) {
    train::Peer one;
    one.machine = machine;
    one.cores = std::move(cores);
    return one;
  };
  const std::vector<train::Peer> peers = {peer("a", {0, 1, 2, 3}), peer("a", {0, 1, 2, 3}), peer("b", {0, 1, 2, 3}),
                                          peer("c", {0}), peer("c", {1}), peer("d", {0}), peer("d", {0}),
                                          peer("e", {0, 1}), peer("e", {2, 3})};
  const std::vector<int> expected = {2, 2, 4, 1, 1, 1, 1, 2, 2};
  for (int r = 0; r < 9; ++r) CHECK(train::fair_threads(peers, r) == expected[static_cast<std::size_t>(r)]);
  CHECK(train::ranks_here(peers, 1) == 2);
}
