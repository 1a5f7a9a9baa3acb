#include "lowrank/recipes/compress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/card_parts.h"
#include "lowrank/recipes/run/chat_files.h"
#include "lowrank/recipes/run/out_folder.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/spec/settings.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

constexpr const char* kWeights = "adapter_model.safetensors";
constexpr int kTries = 4;

/// The adapter on its base.
struct Opened {
  models::LoadedModel model;
  lora::Adapter adapter;
};

Opened open_adapter(const CompressSpec& spec, core::ProgressObserver& progress) {
  const fs::path directory = spec.adapter;
  models::LoadOptions load;
  if (spec.dtype != "auto")
    load.dtype = spec.dtype == "float32" ? models::DTypeChoice::kFloat32 : models::DTypeChoice::kBFloat16;
  Opened opened;
  load.adapter = directory;
  opened.model = models::load(spec.model.value_or(directory.string()), load, &progress);
  std::vector<std::string> notes;
  opened.adapter = lora::load_peft(opened.model.decoder->slot_table(), directory, &notes);
  for (const std::string& note : notes) progress.warning(note);
  if (auto own = models::adapter_tokenizer(directory, opened.model.decoder->config()))
    opened.model.tokenizer = std::move(own);
  if (!opened.adapter.token_rows().empty() || opened.adapter.config().lora_bias || opened.model.grown ||
      !opened.adapter.config().alora_invocation_tokens.empty()) {
    throw ConfigError(fmt::format(
        "{} trains more than low-rank updates of linear layers ({}), and compress finds ranks for those alone; merge "
        "the adapter into its base instead (lowrank merge)",
        directory.string(),
        opened.adapter.config().lora_bias                               ? "a bias beside every B"
        : !opened.adapter.config().alora_invocation_tokens.empty() ? "tokens that it acts on alone"
                                                                    : "rows of the vocabulary"));
  }
  if (!opened.adapter.whole().empty() || opened.adapter.adapts_embedding()) {
    throw ConfigError(fmt::format(
        "{} trains more than low-rank updates of linear layers ({}), and compress finds ranks for those "
        "alone; merge the "
        "adapter into its base instead (lowrank merge)",
        directory.string(),
        opened.adapter.whole().empty() ? "the embedding" : opened.adapter.whole().front()->path() + ", whole"));
  }
  return opened;
}

/// The data in two halves: ranks are chosen on one, and the figure given is measured on the other.
struct Halves {
  data::Dataset choosing, held_back;
};

Halves read_halves(const CompressSpec& spec, const Fields& fields, const models::LoadedModel& model,
                   core::ProgressObserver& progress) {
  DataSpec data;
  data.data = spec.data;
  data.format = spec.format;
  data.seq_len = spec.seq_len;
  data::DataOptions reading;
  reading.format = data::parse_format(spec.format);
  reading.files = file_options(spec.columns, spec.layout, data::Part::kTrain);
  reading.seq_len = sequence_length(data, fields, model.decoder->config().max_positions);
  reading.chat = chat_layout({}, *model.tokenizer, model.path, spec.adapter);
  const data::Dataset all = spec.source ? spec.source(*model.tokenizer, reading)
                                        : data::load(paths_of(spec.data), *model.tokenizer, reading, &progress);
  data::Split parts = data::split(all, 0.5, static_cast<std::uint64_t>(spec.seed));
  if (parts.validation.examples.empty() || parts.train.examples.empty()) {
    fields.fail("data", fmt::format("has {}, too few to be parted: ranks are chosen on one half and measured on "
                                    "the other; give more text, or a smaller `seq-len`",
                                    core::counted(static_cast<std::int64_t>(all.examples.size()), "piece")));
  }
  return {std::move(parts.train), std::move(parts.validation)};
}

struct Compressed {
  std::vector<std::int64_t> ranks;
  eval::Change kl;  // on the held-back half
  std::int64_t tries = 0;
};

/// Ranks chosen on one half until the other half is within the bound too.
Compressed within_bound(double bound, Opened& opened, const std::vector<lora::RankTerms>& terms, const Halves& data,
                        core::ProgressObserver& progress) {
  double target = bound;
  Compressed found;
  while (found.tries < kTries) {
    ++found.tries;
    const eval::RankChoice choice =
        eval::choose_ranks(*opened.model.decoder, opened.adapter, terms, data.choosing, target, &progress);
    found.ranks = choice.ranks;
    found.kl = eval::divergence(*opened.model.decoder, opened.adapter, terms, choice.ranks, data.held_back);
    if (found.kl.mean <= bound) return found;
    progress.note(fmt::format("chosen within {:.4g} nats a token, the held-back half has {:.4g}; tightening", target,
                              found.kl.mean));
    target *= 0.95 * bound / found.kl.mean;
  }
  throw DataError(
      fmt::format("`max-kl` {:g} was not reached on the half of the data that was held back: {:.4g} nats a token after "
                  "{} tries; give a larger bound, or more text of one kind",
                  bound, found.kl.mean, kTries));
}

std::string model_card(const CompressSpec& spec, const std::string& command, const lora::Adapter& adapter,
                       const std::string& facts) {
  const lora::LoraConfig& config = adapter.config();
  const std::string& base = config.base_model_name_or_path;
  return fmt::format(
      "{}# {} adapter for {}, compressed\n\nMade of {} with `lowrank` {} by\n\n{}\n{}\n"
      "Use it with PEFT (`PeftModel.from_pretrained(base, this_folder)`) or {}.\n",
      card_front(base, "text-generation"), config.use_dora ? "DoRA" : "LoRA", card_text(shown_name(base)),
      card_text(shown_name(spec.adapter)), LOWRANK_VERSION, card_code(without_folders(command)), facts,
      card_inline(fmt::format("lowrank generate {} --adapter THIS_FOLDER --prompt ...", core::shell_quoted(shown_name(base)))));
}

}  // namespace

void describe(Fields& t, CompressSpec& s) {
  t.group("Compression");
  t.add("max-kl", &s.max_kl, "X", "Bound on KL(before ‖ after), mean nats a token");
  t.add("rank", &s.rank, "N", "Instead: the same rank for every module", {.range = {{1, 65536}}});
  t.group("Data");
  t.add("data", &s.data, "PATH...", "Text or rows: half to choose by, half to measure", {.required = true});
  t.add("format", &s.format, "NAME", "What the rows are", {.choices = format_field().choices});
  describe_columns(t, s.columns);
  describe_layout(t, s.layout);
  t.add("seq-len", &s.seq_len, "N", "Tokens a piece or row has at most [min(1024, the model's positions)]",
        {.range = {{2, 1 << 24}}});
  t.add("seed", &s.seed, "N", "Seed of the halves and of the drawn tokens");
  t.group("Adapter");
  t.add("model", &s.model, "MODEL", "The base, where not the one that the adapter names");
  t.group("Output");
  t.add("out", &s.out, "DIR", "Folder for the compressed adapter; new or empty", {.required = true});
  t.group("System");
  const FieldInfo dtype = dtype_field(), threads = threads_field();
  t.add(dtype.name, &s.dtype, dtype.value, dtype.help, {.choices = dtype.choices});
  t.add(threads.name, &s.threads, threads.value, threads.help, {.range = threads.range});
}

CompressResult compress(const CompressSpec& asked, CompressObserver& observer) {
  CompressSpec spec = asked;
  const Fields fields = fields_of(spec);
  const fs::path out = spec.out;
  if (spec.max_kl.has_value() == spec.rank.has_value()) {
    throw ConfigError(
        "lowrank compress: give one of `max-kl` X, a bound in nats a token, and `rank` N, the same rank for all");
  }
  if (spec.max_kl && !(*spec.max_kl > 0 && std::isfinite(*spec.max_kl)))
    fields.fail("max-kl", fmt::format("is {}; it must be above 0, in nats a token (0.01, say)", *spec.max_kl));
  fields.check();
  if (out.empty()) fields.fail("out", "is missing; name a folder for the result");
  const core::OutputLock lock(out);
  refuse_used_folder(out);
  kernels::Runtime runtime = kernels::runtime();
  if (spec.threads) runtime.threads = static_cast<std::int32_t>(*spec.threads);
  const kernels::RuntimeScope scope(runtime);

  spec.adapter = adapter_folder(asked.adapter, "adapter").string();
  Opened opened = open_adapter(spec, observer);
  lora::Adapter& adapter = opened.adapter;
  adapter.require_text_alone("a compressed one");
  models::DecoderImpl& decoder = *opened.model.decoder;
  const Halves data = read_halves(spec, fields, opened.model, observer);
  const std::uint64_t bytes_before = fs::file_size(fs::path(spec.adapter) / kWeights);
  const std::int64_t choosing = data.choosing.report.learned_tokens, held_back = data.held_back.report.learned_tokens;
  observer.on_compress({opened.model, adapter, choosing, held_back});

  const std::vector<lora::RankTerms> terms =
      eval::terms_by_divergence(decoder, adapter, data.choosing, static_cast<std::uint64_t>(spec.seed), &observer);
  Compressed found;
  if (spec.rank) {
    for (const lora::RankTerms& one : terms) found.ranks.push_back(std::min(*spec.rank, one.count()));
    found.kl = eval::divergence(decoder, adapter, terms, found.ranks, data.held_back);
    found.tries = 1;
  } else {
    found = within_bound(*spec.max_kl, opened, terms, data, observer);
  }
  std::int64_t largest = 0;
  bool unchanged = true;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    unchanged = unchanged && found.ranks[i] == terms[i].rank;
    largest = std::max(largest, terms[i].rank);
  }
  if (unchanged)
    observer.note(fmt::format("every module keeps its whole rank, so that the result says what the adapter said; give {}",
                              spec.rank ? fmt::format("a `rank` below {}", largest) : "a larger `max-kl`"));
  const double whole = eval::divergence(decoder, adapter, nullptr, data.held_back).mean;

  CompressResult result;
  lora::Adapter smaller = lora::attach_terms(decoder.slot_table(), adapter.config(), terms, found.ranks, "compressed");
  Json ranks = Json::object();
  for (std::size_t i = 0; i < terms.size(); ++i) {
    ranks[terms[i].path] = found.ranks[i];
    result.ranks.emplace_back(terms[i].path, found.ranks[i]);
    result.kept += found.ranks[i] == 0 ? 0 : 1;
  }
  result.divergence = fmt::format(
      "KL(before ‖ after) {:.4g} nats a token on {} tokens that took no part in choosing the ranks{} (the whole "
      "adapter "
      "moves the base by {:.4g})",
      std::max(0.0, found.kl.mean), core::format_count(held_back),
      found.tries > 1 ? fmt::format(", but to tighten the bound {} times", found.tries - 1) : "", whole);
  core::StagedDirectory staged(out);
  lora::save_peft(smaller, staged.path());
  write_carried(carried_by(spec.adapter), staged.path());
  const std::uint64_t bytes_after = fs::file_size(staged.path() / kWeights);
  result.size = fmt::format(
      "{} → {} ({:.1f} %), ranks {} at most", core::format_bytes(bytes_before), core::format_bytes(bytes_after),
      100.0 * static_cast<double>(bytes_after) / static_cast<double>(bytes_before), smaller.config().r);
  const std::string command = spec.command.empty() ? fields.command("compress", {asked.adapter}) : spec.command;
  core::write_file(staged.path() / "README.md",
                   model_card(asked, command, smaller, fmt::format("- {}\n- {}\n", result.size, result.divergence)));
  staged.commit();
  result.json = {{"lowrank", LOWRANK_VERSION},   {"adapter", asked.adapter},
                 {"model", opened.model.name},   {"out", out.string()},
                 {"bytes_before", bytes_before}, {"bytes_after", bytes_after},
                 {"kl", found.kl.mean},          {"kl_upper", found.kl.upper},
                 {"kl_of_adapter", whole},       {"tokens", {{"choosing", choosing}, {"held_back", held_back}}},
                 {"tries", found.tries},         {"ranks", ranks}};
  return result;
}

}  // namespace lowrank::recipes
