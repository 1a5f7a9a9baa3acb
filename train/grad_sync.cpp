#include "lowrank/train/grad_sync.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <exception>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/train/identity.h"

namespace lowrank::train {

namespace {

constexpr int kNamed = 4;  // differences in a message

}  // namespace

GradSync& or_alone(GradSync* sync) {
  static OneRank alone;
  return sync != nullptr ? *sync : alone;
}

std::vector<double> gather(GradSync& sync, const std::vector<double>& own) {
  if (sync.ranks() == 1) return own;
  std::string bytes(own.size() * sizeof(double), '\0');
  if (!own.empty()) std::memcpy(bytes.data(), own.data(), bytes.size());
  std::vector<double> all;
  for (const std::string& part : sync.gather(bytes)) {
    if (part.size() % sizeof(double) != 0)
      throw ConfigError("a rank sent something else than the numbers that are expected here: start all ranks with the same command and program");
    const std::size_t before = all.size();
    all.resize(before + part.size() / sizeof(double));
    if (!part.empty()) std::memcpy(all.data() + before, part.data(), part.size());
  }
  return all;
}

std::int64_t largest(GradSync& sync, std::int64_t own) {
  std::int64_t most = own;
  for (const std::string& text : sync.gather(std::to_string(own))) {
    std::int64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    most = std::max(most, number);
  }
  return most;
}

std::string from_first(GradSync& sync, const std::string& own) { return sync.gather(own).front(); }

void together(GradSync& sync, const std::function<void()>& work) {
  if (sync.ranks() == 1) return work();
  std::exception_ptr error;
  std::string told;  // empty: done; else the kind of the error and its message
  try {
    work();
  } catch (const Error& caught) {
    error = std::current_exception();
    told = static_cast<char>('0' + static_cast<int>(caught.kind())) + std::string(caught.what());
  } catch (const std::exception& caught) {
    error = std::current_exception();
    told = static_cast<char>('0' + static_cast<int>(ErrorKind::kInternal)) + std::string(caught.what());
  }
  const std::vector<std::string> all = sync.gather(told);
  if (error) std::rethrow_exception(error);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    throw Error(static_cast<ErrorKind>(all[rank][0] - '0'),
                sync.name(static_cast<int>(rank)) + " stopped: " + all[rank].substr(1));
  }
}

void require_equal(GradSync& sync, const core::Json& own) {
  if (sync.ranks() == 1) return;
  const std::vector<std::string> all = sync.gather(core::json_text(own));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const core::Json first = core::parse_json(all[0], "rank 0"), other = core::parse_json(all[rank], "a rank");
    std::string list;
    int count = 0;
    const std::string here = "on rank " + std::to_string(rank);
    for (const std::string& difference : identity_differences(first, other, "on rank 0", here)) {
      if (++count <= kNamed) list += (list.empty() ? "" : "; ") + difference;
    }
    if (count > kNamed) list += "; and " + std::to_string(count - kNamed) + " more";
    throw ConfigError(sync.name(static_cast<int>(rank)) + " does not have what rank 0 has (" + list +
                      "): start all ranks with the same command, program and files");
  }
}

Share share_of(std::size_t count, const GradSync& sync) {
  const auto rank = static_cast<std::size_t>(sync.rank()), ranks = static_cast<std::size_t>(sync.ranks());
  return {count * rank / ranks, count * (rank + 1) / ranks};
}

data::PlanOptions dealt(data::PlanOptions plan, const GradSync& sync) {
  plan.ranks = sync.ranks();
  return plan;
}

}  // namespace lowrank::train
