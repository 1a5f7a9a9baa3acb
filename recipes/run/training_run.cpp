#include "lowrank/recipes/run/training_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/memory.h"
#include "lowrank/core/text.h"
#include "lowrank/data/checks.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/kept.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/lora/mlx_adapter.h"
#include "lowrank/lora/target_parameters.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/base_remarks.h"
#include "lowrank/recipes/run/finished_run.h"
#include "lowrank/recipes/run/memory.h"
#include "lowrank/recipes/run/memory_plan.h"
#include "lowrank/recipes/run/model_card.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/run/out_folder.h"
#include "lowrank/recipes/run/regularisation.h"
#include "lowrank/recipes/run/run_inputs.h"
#include "lowrank/recipes/run/run_page.h"
#include "lowrank/recipes/run/shares.h"
#include "lowrank/recipes/run/step_profile.h"
#include "lowrank/recipes/run/tensorboard_log.h"
#include "lowrank/train/checkpoint.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;
using core::Json;

namespace {

constexpr const char* kDate = "date of the chat template";

kernels::Runtime runtime_of(const RunSpec& spec) {
  return {.mode = spec.kernels == "composite" ? kernels::Mode::kComposite : kernels::Mode::kFused,
          .threads = static_cast<std::int32_t>(spec.threads.value_or(0))};
}

// `pack`: bytes of frozen weights' panels that the run keeps.
std::int64_t kept_panel_bytes(const RunSpec& spec, const RunReport& report, const train::Objective& objective) {
  constexpr std::int64_t kManyTokens = 512;  // over which packing is a twentieth of the products at most
  const auto dtype = report.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  if (spec.pack == "stream" || objective.steps() == 0 || !kernels::gemm::takes(kernels::product_dtype(dtype), kManyTokens))
    return 0;
  const auto free = static_cast<std::int64_t>(core::available_memory().value_or(0));
  const std::int64_t need = (kernels::gemm::in_bf16(dtype) ? 4 : 8) * report.base_parameters;  // for the forward and the backward pass
  if (spec.pack == "keep") return free > 0 ? std::min(need, free / 2) : need;
  if (report.base_dtype != "auto") return 0;  // codes were asked for to save memory
  const std::int64_t micro_batches = std::max<std::int64_t>(objective.micro_batches(0), 1);
  const std::int64_t tokens = objective.planned_tokens() / std::max<std::int64_t>(objective.steps() * micro_batches, 1);
  return tokens > 0 && tokens < kManyTokens && need < free / 8 ? need : 0;
}

Json earlier_choices(const RunSpec& spec) {
  if (spec.resume) {
    if (const auto checkpoint = train::newest_checkpoint(spec.out, nullptr)) {
      const Json identity = train::read_checkpoint_state(*checkpoint).identity;
      const core::JsonView chosen(identity, (*checkpoint / "trainer_state.json").string() + ": identity");
      for (const char* name : {"dtype", "base dtype", "recompute", "micro-batch"}) {
        if (chosen.has(name)) chosen.at(name).as_string();
      }
      if (chosen.has("ranks")) chosen.at("ranks").as_int(1, 1 << 20);
      return identity;
    }
  }
  return Json::object();
}

// The same steps in micro-batches of half the size; false where they are of one example already.
bool halve(data::PlanOptions& plan) {
  if (plan.batch_tokens || plan.batch_size % 2 != 0) return false;
  plan.batch_size /= 2;
  plan.grad_accum *= 2;
  return true;
}

// A positive number of a checkpoint's choices; 0 for anything else.
int number_of(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::max(value, 0) : 0;
}

// "2 x 8", as an earlier `fit` cut the same steps.
void take_micro_batch(data::PlanOptions& plan, const std::string& cut) {
  const std::size_t by = cut.find(" x ");
  if (by == std::string::npos) return;
  const int size = number_of(cut.substr(0, by)), times = number_of(cut.substr(by + 3));
  if (size == 0 || std::int64_t{size} * times != std::int64_t{plan.batch_size} * plan.grad_accum) return;
  plan.batch_size = size;
  plan.grad_accum = times;
}

std::string settings_of(const data::PlanOptions& other, const data::PlanOptions& plan, bool recompute) {
  std::string text = recompute ? "`recompute` layer" : "";
  if (other.batch_size != plan.batch_size)
    text += fmt::format("{}`batch-size` {} `grad-accum` {}", text.empty() ? "" : " ", other.batch_size, other.grad_accum);
  return text;
}

std::string fit_words(const std::string& settings) {
  return fmt::format("{} was taken: the same examples in each step, computed in smaller pieces (results differ by "
                     "rounding; smaller products are a few per cent slower)",
                     settings);
}

}  // namespace

std::string command_of(const std::string& verb, const std::vector<std::string>& positionals, const Fields& fields,
                       const RunSpec& spec, const Observer& observer) {
  if (!spec.command.empty()) return spec.command;
  std::vector<std::string> words;
  for (const std::string& positional : positionals)
    if (!positional.empty()) words.push_back(positional);
  std::string command = fields.command(verb, words);
  const Json own = observer.own_options();
  for (const auto& [name, value] : own.items())
    if (value == Json(true)) command += " --" + name;
  return command;
}

Json options_of(const Fields& fields, const Observer& observer) {
  Json options = fields.to_json();
  options.update(observer.own_options());
  return options;
}

TrainingRun::TrainingRun(std::string the_verb, std::string the_model, const Fields& the_fields, const RunSpec& the_spec,
                         Observer& the_observer)
    : verb(std::move(the_verb)),
      model(std::move(the_model)),
      fields(the_fields),
      spec(the_spec),
      observer(the_observer),
      sync(train::or_alone(the_observer.ranks())),
      runtime_(runtime_of(the_spec)) {
  fields.check();
  take_device();
  if (spec.out.empty()) fields.fail("out", "is missing; name a folder for the result");
  report.verb = verb;
  report.command = command_of(verb, {model}, fields, spec, observer);
  report.options = options_of(fields, observer);
  core::check_utf8({{"model", model}});
  core::check_utf8(report.options);
  report.out = spec.out;
}

void TrainingRun::take_device() {
  device_ = device_of(spec.device, sync.local_rank());
  if (device_.is_cpu()) return;
  const auto refuse = [&](const char* name, bool given, const char* why) {
    if (given) fields.fail(name, why);
  };
  refuse("fit", spec.fit, "knows how much memory the machine has, not a device; give `batch-size` and `recompute`");
  refuse("pack", spec.pack == "keep", "is of the CPU's own products; leave it out");
  refuse("profile", spec.profile, "measures the CPU's ops, and a device computes behind their back; leave it out");
  if (std::string how = sync.meet_on(device_); !how.empty()) report.remarks.emplace_back("gradients", how);
}

void TrainingRun::resolve(const AdapterSpec& adapter) {
  resolved = models::resolve(model);
  start = resolved.adapter;
  if (adapter.adapter) start = adapter_folder(*adapter.adapter, "adapter");
  check_shares(adapter);
  if (!adapter.add_tokens || adapter.method == "full") return;
  if (start)
    fields.fail("add-tokens", "is for a new adapter, and this run starts from one that brings its own tokenizer; leave it "
                              "out");
  added_.emplace(*adapter.add_tokens, resolved.model);
}

void TrainingRun::check_shares(const AdapterSpec& adapter) const {
  recipes::check_shares(fields, spec.shard_base, spec.base_dtype, device_, sync);
  if (spec.shard_base == "off") return;
  const auto refuse = [&](bool wrong, const char* why) {
    if (wrong) fields.fail("shard-base", why);
  };
  refuse(adapter.method == "full", "is for a frozen base, and `method` full trains every weight; leave it out");
  refuse(adapter.add_tokens.has_value(), "keeps shares of the model's own vocabulary, and `add-tokens` brings further rows; "
                                         "give one of them");
  refuse(spec.kernels == "composite", "saves nothing with `kernels` composite, whose backward pass keeps every weight whole; "
                                      "give one of them");
  refuse(spec.pack == "keep", "contradicts `pack` keep, which holds every weight packed; give one of them");
}

bool TrainingRun::open(RunResult& result, const std::vector<fs::path>& inputs) {
  if (!spec.dry_run) {
    if (spec.resume && spec.overwrite) fields.fail("overwrite", "contradicts `resume`; give one of them");
    bool finished = false, more = false;
    std::string done = "nothing was done";
    train::together(sync, [&] {
      if (sync.rank() != 0 || !spec.resume || train::run_state(spec.out) != train::RunState::kFinished) return;
      more = asks_for_more();
      if (more) return;
      refuse_other_options();
      if (const std::string restored = restore_result(spec.out); !restored.empty()) done = restored;
      finished = true;
    });
    longer_ = train::largest(sync, more ? 1 : 0) != 0;
    if (longer_)
      observer.note(spec.out + " holds a finished run whose learning rate is constant: it goes on for the further steps");
    if (train::largest(sync, finished ? 1 : 0) != 0) {
      observer.note(spec.out + " holds a finished run; " + done);
      result.state = RunResult::State::kWasFinished;
      result.out = spec.out;
      return false;
    }
    open_folder(inputs);
    if (sync.rank() == 0) report.inputs = inputs_of(fields, resolved.model, start);
  }
  earlier = earlier_choices(spec);
  if (spec.device == "auto" && earlier.contains("device") && earlier["device"] == "cpu") device_ = at::kCPU;  // as the run began
  return true;
}

void TrainingRun::open_folder(const std::vector<fs::path>& inputs) {
  std::vector<fs::path> kept = input_paths(fields);
  kept.insert(kept.end(), inputs.begin(), inputs.end());
  train::together(sync, [&] {
    if (sync.rank() == 0) folder_ = train::open_run_folder(spec.out, spec.resume, spec.overwrite, kept);
  });
  require_shared_folder();
}

/// Checkpoints are written by rank 0 and read by all.
void TrainingRun::require_shared_folder() const {
  if (sync.ranks() == 1) return;
  const fs::path mark = fs::path(spec.out) / ".lowrank.ranks";
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  const std::string token = train::from_first(sync, fmt::format("{} {}", sync.name(0), now));
  train::together(sync, [&] {
    if (sync.rank() == 0) core::write_file(mark, token);
  });
  train::together(sync, [&] {
    std::error_code error;
    if (sync.rank() == 0 || (fs::exists(mark, error) && core::read_file(mark) == token)) return;
    fields.fail("out", fmt::format("{} is not the folder that rank 0 has by this name; name one on a file system that "
                                   "all ranks share",
                                   spec.out));
  });
  if (sync.rank() == 0) fs::remove(mark);
}

/// Of the run that is gone on with, so that its steps stay what they were; 0: those that are there.
int TrainingRun::batch_ranks() const {
  if (earlier.empty()) return 0;
  return earlier.contains("ranks") ? earlier["ranks"].get<int>() : 1;
}

bool TrainingRun::is_longer() const {
  const Json before = earlier_choices(spec), now = fields.identity();
  bool more = false;
  for (const auto& [flag, value] : now.items()) {
    if (!before.contains(flag) || before[flag] == value) continue;
    const std::string name = flag.substr(2);
    if ((name != "epochs" && name != "max-steps") || !value.is_number() || !before[flag].is_number() || value < before[flag]) return false;
    more = true;
  }
  return more;
}

bool TrainingRun::asks_for_more() const { return is_longer() && fields.get("schedule") == Json("constant"); }

void TrainingRun::refuse_other_options() const {
  Json before = earlier_choices(spec);
  if (before.empty()) before = options_of_run(spec.out);  // of several runs, say
  std::vector<Difference> found = differences(before, fields);
  // Choices that stay what they were where they are not given again.
  for (const auto& [name, chosen] : {std::pair{"dtype", spec.dtype}, std::pair{"base-dtype", spec.base_dtype}}) {
    const std::string fact = std::string(name) == "dtype" ? "dtype" : "base dtype";
    const Json was = before.contains(fact) ? before[fact] : Json("auto");
    if (chosen != "auto" && !before.empty() && was != Json(chosen)) found.push_back({name, was, chosen});
  }
  for (Difference& one : other_inputs(spec.out, fields, resolved.model, start)) found.push_back(std::move(one));
  if (found.empty()) return;
  std::map<std::string, Json> instead = {{"resume", nullptr}, {"out", spec.out + "-2"}};
  // Another model, or an adapter of another form, begins anew.
  const std::vector<std::string>& brought = brought_by_adapter();
  const bool anew = !fields.contains("adapter") || std::any_of(found.begin(), found.end(), [&](const Difference& one) {
    return one.name.starts_with("MODEL") || one.name == "adapter" || one.name == "method" || one.name == "task" ||
           std::find(brought.begin(), brought.end(), one.name) != brought.end();
  });
  if (!anew) {
    instead["adapter"] = spec.out;
    for (const std::string& name : brought) instead[name] = nullptr;
  }
  throw ConfigError(fmt::format("{} holds a finished run of other {} ({}){}: {} `{}`", spec.out, kinds_of(found), in_words(found),
                                is_longer() ? ", whose learning rate has come to its end" : "",
                                anew ? "begin a new run with" : "train its adapter further with",
                                fields.command(verb, model.empty() ? std::vector<std::string>() : std::vector{model}, instead)));
}

bool TrainingRun::open(RunResult& result) {
  std::vector<fs::path> inputs = {resolved.model};
  if (start) inputs.push_back(*start);
  return open(result, inputs);
}

models::LoadedModel& TrainingRun::load(SharedBase& base, bool full) {
  models::LoadOptions options;
  std::string dtype = spec.dtype;
  if (full && dtype == "bfloat16") fields.fail("dtype", "`method` full trains float32 weights; leave `dtype` out");
  if (dtype == "auto" && earlier.contains("dtype")) dtype = earlier["dtype"].get<std::string>();
  if (full || dtype == "float32") options.dtype = models::DTypeChoice::kFloat32;
  if (!full && dtype == "bfloat16") options.dtype = models::DTypeChoice::kBFloat16;
  options.trainable = full;
  std::string form = spec.base_dtype;
  if (full && form != "auto")
    fields.fail("base-dtype", fmt::format("{} is for a frozen base, and `method` full trains every weight; leave it out",
                                          form));
  if (form == "auto" && earlier.contains("base dtype")) form = earlier["base dtype"].get<std::string>();
  options.form = base_form(form);
  if (spec.fit && !full && form == "auto" && spec.shard_base == "off") {
    const FormThatFits found = form_that_fits(resolved.model);
    options.form = found.form;
    if (!found.words.empty()) report.remarks.emplace_back("fit", found.words);
  }
  if (full && device_.is_cpu()) {
    const std::int64_t parameters = models::read_config(resolved.model).parameter_count();
    refuse_beyond_memory(trained_bytes(parameters),
                         fmt::format("the {} trained weights, their gradients and the optimiser's moments",
                                     core::format_count(parameters)),
                         "train an adapter (`method` lora) or a smaller model");
  }
  options.adapter = full ? std::nullopt : start;
  if (added_) options.grown = added_->grown();
  options.shares = shares_of(base, options);
  options.device = device_;
  models::LoadedModel& loaded = base.get(resolved, options, observer);
  if (added_) loaded.tokenizer = added_->tokenizer();
  if (start) {
    if (auto own = models::adapter_tokenizer(*start, loaded.decoder->config())) loaded.tokenizer = std::move(own);
  }

  const models::DecoderConfig& config = loaded.decoder->config();
  report.model_path = loaded.path.string();
  report.model_name = resolved.name;
  report.model_type = config.model_type;
  report.base_parameters = config.parameter_count();
  if (config.active_parameter_count() != report.base_parameters)
    report.remarks.emplace_back(
        "experts",
        fmt::format("a token passes through {} of the parameters; routers are frozen where the targets do not name "
                    "them, and the base's load-balancing loss (router_aux_loss_coef) is off unless `router-aux-loss` is given",
                    core::format_count(config.active_parameter_count())));
  report.base_bytes = loaded.weights.total_bytes();
  report.dtype = models::dtype_name(loaded.decoder->dtype());
  report.dtype_reason = full ? "all weights are trained" : loaded.dtype_reason;
  base_ = &base;
  facts["dtype"] = report.dtype;
  report.base_dtype = std::string(kernels::form_name(loaded.coded.form));
  if (loaded.coded.base != nullptr) {
    facts["base dtype"] = report.base_dtype;
    report.remarks.emplace_back("base", loaded.coded.base->words());
  }
  if (loaded.shares != nullptr) {
    const kernels::ShardedBase& shares = *loaded.shares;
    report.shares = {{"ranks", sync.ranks()},
                     {"total_bytes", shares.total_bytes()},
                     {"held_bytes", shares.held_bytes()},
                     {"buffer_bytes", shares.buffer_bytes()}};
    report.remarks.push_back(describe(shares, sync));
  }
  facts["tokenizer"] = hash_files(loaded.tokenizer->files());
  if (start)
    for (const std::string& remark : base_remarks(*start, loaded)) observer.warning(remark);
  if (start) facts["starting adapter"] = core::sha256_file(lora::adapter_weights(*start));
  return loaded;
}

std::shared_ptr<kernels::ShardedBase> TrainingRun::shares_of(const SharedBase& base,
                                                             const models::LoadOptions& options) {
  if (spec.shard_base == "off") return nullptr;
  if (options.form != kernels::BaseForm::kAsStored)
    fields.fail("shard-base", "is for a base as its files have it, and this run began with one in codes; leave it out");
  if (base.holds(resolved, options) && base.model().shares != nullptr) return base.model().shares;
  return shares_among(sync, spec.shard_base, report.remarks);
}

lora::Adapter TrainingRun::make_adapter(const AdapterSpec& adapter_spec, const lora::SlotTable& slots,
                                        std::uint64_t seed) {
  if (!start) {
    lora::LoraConfig config = lora_config(adapter_spec, fields);
    if (added_) added_->train_in(config, slots);
    if (config.corrects_base() && report.base_dtype == "auto")
      fields.fail("init", "loftq begins with what a base in fewer bytes has lost; add `base-dtype` nf4 or int8");
    if (config.splits_base() || config.corrects_base())
      observer.note(fmt::format("taking the weights apart for `init` {}", config.init_lora_weights));
    lora::Adapter adapter = lora::attach(slots, config, seed);
    if (config.bias != "none" && !trains_bias(adapter))
      observer.note(fmt::format("`bias` {}: {} no biases, so that it adds nothing that is trained, as in PEFT", config.bias,
                                config.bias == "all" ? "this model's modules have" : "the adapted layers have"));
    report.loftq = config.corrects_base();
    if (added_) {
      added_->begin_in(adapter, slots);
      report.remarks.emplace_back("tokens", added_->described(slots));
    }
    return adapter;
  }
  check_against_adapter(adapter_spec, fields, lora::read_adapter_config(*start),
                        [&](const lora::LoraConfig& config) { return lora::targets_in(slots, config); });
  std::vector<std::string> notes;
  lora::Adapter adapter = lora::load_peft(slots, *start, &notes);
  take_dropout(adapter_spec, adapter);
  for (const std::string& note : notes) observer.note(note);
  say_other_form(*start, base_form(report.base_dtype), observer);
  report.loftq = form_of_loftq(*start).has_value();
  return adapter;
}

void TrainingRun::take(const lora::Adapter& adapter) {
  if (adapter.parameter_count() == 0 && !adapter.beside_text().empty())
    throw ConfigError(fmt::format("the adapter in {} is on nothing but modules that text does not pass through (such as '{}'), so that "
                                  "nothing of it can be trained here; start from one that is on the language model, or from the base",
                                  start->string(), core::printable(adapter.beside_text().front().path, 200)));
  check_update_fields(fields, adapter);
  report.adapter = adapter.config();
  report.adapted_modules = adapter.slots().size();
  report.also_trained = also_trained(adapter);
  report.trainable_parameters = adapter.parameter_count();
  report.result_bytes = lora::peft_bytes(adapter);
}

/// Where the model's own tokenizer and template stand: of a random start, with its tokenizer.
fs::path TrainingRun::chat_folder(const data::Tokenizer& tokenizer) const {
  return resolved.model.empty() && !tokenizer.files().empty() ? tokenizer.files().front().parent_path()
                                                              : resolved.model;
}

std::shared_ptr<const data::ChatLayout> TrainingRun::chat_layout(const ChatSpec& chat,
                                                                 const data::Tokenizer& tokenizer) {
  ChatSpec dated = chat;
  // A run that is gone on with reads what it read, whatever the day.
  if (!chat.date && earlier.contains(kDate)) dated.date = earlier[kDate].get<std::string>();
  layout_ = recipes::chat_layout(dated, tokenizer, chat_folder(tokenizer), start);
  return layout_;
}

void TrainingRun::carry_chat(const data::Tokenizer& tokenizer, const models::DecoderConfig& config) {
  const fs::path folder = chat_folder(tokenizer);
  carry_tokenizer(carried, tokenizer, folder);
  if (!chat_) return;
  carry_template(carried, *layout_, folder);
  facts["chat template"] = layout_->identity();
  if (layout_->asks_for_date()) facts[kDate] = data::chat_date_text(*layout_->options().date);
  report.remarks.emplace_back("chat template", layout_->main_template().name());
  const std::optional<data::TokenId> end = layout_->turn_end(tokenizer);
  const auto& known = config.eos_token_ids;
  if (!end || std::find(known.begin(), known.end(), *end) != known.end()) return;
  turn_ends = {*end};
  carry_end(carried, *end, config, folder);
  report.remarks.emplace_back(
      "end of a turn",
      fmt::format("{} is not among the tokens that the model's generation stops at; it is added in the "
                  "generation_config.json that is saved",
                  tokenizer.id_to_token(*end)));
}

std::function<void(const fs::path&)> TrainingRun::save_carried() const {
  return [files = carried](const fs::path& directory) { write_carried(files, directory); };
}

void TrainingRun::used(const std::string& name, const data::ReadReport& data) {
  chat_ = chat_ || data.chat_template;
  report.data.push_back({name, data});
  for (std::string& note : report.data.back().report.notes) note = spelled(note);
  facts[name + " data"] = data.sha256;
}

models::Recompute TrainingRun::choose_recompute(const models::DecoderImpl& decoder, data::PlanOptions& plan,
                                                const data::Lengths& lengths) {
  const models::LoadedModel* const loaded = base_ == nullptr ? nullptr : &base_->model();
  PlannedStep step{decoder,
                   loaded,
                   data::Plan(lengths, plan).largest_micro_batch(),
                   report.trainable_parameters,
                   !report.adapter.has_value(),
                   models::Recompute(),
                   held_memory(loaded)};
  std::string how = "as asked";
  std::string chosen = spec.recompute;
  if (earlier.contains("micro-batch")) take_micro_batch(plan, earlier["micro-batch"].get<std::string>());
  if (chosen == "auto" && earlier.contains("recompute")) {
    chosen = earlier["recompute"].get<std::string>();
    how = "as the run began";
  }
  {
    const data::Plan begun(lengths, plan);
    planned_steps = begun.steps();
    planned_tokens = begun.total_tokens();
  }
  const auto everywhere = [&](const PlannedStep& one) {  // the ranks take one decision
    return train::largest(sync, fits(memory_plan(one)) ? 0 : 1) == 0;
  };
  facts["device"] = at::DeviceTypeName(device_.type(), /*lower_case=*/true);
  if (!device_.is_cpu()) {  // whose memory is not planned: what is asked for is taken
    const bool again = chosen == "layer";
    facts["recompute"] = again ? "layer" : "none";
    report.recompute = fmt::format("{} ({})", again ? "layer" : "none", spec.recompute == "auto" ? "memory of a device is not planned" : how);
    report.remarks.emplace_back("device", device_.str());
    return models::Recompute(again);
  }
  const std::vector<std::int64_t> kept = decoder.kept_by_layer();
  const std::int64_t layers = std::count_if(kept.begin(), kept.end(), [](std::int64_t one) { return one > 0; });
  const auto least = [&] {
    return models::Recompute::first(train::largest(sync, least_recompute(step).of(layers)));
  };
  if (chosen == "auto") {
    step.recompute = least();
    how = "the least that fits";
  } else if (chosen != "none") {
    step.recompute = chosen == "layer" ? models::Recompute(true) : models::Recompute::first(number_of(chosen));
  }
  report.memory = memory_plan(step);
  if (!everywhere(step)) {
    // The settings that fit: all layers computed again, and the step cut into smaller micro-batches.
    data::PlanOptions other = plan;
    PlannedStep less = step;
    less.recompute = true;
    while (!everywhere(less) && halve(other)) {
      less.tokens = data::Plan(lengths, other).largest_micro_batch();
    }
    const bool found = everywhere(less);
    const std::string settings = settings_of(other, plan, spec.recompute == "none" || chosen == "none");
    const auto have = core::available_memory();
    if (!spec.fit || !found) {
      std::string remedy = found && !settings.empty() ? "with " + settings + " it fits" : "nothing but a smaller model fits";
      if (!found && report.base_dtype != "nf4") remedy = "try `base-dtype` nf4";
      const std::uint64_t holes = heap_holes(*report.memory);
      throw IoError(fmt::format("this will not fit into memory: a step takes {}{}, and {} are left; lower `batch-size` or "
                                "`seq-len`, or use `recompute` layer: {}{}",
                                report.memory->words(),
                                holes == 0 ? "" : fmt::format(", with {} of address space that lies free in between", core::format_bytes(holes)),
                                core::format_bytes(have.value_or(0)), remedy,
                                found ? " (`fit` takes that by itself), or raise the limit" : ", or raise the limit"));
    }
    plan = other;
    step.tokens = less.tokens;
    step.recompute = least();
    report.memory = memory_plan(step);
    how = "`fit`";
    if (!settings.empty()) report.remarks.emplace_back("fit", fit_words(settings));
    facts["micro-batch"] = fmt::format("{} x {}", plan.batch_size, plan.grad_accum);
  }
  if (earlier.contains("micro-batch")) facts["micro-batch"] = earlier["micro-batch"];
  const std::int64_t again = step.recompute.of(layers);
  const std::string name = again == 0 ? "none" : again == layers ? "layer" : fmt::format("{}", again);
  facts["recompute"] = name;
  report.recompute = fmt::format("{} ({}{})", again == 0 || again == layers ? name : name + " of " + std::to_string(layers) + " layers",
                                 how, again == 0 ? "" : fmt::format("; {:.0f} % more products",
                                 100.0 / 3 * static_cast<double>(again) / static_cast<double>(layers)));
  return step.recompute;
}

void TrainingRun::train(RunResult& result, train::Objective& objective, const train::TrainOptions& options,
                        const Afterwards& afterwards) {
  report.steps = result.planned_steps = objective.steps();
  report.planned_tokens = objective.planned_tokens();
  report.environment = environment();
  report.environment["device"] = device_.str();
  if (sync.ranks() > 1) report.environment["ranks"] = sync.ranks();
  if (base_ != nullptr) {  // read whole only now that the run is known to fit
    report.model_sha256 = base_->sha256(&observer);
    facts["base model's weights"] = report.model_sha256;
  }
  if (!observer.wants_samples()) report.samples = nullptr;
  const std::int64_t kept = report.shares.is_null() && device_.is_cpu() ? kept_panel_bytes(spec, report, objective) : 0;
  if (kept > 0) {
    if (report.memory) report.memory->packed = static_cast<std::uint64_t>(kept);
    report.remarks.emplace_back("packed weights", "kept, at most " + core::format_bytes(static_cast<std::uint64_t>(kept)));
  }
  observer.on_opening(report);
  const fs::path out = result.out = spec.out;
  result.run = run_json(report, nullptr, out);
  kernels::ShardedBase* const shares = base_ == nullptr ? nullptr : base_->model().shares.get();
  if (spec.dry_run) {
    result.state = RunResult::State::kDryRun;
    return part(shares, sync);
  }
  train::together(sync, [&] {
    if (spec.overwrite && folder_ != nullptr) folder_->remove_old_run();
  });
  if (spec.begins) spec.begins();
  Json same = fields.identity();
  same.update(facts);
  same["lowrank"] = report.environment["lowrank"];
  same["LibTorch"] = report.environment["libtorch"];
  same["CPU capability"] = report.environment["cpu_capability"];
  train::TrainOptions settled = options;
  settled.longer = longer_;
  train::Trainer trainer(objective, settled, out, same, observer.stop_flag(), observer.ranks());
  train::together(sync, [&] {
    if (sync.rank() == 0) train::write_run_json(out, result.run);
  });
  TensorBoardLog logged(observer, out / kEventFile);
  train::TrainObserver& all = spec.tensorboard ? static_cast<train::TrainObserver&>(logged) : observer;
  std::optional<kernels::gemm::KeptPanels> panels;
  if (kept > 0) panels.emplace(kept);
  std::optional<kernels::Profile> profile;
  double best_flops = 0;
  if (spec.profile) {
    best_flops = kernels::measured_flops(report.environment["threads"].get<int>());
    profile.emplace();
  }
  result.training = trainer.run(all, spec.resume, spec.force);
  logged.close();
  if (profile) {
    const StepProfile steps = step_profile(profile->events(), best_flops);
    if (sync.rank() == 0) core::write_file(out / kTraceFile, core::json_text(chrome_trace(profile->events())));
    report.findings["profile"] = to_json(steps);
    report.findings_text += profile_text(steps) + "\n";
    profile.reset();
  }
  if (result.training->stop == train::TrainResult::Stop::kSignal) {
    result.state = RunResult::State::kStopped;
    return part(shares, sync);
  }
  result.state = RunResult::State::kTrained;
  report.findings["lr"] = result.training->lr;
  if (!result.training->spikes.empty()) report.findings["spikes"] = result.training->spikes;
  if (result.training->lr_test.is_object()) report.findings["lr_test"] = result.training->lr_test;
  if (afterwards) afterwards(report, *result.training);
  if (Json traffic = sync.traffic_json(); !traffic.is_null()) {
    if (shares != nullptr) {
      const kernels::ShardedBase::Traffic base = shares->traffic();
      traffic["base_bytes_received"] = base.bytes;
      traffic["seconds_waiting_for_base"] = base.waited_seconds;
    }
    report.findings["communication"] = std::move(traffic);
  }
  part(shares, sync);
  train::together(sync, [&] {
    if (sync.rank() == 0) report_end(result);
  });
}

void TrainingRun::report_end(RunResult& result) {
  const fs::path out = spec.out;
  const Curves curves = read_curves(out / "metrics.jsonl");
  report.verdict = judge(*result.training, curves);
  if (report.adapter) core::write_file(out / "README.md", model_card(report, *result.training));
  observer.begin("writing the report", 0, "");
  core::write_file(out / "report.html", run_page(report, *result.training, curves));
  observer.end();
  result.run = run_json(report, &*result.training, out);
  train::write_run_json(out, result.run);
  observer.on_closing(report, *result.training);
}

Verdict TrainingRun::judge(const train::TrainResult& result, const Curves& curves) const {
  VerdictFacts about;
  about.fields = &fields;
  about.verb = verb;
  about.model = model;
  if (resolved.adapter) about.base = resolved.base_name;
  about.out = spec.out;
  about.unit = report.unit;
  about.of_tokens = report.unit == "token" && report.shown_metrics.empty();  // other losses have metrics beside them
  about.has_adapter = report.adapter.has_value();
  about.generates = report.pipeline_tag == "text-generation";
  about.lr = result.lr;
  about.lr_auto = report.lr_auto;
  if (about.of_tokens) about.usual_lr = data::usual_rate(report.base_parameters, !report.adapter.has_value());
  if (report.findings.contains("update")) about.update = report.findings["update"].value("median_ratio", 0.0);
  Verdict verdict = verdict_of(about, result, curves);
  for (std::string* text : {&verdict.learned_text, &verdict.forgotten_text, &verdict.next_text}) *text = spelled(*text);
  return verdict;
}

std::string TrainingRun::spelled(const std::string& text) const {
  return spell_fields(text, [&](const std::string& name) { return observer.spelled(name); });
}

}  // namespace lowrank::recipes
