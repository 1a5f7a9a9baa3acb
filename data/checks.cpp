#include "lowrank/data/checks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <deque>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "lowrank/core/beside.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/script.h"
#include "lowrank/data/seen.h"
#include "lowrank/data/stored_copies.h"

namespace lowrank::data {
namespace {

constexpr double kTruncated = 0.05, kNothingLearned = 0.05, kDuplicates = 0.05, kShared = 0.05, kOneSource = 0.95;
constexpr std::size_t kRun = 13;  // tokens, as contamination is usually looked for
constexpr double kRunsKept = 4e6;        // about, of a set: of more a part is looked at
constexpr double kRate = 30;  // times a usual one, either way
constexpr std::size_t kScripts = 2000;                         // examples whose letters are looked at
constexpr std::int64_t kFewest = 5;                            // examples that somebody wanted to have an effect
constexpr double kLeastOfScript = 0.002, kMostOfScript = 0.03;  // of the examples: less is a word, more is learned

std::string share(std::int64_t part, std::int64_t all) {
  return core::format_count(part) + " of " + core::format_count(all);
}

std::size_t step_of(std::size_t n, std::size_t at_most) {
  return at_most == 0 ? 1 : std::max<std::size_t>(1, (n + at_most - 1) / at_most);
}

/// Examples that are looked at: all, or so many, spread over the set.
template <typename Use>
void for_each(const Dataset& dataset, std::size_t at_most, const Use& use) {
  const std::size_t n = dataset.examples.size(), step = step_of(n, at_most);
  ReadAlong along(dataset.storage, step > 1);
  for (std::size_t i = 0; i < n; i += step) {
    const Example example = dataset.examples[i];
    use(example);
    along.read(example);
  }
}

/// "12 of 40 examples": of those that were looked at, where that were not all.
std::int64_t looked_at(const Dataset& dataset, std::size_t at_most) {
  const std::size_t n = dataset.examples.size(), step = step_of(n, at_most);
  return static_cast<std::int64_t>((n + step - 1) / step);
}

bool is_text(const Dataset& dataset) { return dataset.report.format == "text"; }

bool is_end(const Patient& p, TokenId id) {
  return std::find(p.end_ids.begin(), p.end_ids.end(), id) != p.end_ids.end() || p.tokenizer->is_special(id);
}

/// Runs of learned tokens, as [begin, end).
std::vector<std::pair<std::size_t, std::size_t>> learned_runs(const Example& example) {
  std::vector<std::pair<std::size_t, std::size_t>> runs;
  const std::uint8_t *const all = example.learned.begin(), *const end = example.learned.end();
  const auto place = [all](const std::uint8_t* at) { return static_cast<std::size_t>(at - all); };
  for (const std::uint8_t* at = all; at != end;) {
    const std::uint8_t* const begin = std::find_if(at, end, [](std::uint8_t one) { return one != 0; });
    at = std::find(begin, end, std::uint8_t{0});
    if (begin != at) runs.emplace_back(place(begin), place(at));
  }
  return runs;
}

bool says_something(const Patient& p, const Example& example) {
  constexpr std::size_t kFirst = 8;  // tokens: mostly these say it
  for (const auto& [begin, end] : learned_runs(example)) {
    std::vector<TokenId> said;
    for (std::size_t i = begin; i < end; ++i) {
      if (!is_end(p, example.ids[i])) said.push_back(example.ids[i]);
      if (said.size() != kFirst && i + 1 < end) continue;
      if (p.tokenizer->decode(said).find_first_not_of(" \t\r\n") != std::string::npos) return true;
    }
  }
  return false;
}

void check_answers(const Patient& p, std::vector<Finding>& found) {
  const ReadReport& report = p.train->report;
  const std::int64_t all = report.examples + report.all_masked;
  if (report.all_masked > 0 && static_cast<double>(report.all_masked) > kNothingLearned * static_cast<double>(all)) {
    found.push_back(
        {"answers", 2 * report.all_masked > all,
         share(report.all_masked, all) +
             " examples have nothing to learn: no answer, or none within `seq-len`; raise `seq-len`, or look at "
             "what the rows are keyed with"});
  }
  if (is_text(*p.train) || p.learns == Learns::kLabels) return;
  std::int64_t empty = 0, looked = 0;
  for_each(*p.train, p.at_most, [&](const Example& example) {
    ++looked;
    empty += says_something(p, example) ? 0 : 1;
  });
  if (empty + report.empty > 0) {
    found.push_back({"answers", false,
                     share(empty + report.empty, looked + report.all_masked + report.empty) +
                         " answers are empty; the model learns to say nothing, so take those rows out"});
  }
}

void check_ends(const Patient& p, std::vector<Finding>& found) {
  if (is_text(*p.train) || p.learns == Learns::kLabels) return;
  std::int64_t answers = 0, ended = 0;
  for_each(*p.train, p.at_most, [&](const Example& example) {
    for (const auto& [begin, end] : learned_runs(example)) {
      if (end == example.ids.size() && example.cut > 0) continue;
      ++answers;
      const std::size_t last = end > begin + 4 ? end - 4 : begin;  // behind the end token may stand a line's end
      for (std::size_t i = last; i < end; ++i) {
        if (!is_end(p, example.ids[i])) continue;
        ++ended;
        break;
      }
    }
  });
  if (answers > 0 && 10 * ended < answers) {
    found.push_back({"end-of-turn", ended == 0,
                     share(answers - ended, answers) +
                         " answers end in no special token, so that the model does not learn to stop; " +
                         (p.layout != nullptr && p.layout->has_template()
                              ? "the tokenizer does not know the template's end of a turn as one token"
                              : "the tokenizer has no end token")});
  }
  if (p.layout == nullptr || !p.train->report.chat_template) return;
  const std::optional<TokenId> end = p.layout->turn_end(*p.tokenizer);
  if (end && std::find(p.end_ids.begin(), p.end_ids.end(), *end) == p.end_ids.end()) {
    found.push_back(
        {"end-of-turn", false,
         "answers end with " + core::printable(p.tokenizer->id_to_token(*end), 40) +
             ", at which the model's generation does not stop; finetune adds it to the generation_config.json "
             "that it saves"});
  }
}

void check_bos(const Patient& p, std::vector<Finding>& found) {
  if (!p.tokenizer->bos()) return;
  std::int64_t twice = 0;
  for_each(*p.train, p.at_most, [&](const Example& example) {
    twice += example.ids.size() > 1 && example.ids[0] == *p.tokenizer->bos() && example.ids[1] == example.ids[0];
  });
  if (twice == 0) return;
  const std::int64_t looked = looked_at(*p.train, p.at_most);
  found.push_back({"double-bos", 2 * twice > looked,
                   share(twice, looked) + " examples begin with " +
                       core::printable(p.tokenizer->id_to_token(*p.tokenizer->bos()), 40) +
                       " twice; take it out of the rows or of the template"});
}

/// Tags of a text that look like special tokens: <|…|> and <word_word>.
std::set<std::string> tags_in(std::string_view text) {
  std::set<std::string> tags;
  for (std::size_t open = text.find('<'); open != text.npos; open = text.find('<', open + 1)) {
    const std::size_t close = text.find('>', open);
    if (close == text.npos || close - open > 40) continue;
    const std::string_view tag = text.substr(open, close + 1 - open);
    const bool piped = tag.size() > 4 && tag[1] == '|' && tag[tag.size() - 2] == '|';
    const bool turn = tag == "<start_of_turn>" || tag == "<end_of_turn>";
    if ((piped || turn) && tag.find_first_of(" \n{}%'\"") == tag.npos) tags.emplace(tag);
  }
  return tags;
}

void check_special_tokens(const Patient& p, std::vector<Finding>& found) {
  if (p.layout == nullptr || !p.train->report.chat_template) return;
  Conversation probe;
  probe.turns = core::Json::array({{{"role", "user"}, {"content", "a"}}, {{"role", "assistant"}, {"content", "b"}}});
  std::string text;
  try {
    text = p.layout->whole(probe).texts.front().text;
  } catch (const DataError&) {
    return;
  }
  std::string split;
  for (const std::string& tag : tags_in(text)) {
    const std::size_t pieces = p.tokenizer->encode(tag, false).size();
    if (pieces > 1)
      split += (split.empty() ? "" : ", ") + core::printable(tag, 40) + " (" + std::to_string(pieces) + ")";
  }
  if (split.empty()) return;
  found.push_back({"special-tokens", false,
                   "the template's tags are split by the tokenizer into several tokens: " + split +
                       "; template and tokenizer are hardly of one model"});
}

void check_truncation(const Patient& p, std::vector<Finding>& found) {
  const ReadReport& report = p.train->report;
  const std::int64_t all = report.examples + report.all_masked;
  if (static_cast<double>(report.truncated) <= kTruncated * static_cast<double>(all)) return;
  std::string within;
  if (p.learns != Learns::kLabels) {
    std::int64_t answers = 0, cut = 0;
    for_each(*p.train, p.at_most, [&](const Example& example) {
      cut += example.cut > 0;
      answers += example.cut > 0 && example.learned.back() != 0;
    });
    if (cut > 0) within = ", " + share(answers, cut) + " of them within an answer";
  }
  found.push_back({"truncation", false,
                   share(report.truncated, all) + " examples are longer than `seq-len` and were cut (" +
                       core::format_count(report.truncated_tokens) + " tokens)" + within + "; raise `seq-len` as far as the model has positions"});
}

std::uint64_t hash_of(const TokenId* begin, std::size_t count) {
  std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a over the ids
  for (std::size_t i = 0; i < count; ++i) hash = (hash ^ static_cast<std::uint32_t>(begin[i])) * 1099511628211ULL;
  return hash;
}

/// Hashes of the runs of kRun tokens that are all learned; of every `sampled` of them the one whose hash says so. The hash goes on from run to
/// run: that of one is a polynomial of its ids.
std::vector<std::uint64_t> runs_of(const Example& example, std::uint64_t sampled) {
  constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15U;
  constexpr std::uint64_t kOldest = [] {  // kBase to the power of kRun
    std::uint64_t power = 1;
    for (std::size_t i = 0; i < kRun; ++i) power *= kBase;
    return power;
  }();
  const auto number = [](TokenId id) { return std::uint64_t{static_cast<std::uint32_t>(id)} + 1; };
  const TokenId* const ids = example.ids.data();
  std::vector<std::uint64_t> hashes;
  for (const auto& [begin, end] : learned_runs(example)) {
    std::uint64_t sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
      sum = sum * kBase + number(ids[i]);
      if (i >= begin + kRun) sum -= kOldest * number(ids[i - kRun]);
      if (i + 1 < begin + kRun) continue;
      std::uint64_t hash = (sum ^ sum >> 32) * 0xD6E8FEB86659FD93U;  // its low bits alone are those of the last ids
      hash ^= hash >> 32;
      if (sampled == 1 || hash % sampled == 0) hashes.push_back(hash);
    }
  }
  return hashes;
}

/// runs_of() an example, which are asked for in `seen`.
template <typename Use>
void for_each_run(const Example& example, std::uint64_t sampled, const Seen& seen, const Use& use) {
  const std::vector<std::uint64_t> hashes = runs_of(example, sampled);
  for (const std::uint64_t hash : hashes) seen.expect(hash);
  for (const std::uint64_t hash : hashes) use(hash);
}

void check_leakage(const Patient& p, std::vector<Finding>& found) {
  if (p.others.empty()) return;
  // What is held out is looked for in the training data, not the other way round: it is the smaller set by far.
  double tokens = 0;
  for (const auto& [name, set] : p.others) {
    for_each(*set, p.at_most, [&](const Example& example) { tokens += static_cast<double>(example.counted()); });
  }
  const std::uint64_t sampled = static_cast<std::uint64_t>(tokens / kRunsKept) + 1;
  Seen whole, runs, whole_found, runs_found;  // of the others, and those of them that the training data has
  runs.reserve(static_cast<std::size_t>(tokens) / sampled);
  for (const auto& [name, set] : p.others) {
    for_each(*set, p.at_most, [&](const Example& example) {
      whole.add(hash_of(example.ids.data(), example.ids.size()));
      for_each_run(example, sampled, runs, [&](std::uint64_t run) { runs.add(run); });
    });
  }
  const auto mark = [](const Seen& known, Seen& seen, std::uint64_t hash) {
    if (known.contains(hash)) seen.add(hash);
  };
  for_each(*p.train, p.at_most, [&](const Example& example) {
    mark(whole, whole_found, hash_of(example.ids.data(), example.ids.size()));
    for_each_run(example, sampled, runs, [&](std::uint64_t run) { mark(runs, runs_found, run); });
  });
  for (const auto& [name, set] : p.others) {
    std::int64_t same = 0, near = 0;
    for_each(*set, p.at_most, [&](const Example& example) {
      if (whole_found.contains(hash_of(example.ids.data(), example.ids.size()))) {
        ++same;
        return;
      }
      std::int64_t shared = 0, all = 0;
      for_each_run(example, sampled, runs_found, [&](std::uint64_t run) {
        ++all;
        shared += runs_found.contains(run) ? 1 : 0;
      });
      near += all > 0 && 10 * shared > 9 * all;
    });
    const std::int64_t count = looked_at(*set, p.at_most);
    if (same > 0) {
      found.push_back({"leakage", 2 * same > count,
                       share(same, count) + " examples of the " + name +
                           " data are in the training data too: what is measured on them says nothing; take them out"});
    }
    const bool chance = near < kFewest && 2 * near <= count;  // a few short answers are alike in every set
    if (static_cast<double>(near) > kShared * static_cast<double>(count) && !chance) {
      found.push_back({"leakage", false,
                       share(near, count) + " examples of the " + name +
                           " data share nine tenths of their runs of 13 learned tokens with the training data" +
                           (sampled == 1 ? "" : " (one run in " + std::to_string(sampled) + " was looked at)")});
    }
  }
}

void check_documents(const Patient& p, std::vector<Finding>& found) {
  const ReadReport& report = p.train->report;
  if (static_cast<double>(report.duplicates) > kDuplicates * static_cast<double>(report.documents)) {
    found.push_back({"duplicates", false,
                     share(report.duplicates, report.documents) +
                         " documents were there before; they are learned as often as they come"});
  }
  std::map<std::string, std::int64_t> tokens;
  std::int64_t all = 0;
  for_each(*p.train, p.at_most, [&](const Example& example) {
    const auto file = p.train->documents[example.document].where.file();
    const std::int64_t counted = example.counted();
    tokens[file == nullptr ? "" : *file] += counted;
    all += counted;
  });
  // Folders of documents have many files; a few sources are what somebody put together.
  if (tokens.size() < 2 || tokens.size() > 20) return;
  const auto most =
      std::max_element(tokens.begin(), tokens.end(), [](auto& a, auto& b) { return a.second < b.second; });
  if (static_cast<double>(most->second) <= kOneSource * static_cast<double>(all)) return;
  found.push_back({"sources", false,
                   core::printable(most->first, 200) + " has " + share(most->second, all) +
                       " of the learned tokens: the other sources hardly count"});
}

/// By the scripts of the letters alone: languages that share a script are not told apart.
void check_scripts(const Patient& p, std::vector<Finding>& found) {
  std::map<Script, std::int64_t> examples;
  std::int64_t all = 0;
  for_each(*p.train, p.at_most == 0 ? kScripts : std::min(p.at_most, kScripts), [&](const Example& example) {
    const Script script = main_script(p.tokenizer->decode(example.ids));
    if (script == Script::kNone) return;
    ++examples[script];
    ++all;
  });
  for (const auto& [script, count] : examples) {
    const double part = static_cast<double>(count) / static_cast<double>(all);
    if (count < kFewest || part < kLeastOfScript || part > kMostOfScript) continue;
    found.push_back({"scripts", false,
                     share(count, all) + " examples that were looked at are in " + script_name(script) +
                         " letters, nearly all others are not: so little of a language is hardly learned; give its "
                         "rows more weight (PATH*W), or leave them out"});
  }
}

/// What is learned is what follows a token on which the adapter acts.
void check_invocation(const Patient& p, std::vector<Finding>& found) {
  if (p.invocation.empty()) return;
  std::int64_t without = 0, looked = 0;
  for_each(*p.train, p.at_most, [&](const Example& example) {
    const auto begin = example.ids.data(), end = begin + example.ids.size();
    const auto at = std::find_end(begin, end, p.invocation.begin(), p.invocation.end());
    bool learns = false;
    for (auto i = static_cast<std::size_t>(at - begin) + 1; i < example.ids.size(); ++i) learns = learns || example.learned[i] != 0;
    ++looked;
    without += learns ? 0 : 1;
  });
  if (without == 0) return;
  std::string text;
  for (const std::int64_t id : p.invocation) text += p.tokenizer->id_to_token(static_cast<TokenId>(id));
  found.push_back({"invocation", without == looked,
                   share(without, looked) + " examples have nothing to learn behind the tokens from which the adapter acts (" +
                       core::printable(text, 60) + ", its alora_invocation_tokens): they change nothing; put these tokens before "
                       "the answer"});
}

void check_schedule(const Patient& p, std::vector<Finding>& found) {
  if (p.steps > 0 && p.warmup >= p.steps) {
    found.push_back({"warmup", true,
                     "the run has " + core::format_count(p.steps) + " steps and warms up for " +
                         core::format_count(p.warmup) + ": the learning rate is never reached; lower `warmup`"});
  }
  if (p.lr <= 0 || p.parameters <= 0) return;
  const double usual = usual_rate(p.parameters, p.full);
  if (p.lr <= kRate * usual && p.lr >= usual / kRate) return;
  std::array<char, 32> text{};
  const std::string usual_text(text.data(),
                               static_cast<std::size_t>(std::snprintf(text.data(), text.size(), "%.1g", usual)));
  found.push_back({"learning-rate", false,
                   std::string("`lr` is ") + (p.lr > usual ? "high" : "low") + " for " +
                       (p.full ? "all weights" : "an adapter") + " of a model of " + core::format_count(p.parameters) +
                       " parameters; usual is about " + usual_text});
}

/// The examples of a set of the token cache that are looked at, held in memory: each check goes over them, and they lie far apart.
Dataset held(const Dataset& set, std::size_t at_most) {
  Dataset result;
  result.documents = set.documents;
  result.report = set.report;
  const StoredCopies copies(set.storage);
  for (std::size_t i = 0; i < set.examples.size(); i += step_of(set.examples.size(), at_most)) {
    Example example = set.examples[i];
    copies.own(example);
    result.examples.push_back(std::move(example));
  }
  return result;
}

std::vector<Finding> found_in(const Patient& patient) {
  std::vector<Finding> found;
  if (patient.learns != Learns::kNothing) {
    std::vector<Finding> leaked;
    core::Beside leakage(patient.threads, [&] { check_leakage(patient, leaked); });
    check_answers(patient, found);
    check_ends(patient, found);
    check_bos(patient, found);
    check_special_tokens(patient, found);
    check_truncation(patient, found);
    check_documents(patient, found);
    check_scripts(patient, found);
    check_invocation(patient, found);
    leakage.wait();
    found.insert(found.end(), std::make_move_iterator(leaked.begin()), std::make_move_iterator(leaked.end()));
  }
  return found;
}

}  // namespace

double usual_rate(std::int64_t parameters, bool full) {
  // 2e-4 for an adapter (1e-5 for all weights) of a model of seven thousand million, more for smaller ones.
  return parameters <= 0 ? 0 : (full ? 1e-5 : 2e-4) * std::pow(7e9 / static_cast<double>(parameters), 0.25);
}

std::vector<Finding> examine(const Patient& patient) {
  return with_schedule(examine_data(patient), patient);
}

std::vector<Finding> examine_data(const Patient& patient) {
  if (patient.train->storage == nullptr || patient.at_most == 0) return found_in(patient);
  const Dataset train = held(*patient.train, patient.at_most);
  Patient at_hand = patient;
  at_hand.train = &train;
  std::deque<Dataset> others;
  for (auto& [name, set] : at_hand.others) {
    if (set->storage != nullptr) set = &others.emplace_back(held(*set, patient.at_most));
  }
  return found_in(at_hand);
}

std::vector<Finding> with_schedule(std::vector<Finding> found, const Patient& patient) {
  check_schedule(patient, found);
  std::stable_partition(found.begin(), found.end(), [](const Finding& finding) { return finding.fatal; });
  return found;
}

std::vector<std::pair<std::int64_t, std::int64_t>> length_histogram(const Dataset& dataset) {
  std::vector<std::pair<std::int64_t, std::int64_t>> bars;
  for (std::size_t i = 0; i < dataset.examples.size(); ++i) {
    const auto length = static_cast<std::int64_t>(dataset.examples.length(i));
    std::size_t bar = 0;
    std::int64_t bound = 16;
    for (; bound < length; bound *= 2) ++bar;
    while (bars.size() <= bar) bars.emplace_back(std::int64_t{16} << bars.size(), 0);
    ++bars[bar].second;
  }
  return bars;
}

}  // namespace lowrank::data
