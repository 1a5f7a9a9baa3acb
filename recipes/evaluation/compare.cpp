#include "lowrank/recipes/evaluation/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/data/perturb.h"
#include "lowrank/recipes/evaluation/named_paths.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/run/samples.h"
#include "lowrank/train/out_place.h"

namespace lowrank::recipes {

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
  std::vector<ComparedModel> models;
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

void add_model(Contest& contest, const std::string& name, const fs::path& path, const Fields& fields,
               const std::string& base, core::ProgressObserver& progress) {
  models::LoadOptions load;
  load.dtype = contest.opened.decoder().dtype() == at::kBFloat16 ? models::DTypeChoice::kBFloat16
                                                                 : models::DTypeChoice::kFloat32;
  load.form = contest.opened.model.coded.form;
  load.device = contest.opened.decoder().device();
  contest.others.push_back(models::load(path.string(), load, &progress));
  models::LoadedModel& model = contest.others.back();
  if (!same_vocabulary(contest.opened.tokenizer(), *model.tokenizer)) {
    fields.fail(
        "compare",
        fmt::format("{} has another tokenizer than {}, so their losses are of different tokens; compare models of "
                    "one tokenizer",
                    path.string(), base));
  }
  contest.candidates.push_back({name, model.decoder.get(), nullptr});
  contest.models.push_back({name, model.decoder->config().parameter_count(), model.weights.total_bytes()});
}

std::vector<NamedPaths> models_asked_for(const EvaluateSpec& spec, const Fields& fields, bool adapter_open) {
  std::vector<NamedPaths> models = named_paths("compare", spec.compare);
  for (const NamedPaths& model : models) {
    if (model.name == kBase) fields.fail("compare", "'base' is MODEL itself; give the adapter another name");
    if (model.name == "adapter" && adapter_open)
      fields.fail("compare", "'adapter' is the one of `adapter` or MODEL; give another name");
    if (model.paths.size() > 1) fields.fail("compare", fmt::format("the name '{}' is given twice", model.name));
  }
  return models;
}

Contest open_contest(const EvaluateSpec& spec, const Fields& fields, Observer& observer) {
  Contest contest;
  Rows remarks;  // none of one process
  const models::LoadOptions loading = loading_of(spec, fields, observer, remarks);
  contest.opened = open_model(spec.model, adapter_of(spec.model, spec.adapter), loading, observer);
  contest.candidates.push_back({kBase, &contest.opened.decoder(), nullptr});
  contest.models.push_back({kBase, 0, contest.opened.model.weights.total_bytes()});
  if (contest.opened.adapter) {
    contest.adapters.push_back(std::move(*contest.opened.adapter));
    contest.opened.adapter.reset();
    add_adapter(contest, "adapter", &contest.adapters.back());
  }
  for (const NamedPaths& model : models_asked_for(spec, fields, !contest.adapters.empty())) {
    const fs::path& path = model.paths.front();
    if (fs::is_regular_file(path / "adapter_config.json")) {
      refuse_own_tokens(path, contest.opened.decoder());
      std::vector<std::string> notes;
      contest.adapters.push_back(lora::load_peft(contest.opened.decoder().slot_table(), path, &notes, model.name));
      for (const std::string& note : notes) observer.warning(note);
      say_other_form(path, loading.form, observer);
      add_adapter(contest, model.name, &contest.adapters.back());
    } else if (fs::is_regular_file(path / "config.json")) {
      add_model(contest, model.name, path, fields, spec.model, observer);
    } else {
      throw MissingError(fmt::format(
          "{}: neither an adapter (adapter_config.json) nor a model (config.json) is there; `compare` names "
          "what `lowrank finetune --out` or PEFT's save_pretrained wrote",
          path.string()));
    }
  }
  for (lora::Adapter& adapter : contest.adapters) adapter.set_enabled(false);
  return contest;
}

std::vector<data::Perturbation> perturbations(const EvaluateSpec& spec, const Fields& fields) {
  std::vector<data::Perturbation> all;
  for (const std::string& text : spec.perturb) {
    all.push_back(data::parse_perturbation(text));
    const auto same = [&](const data::Perturbation& other) { return other.name == text; };
    if (std::count_if(all.begin(), all.end(), same) > 1)
      fields.fail("perturb", fmt::format("'{}' is given twice", text));
  }
  return all;
}

/// One text, or a perturbed copy of one.
struct TextSet {
  std::string name, clean;
  data::Dataset data;
};

std::vector<TextSet> read_texts(const EvaluateSpec& spec, const Contest& contest, const data::DataOptions& reading,
                                const std::vector<data::Perturbation>& changes, Observer& progress) {
  const auto seed = static_cast<std::uint64_t>(spec.seed);
  const data::Tokenizer& tokenizer = contest.opened.tokenizer();
  std::vector<TextSet> sets;
  for (const NamedPaths& named : named_paths("data", spec.data)) {
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

std::vector<Questions> read_question_sets(const EvaluateSpec& spec, const std::vector<data::Perturbation>& changes,
                                          Observer& observer) {
  const auto seed = static_cast<std::uint64_t>(spec.seed);
  std::vector<Questions> sets;
  for (const NamedPaths& named : named_paths("questions", spec.questions)) {
    eval::QuestionSet set = eval::read_questions(named.paths);
    for (const std::string& note : set.notes) observer.note(note);
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

QuestionSetResult ask(const Contest& contest, const Questions& questions, const eval::QuestionOptions& asking,
                      std::uint64_t seed, Observer& observer) {
  const eval::QuestionResults found =
      eval::ask(contest.candidates, contest.opened.tokenizer(), questions.set, asking, &observer);
  if (found.shortened > 0) {
    observer.warning(fmt::format(
        "{}: {} prompts are longer than the model's positions leave room for; their beginnings were cut off",
        questions.name, core::format_count(found.shortened)));
  }
  QuestionSetResult result;
  result.name = questions.name;
  result.clean = questions.clean;
  result.questions = static_cast<std::int64_t>(questions.set.questions.size());
  result.models = score_results(found.scores, seed);
  const std::size_t shown =
      found.generated.empty() ? 0 : std::min<std::size_t>(kSamples, questions.set.questions.size());
  for (std::size_t q = 0; q < shown; ++q) result.prompts.push_back(questions.set.questions[q].prompt);
  for (const auto& texts : found.generated)
    result.answers.emplace_back(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(shown));
  return result;
}

/// The folder for the report: nobody's run or model.
fs::path report_folder(const std::string& folder, const Fields& fields) {
  const fs::path out = folder;
  for (const char* file : {"run.json", "config.json", "adapter_config.json"}) {
    if (fs::exists(out / file)) {
      fields.fail(
          "out", fmt::format("{} holds a run or a model ({}), and its report would be overwritten; give another folder",
                             out.string(), file));
    }
  }
  train::check_place(out, {});
  core::make_folder(out);
  return out;
}

void write_report(const fs::path& out, const std::string& command, const Contest& contest, const Comparison& comparison,
                  const std::vector<SamplePrompt>& prompts, const core::Json& result) {
  eval::Report report;
  report.title = "Comparison on " + contest.opened.model.name;
  report.subtitle = command;
  report.facts = describe(contest.opened);
  for (const TextSetResult& set : comparison.texts) report.facts.emplace_back(set.name, set.reading);
  report.tables = tables(comparison);
  report.samples = continue_prompts(prompts, contest.candidates, contest.opened.tokenizer());
  for (const QuestionSetResult& set : comparison.questions) {
    for (std::size_t q = 0; q < set.prompts.size(); ++q) {
      eval::Sample& sample = report.samples.emplace_back(eval::Sample{set.prompts[q], {}});
      for (std::size_t m = 0; m < set.answers.size(); ++m)
        sample.answers.emplace_back(comparison.models[m].name, set.answers[m][q]);
    }
  }
  core::write_file(out / "report.html", eval::report_html(report));
  core::write_file(out / "comparison.json", core::json_text(result, 2) + "\n");
}

std::string reading_line(const data::ReadReport& report, const eval::Units& units) {
  return fmt::format("{}, {}, {}, {} of them counted; intervals over {} {}", report.format,
                     core::counted(report.documents, "document"), core::counted(report.tokens, "token"),
                     core::format_count(report.learned_tokens), core::format_count(units.count),
                     units.documents ? "documents" : "pieces");
}

}  // namespace

CompareResult compare(const EvaluateSpec& asked, Observer& observer) {
  EvaluateSpec spec = asked;
  const Fields fields = fields_of(spec);
  for (const char* name : {"per-token", "frontier", "shots", "shots-data"})
    if (fields.given(name)) fields.fail(name, "is for the perplexity of one model; leave `compare` and its like out");
  if (fields.given("max-new-tokens") && spec.questions.empty())
    fields.fail("max-new-tokens", "is for answers to `questions`, and there are none; leave it out");
  if (spec.data.empty() && spec.questions.empty()) {
    throw ConfigError("lowrank evaluate: give `data` NAME=PATH or `questions` NAME=PATH to compare on");
  }
  const kernels::RuntimeScope runtime(begin(spec, fields));
  const std::vector<data::Perturbation> changes = perturbations(spec, fields);
  const std::vector<Questions> questions = read_question_sets(spec, changes, observer);
  std::optional<eval::Extractor> extract;
  if (spec.extract) {
    const auto answers = [](const Questions& q) { return q.set.kind == eval::QuestionKind::kAnswer; };
    if (std::none_of(questions.begin(), questions.end(), answers)) {
      fields.fail("extract", "is for `questions` of rows with question and answer, and there are none");
    }
    extract.emplace(*spec.extract);
  }
  CompareResult result;
  std::optional<core::DirectoryLock> lock;
  if (spec.out) lock.emplace(*(result.out = report_folder(*spec.out, fields)));
  const auto seed = static_cast<std::uint64_t>(spec.seed);

  const Contest contest = open_contest(spec, fields, observer);
  const models::DecoderConfig& config = contest.candidates.front().decoder->config();
  const data::DataOptions reading = reading_of(spec, fields, contest.opened.model, contest.opened.adapter_path);
  const std::vector<TextSet> texts = read_texts(spec, contest, reading, changes, observer);

  Comparison& comparison = result.comparison;
  comparison.models = contest.models;
  for (const TextSet& set : texts) {
    const eval::Units units = eval::units_of(set.data);
    comparison.texts.push_back({set.name, reading_line(set.data.report, units), set.clean, {}});
    for (const std::string& note : set.data.report.notes) observer.note(note);
    comparison.texts.back().models =
        text_results(eval::compare(contest.candidates, set.data, units, spec.batch_tokens, &observer), seed);
  }
  eval::QuestionOptions asking;
  asking.batch_tokens = spec.batch_tokens;
  asking.generate.max_new_tokens = spec.max_new_tokens;
  asking.extract = extract ? &*extract : nullptr;
  for (const Questions& set : questions) comparison.questions.push_back(ask(contest, set, asking, seed, observer));

  result.facts = describe(contest.opened);
  for (const TextSetResult& set : comparison.texts) result.facts.emplace_back(set.name, set.reading);
  result.json = to_json(comparison);
  if (result.out) {
    std::vector<SamplePrompt> prompts;
    if (!texts.empty())
      prompts = sample_prompts(texts.front().data, contest.opened.tokenizer(), config.max_positions, kSamples);
    write_report(*result.out, spec.command.empty() ? fields.command("evaluate", {spec.model}) : spec.command, contest,
                 comparison, prompts, result.json);
  }
  return result;
}

}  // namespace lowrank::recipes
