// `lowrank compress`: an adapter at the smallest ranks that stay within a bound of what it says.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/inputs/out_folder.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/dataset.h"
#include "lowrank/eval/compression.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

constexpr const char* kWeights = "adapter_model.safetensors";
constexpr int kTries = 4;

/// The data in two halves: ranks are chosen on one, and the figure given is measured on the other.
struct Halves {
  data::Dataset choosing, held_back;
};

Halves read_halves(const Options& options, const Opened& opened, std::uint64_t seed, core::ProgressObserver& progress) {
  data::DataOptions reading;
  reading.format = data::parse_format(options.text("format"));
  reading.seq_len = sequence_length(options, opened.model.decoder->config());
  const data::Dataset all = data::load(options.paths("data"), opened.tokenizer(), reading, &progress);
  data::Split parts = data::split(all, 0.5, seed);
  if (parts.validation.examples.empty() || parts.train.examples.empty()) {
    options.fail("data",
                 fmt::format("has {} pieces, too few to be parted: ranks are chosen on one half and measured on "
                             "the other; give more text, or a smaller --seq-len",
                             all.examples.size()));
  }
  return {std::move(parts.train), std::move(parts.validation)};
}

/// ADAPTER on the base that its config names, or on --model.
Opened open_adapter(const Options& options, const Console& console) {
  const fs::path directory = options.positional(0);
  if (!fs::is_regular_file(directory / "adapter_config.json")) {
    throw MissingError(
        fmt::format("{}: no adapter there (adapter_config.json is missing); ADAPTER is a folder that "
                    "`lowrank finetune --out` or PEFT's save_pretrained wrote",
                    directory.string()));
  }
  set_threads(options);
  ConsoleProgress progress(console);
  models::LoadOptions load;
  const std::string dtype = options.text("dtype");
  if (dtype != "auto") load.dtype = dtype == "float32" ? models::DTypeChoice::kFloat32 : models::DTypeChoice::kBFloat16;
  Opened opened;
  opened.model = models::load(options.has("model") ? options.text("model") : directory.string(), load, &progress);
  std::vector<std::string> notes;
  opened.adapter = lora::load_peft(opened.decoder().slot_table(), directory, &notes);
  opened.adapter_path = directory;
  for (const std::string& note : notes) console.warning(note);
  return opened;
}

/// Ranks in a grid, a layer a row and a kind of module a column; "-" where the adapter has none.
std::string rank_table(const std::vector<lora::RankTerms>& terms, const std::vector<std::int64_t>& ranks) {
  std::vector<std::string> kinds, layers;
  std::map<std::pair<std::string, std::string>, std::string> cells;
  const auto add = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const std::string& path = terms[i].path;
    const std::size_t dot = path.rfind('.');
    const std::string kind = path.substr(dot == std::string::npos ? 0 : dot + 1);
    const std::size_t digit = path.find_first_of("0123456789");
    const std::string layer = digit == std::string::npos ? "none" : path.substr(digit, path.find('.', digit) - digit);
    add(kinds, kind);
    add(layers, layer);
    cells[{layer, kind}] = std::to_string(ranks[i]);
  }
  std::vector<std::string> header = {"layer"};
  header.insert(header.end(), kinds.begin(), kinds.end());
  std::vector<std::vector<std::string>> rows;
  for (const std::string& layer : layers) {
    rows.push_back({layer});
    for (const std::string& kind : kinds) {
      const auto cell = cells.find({layer, kind});
      rows.back().push_back(cell == cells.end() ? "-" : cell->second);
    }
  }
  return table(header, rows);
}

struct Compressed {
  std::vector<std::int64_t> ranks;
  eval::Change kl;  // on the held-back half
  std::int64_t tries = 0;
};

/// Ranks chosen on one half until the other half is within the bound too.
Compressed within_bound(const Options& options, Opened& opened, const std::vector<lora::RankTerms>& terms,
                        const Halves& data, core::ProgressObserver& progress) {
  const double bound = options.number("max-kl");
  double target = bound;
  Compressed found;
  while (found.tries < kTries) {
    ++found.tries;
    const eval::RankChoice choice =
        eval::choose_ranks(opened.decoder(), *opened.adapter, terms, data.choosing, target, &progress);
    found.ranks = choice.ranks;
    found.kl = eval::divergence(opened.decoder(), *opened.adapter, terms, choice.ranks, data.held_back);
    if (found.kl.mean <= bound) return found;
    progress.note(fmt::format("chosen within {:.4g} nats a token, the held-back half has {:.4g}; tightening", target,
                              found.kl.mean));
    target *= 0.95 * bound / found.kl.mean;
  }
  throw DataError(
      fmt::format("--max-kl {:g} was not reached on the half of the data that was held back: {:.4g} nats a token after "
                  "{} tries; give a larger bound, or more text of one kind",
                  bound, found.kl.mean, kTries));
}

std::string model_card(const Options& options, const lora::Adapter& adapter, const std::string& facts) {
  const lora::LoraConfig& config = adapter.config();
  const std::string& base = config.base_model_name_or_path;
  return fmt::format(
      "---\nbase_model: {}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- base_model:adapter:{}\n- "
      "lora\n- lowrank\n---\n\n"
      "# {} adapter for {}, compressed\n\nMade of `{}` with `lowrank` {} by\n\n    {}\n\n{}\n"
      "Use it with PEFT (`PeftModel.from_pretrained(base, this_folder)`) or `lowrank generate {} --adapter THIS_FOLDER "
      "--prompt ...`.\n",
      base, base, config.use_dora ? "DoRA" : "LoRA", base, options.positional(0), LOWRANK_VERSION,
      options.command_line(), facts, base);
}

int compress(const Options& options) {
  const Console console(options);
  const fs::path out = options.text("out");
  if (options.has("max-kl") == options.has("rank")) {
    throw ConfigError(
        "lowrank compress: give one of --max-kl X, a bound in nats a token, and --rank N, the same rank for all");
  }
  if (options.has("max-kl") && !(options.number("max-kl") > 0 && std::isfinite(options.number("max-kl")))) {
    options.fail("max-kl",
                 fmt::format("is {}; it must be above 0, in nats a token (0.01, say)", options.number("max-kl")));
  }
  const std::int64_t uniform = options.has("rank") ? options.integer_in("rank", 1, 65536) : 0;
  refuse_used_folder(options, out);

  Opened opened = open_adapter(options, console);
  lora::Adapter& adapter = *opened.adapter;
  if (!adapter.whole().empty() || adapter.adapts_embedding()) {
    throw ConfigError(
        fmt::format("{} trains more than low-rank updates of linear layers ({}), and compress finds ranks for those "
                    "alone; merge the "
                    "adapter into its base instead (lowrank merge)",
                    opened.adapter_path.string(),
                    adapter.whole().empty() ? "the embedding" : adapter.whole().front()->path() + ", whole"));
  }
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));
  ConsoleProgress progress(console);
  const Halves data = read_halves(options, opened, seed, progress);
  const std::uint64_t bytes_before = fs::file_size(opened.adapter_path / kWeights);
  auto opening = describe(opened);
  opening.emplace_back("to choose by",
                       fmt::format("{} tokens", core::format_count(data.choosing.report.learned_tokens)));
  opening.emplace_back("held back", fmt::format("{} tokens", core::format_count(data.held_back.report.learned_tokens)));
  if (!console.silent()) print_out(fields(opening));

  const std::vector<lora::RankTerms> terms =
      eval::terms_by_divergence(opened.decoder(), adapter, data.choosing, seed, &progress);
  Compressed found;
  if (uniform > 0) {
    for (const lora::RankTerms& one : terms) found.ranks.push_back(std::min(uniform, one.count()));
    found.kl = eval::divergence(opened.decoder(), adapter, terms, found.ranks, data.held_back);
    found.tries = 1;
  } else {
    found = within_bound(options, opened, terms, data, progress);
  }
  const double whole = eval::divergence(opened.decoder(), adapter, nullptr, data.held_back).mean;

  lora::Adapter result =
      lora::attach_terms(opened.decoder().slot_table(), adapter.config(), terms, found.ranks, "compressed");
  Json ranks = Json::object();
  std::int64_t dropped = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    ranks[terms[i].path] = found.ranks[i];
    dropped += found.ranks[i] == 0 ? 1 : 0;
  }
  const std::string divergence_line = fmt::format(
      "KL(before ‖ after) {:.4g} nats a token on {} tokens that took no part in choosing the ranks{} (the whole "
      "adapter "
      "moves the base by {:.4g})",
      found.kl.mean, core::format_count(data.held_back.report.learned_tokens),
      found.tries > 1 ? fmt::format(", but to tighten the bound {} times", found.tries - 1) : "", whole);
  core::StagedDirectory staged(out);
  lora::save_peft(result, staged.path());
  const std::uint64_t bytes_after = fs::file_size(staged.path() / kWeights);
  const std::string size_line = fmt::format(
      "{} → {} ({:.1f} %), ranks {} at most", core::format_bytes(bytes_before), core::format_bytes(bytes_after),
      100.0 * static_cast<double>(bytes_after) / static_cast<double>(bytes_before), result.config().r);
  core::write_file(staged.path() / "README.md",
                   model_card(options, result, fmt::format("- {}\n- {}\n", size_line, divergence_line)));
  if (fs::exists(out)) fs::remove(out);  // empty: it was looked at above
  staged.commit();

  console.line();
  if (!console.silent()) {
    print_out(rank_table(terms, found.ranks));
    print_out("\n" + fields({{"bytes", size_line},
                             {"kl", divergence_line},
                             {"modules", fmt::format("{} of {} kept", terms.size() - static_cast<std::size_t>(dropped),
                                                     terms.size())},
                             {"out", out.string()}}));
  }
  console.result(
      {{"lowrank", LOWRANK_VERSION},
       {"adapter", options.positional(0)},
       {"model", opened.model.name},
       {"out", out.string()},
       {"bytes_before", bytes_before},
       {"bytes_after", bytes_after},
       {"kl", found.kl.mean},
       {"kl_upper", found.kl.upper},
       {"kl_of_adapter", whole},
       {"tokens",
        {{"choosing", data.choosing.report.learned_tokens}, {"held_back", data.held_back.report.learned_tokens}}},
       {"tries", found.tries},
       {"ranks", ranks}});
  return 0;
}

}  // namespace

Verb compress_verb() {
  Verb verb;
  verb.name = "compress";
  verb.summary = "Find the smallest ranks of a trained adapter that stay within a bound of what it says";
  verb.positionals = {"ADAPTER"};
  verb.example = "lowrank compress runs/art --max-kl 0.01 --data corpus/ --out runs/art-small";
  verb.options = {
      {"max-kl",
       OptionType::kNumber,
       "X",
       nullptr,
       "Compression",
       "Bound on KL(before ‖ after), mean nats a token",
       {}},
      {"rank", OptionType::kInt, "N", nullptr, "Compression", "Instead: the same rank for every module", {}},
      {"data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Text or rows: half to choose by, half to measure",
       {},
       true},
      option_format(),
      option_seq_len("Tokens a piece or row has at most [min(1024, the model's positions)]"),
      {"seed", OptionType::kInt, "N", 42, "Data", "Seed of the halves and of the drawn tokens", {}},
      {"model",
       OptionType::kText,
       "MODEL",
       nullptr,
       "Adapter",
       "The base, where not the one that the adapter names",
       {}},
      {"out", OptionType::kText, "DIR", nullptr, "Output", "Folder for the compressed adapter; new or empty", {}, true},
      option_dtype(),
      option_threads(),
      option_json(),
      option_quiet(),
  };
  verb.run = compress;
  return verb;
}

}  // namespace lowrank::apps
