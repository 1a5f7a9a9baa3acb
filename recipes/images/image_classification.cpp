#include "lowrank/apps/images/image_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/apps/images/image_model.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/config.h"
#include "lowrank/train/image_classification.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using train::ImageMethod;

constexpr const char* kProcessor = "preprocessor_config.json";
constexpr int kBatch = 32;  // pictures: a batch norm's statistics need more than the four examples of text

const std::vector<std::string>& sensible_options() {
  static const std::vector<std::string> names = {"task",
                                                 "data",
                                                 "val-data",
                                                 "val-split",
                                                 "no-shuffle",
                                                 "method",
                                                 "rank",
                                                 "alpha",
                                                 "targets",
                                                 "exclude",
                                                 "layers",
                                                 "rslora",
                                                 "rank-pattern",
                                                 "alpha-pattern",
                                                 "init",
                                                 "lora-plus-ratio",
                                                 "adapter",
                                                 "epochs",
                                                 "max-steps",
                                                 "batch-size",
                                                 "grad-accum",
                                                 "lr",
                                                 "schedule",
                                                 "warmup",
                                                 "clip",
                                                 "weight-decay",
                                                 "l1",
                                                 "l2",
                                                 "early-stopping",
                                                 "eval-every",
                                                 "seed",
                                                 "label-smoothing",
                                                 "ema",
                                                 "min-gain",
                                                 "threads",
                                                 "kernels",
                                                 "out",
                                                 "save-every",
                                                 "keep-last",
                                                 "resume",
                                                 "overwrite",
                                                 "force",
                                                 "dry-run",
                                                 "log-every",
                                                 "tensorboard",
                                                 "quiet",
                                                 "json",
                                                 "seeds"};
  return names;
}

ImageMethod method_of(const Options& options) {
  const std::string name = options.text("method");
  if (name == "lora") return ImageMethod::kLora;
  for (const OptionSpec& option : adapter_options())
    if (option.name != "method" && options.given(option.name)) options.fail(option.name, "is for --method lora");
  return name == "full" ? ImageMethod::kFull : ImageMethod::kHead;
}

/// What the network's head must be for the data's classes.
struct Head {
  std::vector<std::string> labels;
  bool fresh = false;
  std::string how;  // in words
};

bool holds(const std::vector<std::string>& labels, const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& label) {
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  });
}

/// Names that transformers gives classes that were never named.
bool unnamed(const std::vector<std::string>& labels) {
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] != fmt::format("LABEL_{}", i)) return false;
  return true;
}

Head head_for(const std::vector<std::string>& has, const std::vector<std::string>& data) {
  const std::string classes = core::printable(fmt::format("{}", fmt::join(data, ", ")), 200);
  if (holds(has, data)) {
    return {has, false,
            has.size() == data.size()
                ? fmt::format("the model's own, for {} classes", has.size())
                : fmt::format("the model's own, for {} classes, {} of which the data has", has.size(), data.size())};
  }
  if (has.size() == data.size() && unnamed(has)) {
    return {data, false,
            fmt::format("the model's own; its {} classes have no names and take those of the data in order: {}",
                        has.size(), classes)};
  }
  return {data, true,
          fmt::format("newly made: the data has {} classes ({}), not the {} of the model", data.size(), classes,
                      has.size())};
}

lora::LoraConfig convolution_config(const Options& options, const std::string& base) {
  lora::LoraConfig config = lora_config(options);
  if (!options.given("targets")) config.target_modules = std::vector<std::string>{"convolution"};
  config.base_model_name_or_path = base;
  config.modules_to_save = {"classifier"};
  return config;
}

/// Training and validation pictures, as the options say.
struct Pictures {
  data::ImageSet train;
  std::vector<std::pair<std::string, data::ImageSet>> evaluation;
};

Pictures read_pictures(const Options& options, const data::ImageFiles& files, const std::vector<std::string>& labels,
                       const ImageModel& model, RunReport& report, core::ProgressObserver& progress) {
  const std::int64_t channels = model.network.config().num_channels;
  Pictures result;
  result.train = data::load_images(files, labels, model.processor, channels, &progress);
  const double share = options.number_in("val-split", 0, 0.9);
  if (options.has("val-data")) {
    result.evaluation.emplace_back("validation", data::load_images(data::find_images(options.paths("val-data")), labels,
                                                                   model.processor, channels, &progress));
    report.validation_how = "on --val-data";
  } else if (share > 0) {
    data::ImageSplit parts =
        data::split_images(result.train, share, static_cast<std::uint64_t>(options.integer("seed")));
    report.validation_how = parts.how;
    result.train = std::move(parts.train);
    if (parts.validation.size() > 0) result.evaluation.emplace_back("validation", std::move(parts.validation));
  } else {
    report.validation_how = "none (--val-split 0)";
  }
  if (!result.evaluation.empty() && result.evaluation.front().second.height != result.train.height)
    options.fail("val-data", "holds pictures of another size than --data, and the preprocessing resizes neither");
  return result;
}

DataUsed data_used(const std::string& name, const data::ImageSet& images) {
  DataUsed used;
  used.name = name;
  used.report.format = images.format;
  used.report.files = used.report.documents = used.report.examples = images.size();
  used.report.tokens = used.report.learned_tokens = images.size();
  used.report.sha256 = images.sha256;
  used.report.notes = images.notes;
  return used;
}

std::string size_text(const data::ImageSet& images) {
  return fmt::format("{} x {}, {}", images.width, images.height, images.channels == 1 ? "gray" : "RGB");
}

void report_model(RunReport& report, const Options& options, ImageModel& model) {
  report.verb = options.verb().name;
  report.command = options.command_line();
  report.options = options.resolved();
  report.model_path = model.resolved.model.string();
  report.model_name = model.resolved.name;
  report.model_type = "resnet";
  report.base_parameters = parameter_count(model.network);
  const formats::WeightFiles weights = formats::WeightFiles::open(model.resolved.model);
  report.base_bytes = weights.total_bytes();
  std::vector<fs::path> files;
  for (const auto& file : weights.files()) files.push_back(file->path());
  report.model_sha256 = hash_files(files);
  report.dtype = "float32";
  report.dtype_reason = "image models compute in it";
  report.recompute = "none";
  report.unit = "picture";
  report.adapted_kind = "convolutions and linear layers";
  report.pipeline_tag = "image-classification";
  report.usage =
      "Use it with PEFT (`PeftModel.from_pretrained(base, this_folder)`) or `lowrank evaluate THIS_FOLDER --task "
      "image-classification --data FOLDER`; labels.json has the names of the classes.\n";
  report.shown_metrics = {"accuracy", "macro_f1", "matthews"};
}

}  // namespace

RunOutcome run_image_classification(const Options& asked, const Console& console, train::TrainObserver* observer) {
  refuse_options_of_text(asked, sensible_options());
  const Options options = asked.given("batch-size")
                              ? asked
                              : asked.for_verb(asked.verb(), {{"batch-size", kBatch}}, "--task image-classification");
  ConsoleProgress progress(console);
  set_threads_and_kernels(options);
  const ImageMethod method = method_of(options);
  const bool lora = method == ImageMethod::kLora;
  const fs::path out = options.text("out");
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));

  const models::Resolved resolved = models::resolve(options.positional(0));
  std::optional<fs::path> start = resolved.adapter;
  if (options.has("adapter")) start = options.text("adapter");
  if (start && !lora)
    options.fail("method",
                 options.text("method") + " trains the model's own weights, and MODEL is an adapter; give its base");
  if (lora && !start) lora_config(options);  // its mistakes show before anything is read

  std::vector<fs::path> inputs = {resolved.model};
  if (start) inputs.push_back(*start);
  const RunFolder folder = open_run(options, console, inputs);
  if (folder.finished) return {};

  const data::ImageFiles files = data::find_images(options.paths("data"));
  if (files.labels.size() < 2)
    throw DataError(
        fmt::format("--data has one class only, '{}': a classifier needs two at least; expected a folder a class",
                    core::printable(files.labels.front())));
  ImageModel model = open_image_model(options);
  Head head = head_for(model.network.config().labels, files.labels);
  if (start) {
    head = {read_labels(*start).value_or(model.network.config().labels), false, "the adapter's"};
    if (!holds(head.labels, files.labels))
      options.fail("data",
                   fmt::format("has classes that the adapter in {} does not know ({}); start from the base instead",
                               start->string(), core::printable(fmt::format("{}", fmt::join(head.labels, ", ")), 200)));
  }
  if (head.labels.size() == model.network.config().labels.size() && !head.fresh) {
    model.network.rename_labels(head.labels);
  } else {
    model.network.new_head(head.labels, seed);
  }

  RunReport report;
  report_model(report, options, model);
  report.remarks.emplace_back("classifier", head.how);
  std::optional<lora::Injected> adapter;
  if (start) {
    check_against_adapter(options, lora::read_adapter_config(*start));
    adapter.emplace(lora::load_injected(model.network.network(), *start));
  } else if (lora) {
    adapter.emplace(lora::inject(model.network.network(), convolution_config(options, model.resolved.name), seed));
  }
  if (adapter) {
    report.adapter = adapter->config();
    report.adapted_modules = adapter->modules().size();
  }

  Pictures pictures = read_pictures(options, files, head.labels, model, report, progress);
  report.data.push_back(data_used("train", pictures.train));
  for (const auto& [name, set] : pictures.evaluation) report.data.push_back(data_used(name, set));
  report.remarks.emplace_back("pictures", fmt::format("{} ({})", size_text(pictures.train), model.processor.origin));
  report.remarks.emplace_back(
      "batch norm", method == ImageMethod::kFull
                        ? "the statistics of each batch in training; for the result estimated from training pictures"
                        : "the base's statistics, frozen");
  core::Json facts = {{"base model's weights", report.model_sha256},
                      {"dtype", report.dtype},
                      {"preprocessing", core::sha256(data::image_processor_json(model.processor))}};
  if (start) facts["starting adapter"] = core::sha256_file(*start / "adapter_model.safetensors");
  for (const DataUsed& used : report.data) facts[used.name + " data"] = used.report.sha256;

  train::ImageClassification::Parts parts;
  parts.model = &model.network;
  parts.adapter = adapter ? &*adapter : nullptr;
  parts.method = method;
  parts.train = std::move(pictures.train);
  parts.evaluation = std::move(pictures.evaluation);
  parts.plan = plan_options(options);
  parts.label_smoothing = options.number_in("label-smoothing", 0, 0.999);
  parts.save_extra = [&](const fs::path& directory) {
    if (lora) return write_labels(directory, head.labels);
    const fs::path own = model.resolved.model / kProcessor;
    core::write_file(directory / kProcessor,
                     fs::exists(own) ? core::read_file(own) : data::image_processor_json(model.processor));
  };
  train::ImageClassification objective(std::move(parts));
  for (const lora::NamedTensor& parameter : objective.parameters())
    report.trainable_parameters += parameter.tensor.numel();
  report.trained = method == ImageMethod::kFull ? "every weight is trained" : "the classifier alone is trained";
  report.result_bytes = lora ? 4 * static_cast<std::uint64_t>(report.trainable_parameters) : report.base_bytes;

  const auto afterwards = [&](RunReport& about, train::TrainResult&) {
    about.result_bytes = fs::file_size(out / (lora ? "adapter_model.safetensors" : "model.safetensors"));
    for (const auto& [name, found] : objective.scores()) {
      about.findings["scores"][name] = scores_json(found.scores, head.labels);
      about.findings_text += fmt::format("{}:\n{}", name, confusion_text(found.scores, head.labels));
    }
  };
  return train_and_report(options, console, objective, report,
                          train_options(options, method == ImageMethod::kFull ? 2e-4 : 1e-3), facts, observer,
                          afterwards);
}

}  // namespace lowrank::apps
