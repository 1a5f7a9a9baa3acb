#include "lowrank/apps/evaluation/evaluate_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <optional>

#include "lowrank/apps/inputs/named_paths.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/perturb.h"
#include "lowrank/recipes/evaluation/comparison.h"
#include "lowrank/recipes/run/samples.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

constexpr const char* kBase = "base";
constexpr int kSamples = 3;

/// The models under comparison; the first is the base. Deques: candidates point into them.
struct Contest {
  Opened opened;
  std::deque<lora::Adapter> adapters;
  std::deque<models::LoadedModel> others;  // full models
  std::vector<eval::Candidate> candidates;
  std::vector<recipes::ComparedModel> models;
};

/// Two tokenizers that give every id the same token.
bool same_vocabulary(const data::Tokenizer& a, const data::Tokenizer& b) {
  if (a.size() != b.size() || a.bos() != b.bos() || a.eos() != b.eos() || a.adds_bos() != b.adds_bos()) return false;
  for (data::TokenId id = 0; id < a.size(); ++id) {
    if (a.id_to_token(id) != b.id_to_token(id)) return false;
  }
  return true;
}

void add_adapter(Contest& contest, const std::string& name, lora::Adapter* adapter) {
  contest.candidates.push_back({name, &contest.opened.decoder(), adapter});
  contest.models.push_back({name, adapter->parameter_count(), lora::peft_bytes(*adapter)});
}

void add_model(Contest& contest, const std::string& name, const fs::path& path, const Options& options,
               core::ProgressObserver& progress) {
  models::LoadOptions load;
  load.dtype = contest.opened.decoder().dtype() == at::kBFloat16 ? models::DTypeChoice::kBFloat16
                                                                 : models::DTypeChoice::kFloat32;
  contest.others.push_back(models::load(path.string(), load, &progress));
  models::LoadedModel& model = contest.others.back();
  if (!same_vocabulary(contest.opened.tokenizer(), *model.tokenizer)) {
    options.fail(
        "compare",
        fmt::format("{} has another tokenizer than {}, so their losses are of different tokens; compare models of "
                    "one tokenizer",
                    path.string(), options.positional(0)));
  }
  contest.candidates.push_back({name, model.decoder.get(), nullptr});
  contest.models.push_back({name, model.decoder->config().parameter_count(), model.weights.total_bytes()});
}

std::vector<NamedPaths> models_asked_for(const Options& options, bool adapter_open) {
  std::vector<NamedPaths> models = named_paths(options, "compare");
  for (const NamedPaths& model : models) {
    if (model.name == kBase) options.fail("compare", "'base' is MODEL itself; give the adapter another name");
    if (model.name == "adapter" && adapter_open)
      options.fail("compare", "'adapter' is the one of --adapter or MODEL; give another name");
    if (model.paths.size() > 1) options.fail("compare", fmt::format("the name '{}' is given twice", model.name));
  }
  return models;
}

Contest open_contest(const Options& options, const Console& console) {
  Contest contest;
  contest.opened = open_model(options, console);
  ConsoleProgress progress(console);
  contest.candidates.push_back({kBase, &contest.opened.decoder(), nullptr});
  contest.models.push_back({kBase, 0, contest.opened.model.weights.total_bytes()});
  if (contest.opened.adapter) {
    contest.adapters.push_back(std::move(*contest.opened.adapter));
    contest.opened.adapter.reset();
    add_adapter(contest, "adapter", &contest.adapters.back());
  }
  for (const NamedPaths& model : models_asked_for(options, !contest.adapters.empty())) {
    const fs::path& path = model.paths.front();
    if (fs::is_regular_file(path / "adapter_config.json")) {
      std::vector<std::string> notes;
      contest.adapters.push_back(lora::load_peft(contest.opened.decoder().slot_table(), path, &notes, model.name));
      for (const std::string& note : notes) console.warning(note);
      add_adapter(contest, model.name, &contest.adapters.back());
    } else if (fs::is_regular_file(path / "config.json")) {
      add_model(contest, model.name, path, options, progress);
    } else {
      throw MissingError(fmt::format(
          "{}: neither an adapter (adapter_config.json) nor a model (config.json) is there; --compare names "
          "what `lowrank finetune --out` or PEFT's save_pretrained wrote",
          path.string()));
    }
  }
  for (lora::Adapter& adapter : contest.adapters) adapter.set_enabled(false);
  return contest;
}

std::vector<data::Perturbation> perturbations(const Options& options) {
  std::vector<data::Perturbation> all;
  for (const std::string& text : options.texts("perturb")) {
    all.push_back(data::parse_perturbation(text));
    const auto same = [&](const data::Perturbation& other) { return other.name == text; };
    if (std::count_if(all.begin(), all.end(), same) > 1)
      options.fail("perturb", fmt::format("'{}' is given twice", text));
  }
  return all;
}

/// One text, or a perturbed copy of one.
struct TextSet {
  std::string name, clean;
  data::Dataset data;
};

std::vector<TextSet> read_texts(const Options& options, const Contest& contest, const data::DataOptions& reading,
                                const std::vector<data::Perturbation>& changes, ConsoleProgress& progress) {
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));
  const data::Tokenizer& tokenizer = contest.opened.tokenizer();
  std::vector<TextSet> sets;
  for (const NamedPaths& named : named_paths(options, "data")) {
    sets.push_back({named.name, "", data::load(named.paths, tokenizer, reading, &progress)});
    for (const data::Perturbation& change : changes) {
      sets.push_back({named.name + "+" + change.name, named.name,
                      data::load_perturbed(named.paths, tokenizer, reading, change, seed, &progress)});
    }
  }
  return sets;
}

struct Questions {
  std::string name, clean;
  eval::QuestionSet set;
};

std::vector<Questions> read_question_sets(const Options& options, const std::vector<data::Perturbation>& changes) {
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));
  std::vector<Questions> sets;
  for (const NamedPaths& named : named_paths(options, "questions")) {
    eval::QuestionSet set = eval::read_questions(named.paths);
    for (const data::Perturbation& change : changes) {
      eval::QuestionSet copy = set;
      for (std::size_t q = 0; q < copy.questions.size(); ++q) {
        copy.questions[q].prompt = data::perturb(copy.questions[q].prompt, change, seed, q);
      }
      sets.push_back({named.name + "+" + change.name, named.name, std::move(copy)});
    }
    sets.insert(sets.end() - static_cast<std::ptrdiff_t>(changes.size()), {named.name, "", std::move(set)});
  }
  return sets;
}

recipes::QuestionSetResult ask(const Contest& contest, const Questions& questions, const eval::QuestionOptions& asking,
                               std::uint64_t seed, const Console& console) {
  ConsoleProgress progress(console);
  const eval::QuestionResults found =
      eval::ask(contest.candidates, contest.opened.tokenizer(), questions.set, asking, &progress);
  if (found.shortened > 0) {
    console.warning(fmt::format(
        "{}: {} prompts are longer than the model's positions leave room for; their beginnings were cut off",
        questions.name, core::format_count(found.shortened)));
  }
  recipes::QuestionSetResult result;
  result.name = questions.name;
  result.clean = questions.clean;
  result.questions = static_cast<std::int64_t>(questions.set.questions.size());
  result.models = recipes::score_results(found.scores, seed);
  const std::size_t shown =
      found.generated.empty() ? 0 : std::min<std::size_t>(kSamples, questions.set.questions.size());
  for (std::size_t q = 0; q < shown; ++q) result.prompts.push_back(questions.set.questions[q].prompt);
  for (const auto& texts : found.generated)
    result.answers.emplace_back(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(shown));
  return result;
}

/// The folder for the report: nobody's run or model.
fs::path report_folder(const Options& options) {
  const fs::path out = options.text("out");
  for (const char* file : {"run.json", "config.json", "adapter_config.json"}) {
    if (fs::exists(out / file)) {
      options.fail(
          "out", fmt::format("{} holds a run or a model ({}), and its report would be overwritten; give another folder",
                             out.string(), file));
    }
  }
  core::make_folder(out);
  return out;
}

void write_report(const fs::path& out, const Options& options, const Contest& contest,
                  const recipes::Comparison& comparison, const std::vector<recipes::SamplePrompt>& prompts,
                  const core::Json& result) {
  eval::Report report;
  report.title = "Comparison on " + contest.opened.model.name;
  report.subtitle = options.command_line();
  report.facts = describe(contest.opened);
  for (const recipes::TextSetResult& set : comparison.texts) report.facts.emplace_back(set.name, set.reading);
  report.tables = recipes::tables(comparison);
  report.samples = recipes::continue_prompts(prompts, contest.candidates, contest.opened.tokenizer());
  for (const recipes::QuestionSetResult& set : comparison.questions) {
    for (std::size_t q = 0; q < set.prompts.size(); ++q) {
      eval::Sample& sample = report.samples.emplace_back(eval::Sample{set.prompts[q], {}});
      for (std::size_t m = 0; m < set.answers.size(); ++m)
        sample.answers.emplace_back(comparison.models[m].name, set.answers[m][q]);
    }
  }
  core::write_file(out / "report.html", eval::report_html(report));
  core::write_file(out / "comparison.json", result.dump(2) + "\n");
}

std::string reading_line(const data::ReadReport& report, const eval::Units& units) {
  return fmt::format("{}, {} documents, {} tokens, {} of them counted; intervals over {} {}", report.format,
                     core::format_count(report.documents), core::format_count(report.tokens),
                     core::format_count(report.learned_tokens), core::format_count(units.count),
                     units.documents ? "documents" : "pieces");
}

}  // namespace

std::vector<OptionSpec> comparison_options() {
  return {
      {"compare",
       OptionType::kTexts,
       "NAME=DIR...",
       nullptr,
       "Comparison",
       "Adapters, or whole models of the same tokenizer, beside MODEL",
       {}},
      {"questions",
       OptionType::kTexts,
       "NAME=PATH...",
       nullptr,
       "Comparison",
       "Rows of question, choices and answer; of question and answer; or of prompt and reference",
       {}},
      {"extract",
       OptionType::kText,
       "REGEX",
       nullptr,
       "Comparison",
       "What of an answer is compared: the first group, such as '#### (.+)'",
       {}},
      {"max-new-tokens",
       OptionType::kInt,
       "N",
       128,
       "Comparison",
       "Tokens that are generated for an answer at most",
       {}},
      {"perturb",
       OptionType::kTexts,
       "KIND...",
       nullptr,
       "Comparison",
       "Perturbed copies beside every set: typos, case, ocr, each with a rate if wished (typos:0.05)",
       {}},
      {"out", OptionType::kText, "DIR", nullptr, "Output", "Folder for report.html and comparison.json", {}},
      {"seed", OptionType::kInt, "N", 42, "Comparison", "Seed of the resamples and the perturbations", {}},
  };
}

bool comparison_asked_for(const Options& options) {
  for (const OptionSpec& option : comparison_options()) {
    if (options.given(option.name)) return true;
  }
  return false;
}

int compare(const Options& options, const Console& console) {
  if (options.flag("per-token"))
    options.fail("per-token", "is for the perplexity of one model; leave --compare and its like out");
  if (!options.has("data") && !options.has("questions")) {
    throw ConfigError("lowrank evaluate: give --data NAME=PATH or --questions NAME=PATH to compare on");
  }
  const std::vector<data::Perturbation> changes = perturbations(options);
  const std::vector<Questions> questions = read_question_sets(options, changes);
  std::optional<eval::Extractor> extract;
  if (options.has("extract")) {
    const auto answers = [](const Questions& q) { return q.set.kind == eval::QuestionKind::kAnswer; };
    if (std::none_of(questions.begin(), questions.end(), answers)) {
      options.fail("extract", "is for --questions of rows with question and answer, and there are none");
    }
    extract.emplace(options.text("extract"));
  }
  const std::optional<fs::path> out = options.has("out") ? std::optional(report_folder(options)) : std::nullopt;
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));
  const std::int64_t batch_tokens = options.integer_in("batch-tokens", 1, 1 << 24);

  const Contest contest = open_contest(options, console);
  data::DataOptions reading;
  reading.format = data::parse_format(options.text("format"));
  reading.seq_len = sequence_length(options, contest.candidates.front().decoder->config());
  reading.train_on_prompt = options.flag("train-on-prompt");
  ConsoleProgress progress(console);
  const std::vector<TextSet> texts = read_texts(options, contest, reading, changes, progress);

  recipes::Comparison comparison;
  comparison.models = contest.models;
  for (const TextSet& set : texts) {
    const eval::Units units = eval::units_of(set.data);
    comparison.texts.push_back({set.name, reading_line(set.data.report, units), set.clean, {}});
    for (const std::string& note : set.data.report.notes) console.note(note);
    comparison.texts.back().models =
        recipes::text_results(eval::compare(contest.candidates, set.data, units, batch_tokens, &progress), seed);
  }
  eval::QuestionOptions asking;
  asking.batch_tokens = batch_tokens;
  asking.generate.max_new_tokens = options.integer_in("max-new-tokens", 1, 1 << 20);
  asking.extract = extract ? &*extract : nullptr;
  for (const Questions& set : questions) comparison.questions.push_back(ask(contest, set, asking, seed, console));

  auto opening = describe(contest.opened);
  for (const recipes::TextSetResult& set : comparison.texts) opening.emplace_back(set.name, set.reading);
  if (!console.silent()) {
    print_out(fields(opening));
    for (const eval::ReportTable& one : recipes::tables(comparison))
      print_out("\n" + table(one.header, one.rows) + one.note + (one.note.empty() ? "" : "\n"));
  }
  const core::Json result = recipes::to_json(comparison);
  if (out) {
    std::vector<recipes::SamplePrompt> prompts;
    if (!texts.empty()) {
      prompts = recipes::sample_prompts(texts.front().data, contest.opened.tokenizer(),
                                        contest.candidates.front().decoder->config().max_positions, kSamples);
    }
    write_report(*out, options, contest, comparison, prompts, result);
    console.line(fmt::format("\n{}: report.html, comparison.json", out->string()));
  }
  console.result(result);
  return 0;
}

}  // namespace lowrank::apps
