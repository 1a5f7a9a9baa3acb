#include "lowrank/recipes/images/image_classification.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"
#include "lowrank/lora/config.h"
#include "lowrank/recipes/images/image_model.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/image_classification.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using train::ImageMethod;

constexpr const char* kProcessor = "preprocessor_config.json";
constexpr int kBatch = 32;  // pictures: a batch norm's statistics need more than the four examples of text

/// ConfigError for a field of texts.
void refuse_fields_of_text(const Fields& fields) {
  static const std::vector<std::string> sensible = {"task",
                                                    "data",
                                                    "val-data",
                                                    "val-split",
                                                    "split-seed",
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
                                                    "profile",
                                                    "pack",
                                                    "seeds"};
  if (fields.get("lr") == core::Json("auto")) fields.fail("lr", "auto is for text; give a number");
  for (const FieldInfo& field : fields.info()) {
    if (fields.given(field.name) && std::find(sensible.begin(), sensible.end(), field.name) == sensible.end())
      fields.fail(field.name, "does not go with `task` image-classification; leave it out");
  }
}

ImageMethod method_of(const Fields& fields, const AdapterSpec& spec) {
  if (spec.method == "lora") return ImageMethod::kLora;
  refuse_adapter_fields(fields);
  return spec.method == "full" ? ImageMethod::kFull : ImageMethod::kHead;
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

lora::LoraConfig convolution_config(const AdapterSpec& spec, const Fields& fields, const std::string& base) {
  lora::LoraConfig config = lora_config(spec, fields);
  if (!spec.targets) config.target_modules = std::vector<std::string>{"convolution"};
  config.base_model_name_or_path = base;
  config.modules_to_save = {"classifier"};
  return config;
}

/// Training and validation pictures, as the options say.
struct Pictures {
  data::ImageSet train;
  std::vector<std::pair<std::string, data::ImageSet>> evaluation;
};

Pictures read_pictures(TrainingRun& run, const FinetuneSpec& spec, const data::ImageFiles& files,
                       const std::vector<std::string>& labels, const ImageModel& model) {
  const std::int64_t channels = model.network.config().num_channels;
  Pictures result;
  result.train = data::load_images(files, labels, model.processor, channels, &run.observer);
  std::string how;
  std::vector<fs::path> held = paths_of(spec.data.val_data);
  if (!held.empty()) {
    how = "on `val-data`";
  } else if (!run.fields.given("val-split")) {
    held = data::validation_pictures(paths_of(spec.data.data));
    if (!held.empty()) how = "on " + held.front().string() + ", which lies in `data`";
  }
  if (!held.empty()) {
    result.evaluation.emplace_back("validation", data::load_images(data::find_images(held, data::Part::kValidation),
                                                                   labels, model.processor, channels, &run.observer));
  } else if (spec.data.val_split > 0) {
    data::ImageSplit parts = data::split_images(result.train, spec.data.val_split, split_seed(spec.data, spec.train));
    how = parts.how;
    result.train = std::move(parts.train);
    if (parts.validation.size() > 0) result.evaluation.emplace_back("validation", std::move(parts.validation));
  } else {
    how = "none (`val-split` 0)";
  }
  run.report.validation_how = run.spelled(how);
  if (!result.evaluation.empty() && result.evaluation.front().second.height != result.train.height)
    run.fields.fail("val-data", "holds pictures of another size than `data`, and the preprocessing resizes neither");
  return result;
}

data::ReadReport report_of(const data::ImageSet& images) {
  data::ReadReport report;
  report.format = images.format;
  report.files = report.documents = report.examples = images.size();
  report.tokens = report.learned_tokens = images.size();
  report.sha256 = images.sha256;
  report.notes = images.notes;
  return report;
}

std::string size_text(const data::ImageSet& images) {
  return fmt::format("{} x {}, {}", images.width, images.height, images.channels == 1 ? "gray" : "RGB");
}

void report_model(RunReport& report, ImageModel& model) {
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
  report.lr_auto = false;
}

}  // namespace

ModelResult finetune_images(const FinetuneSpec& asked, Observer& observer) {
  FinetuneSpec spec = asked;
  Fields fields = fields_of(spec);
  refuse_fields_of_text(fields);
  if (!fields.given("batch-size")) {
    fields.set("batch-size", kBatch, "`task` image-classification");
    spec.run.command.clear();  // it is another command now
  }
  ModelResult result;
  TrainingRun run("finetune", spec.model, fields, spec.run, observer);
  const ImageMethod method = method_of(fields, spec.adapter);
  const bool lora = method == ImageMethod::kLora;
  const fs::path out = spec.run.out;
  const std::uint64_t seed = seed_of(spec.train);

  if (!run.device().is_cpu()) fields.fail("device", kImagesOnCpu);
  run.resolve(spec.adapter);
  const std::optional<fs::path>& start = run.start;
  if (start && !lora)
    fields.fail("method",
                spec.adapter.method + " trains the model's own weights, and MODEL is an adapter; give its base");
  if (lora && !start) lora_config(spec.adapter, fields);  // its mistakes show before anything is read
  require_data(fields, spec.data);
  if (!run.open(result)) return result;

  const data::ImageFiles files = data::find_images(paths_of(spec.data.data));
  if (files.labels.size() < 2)
    throw DataError(
        fmt::format("`data` has one class only, '{}': a classifier needs two at least; expected a folder a class",
                    core::printable(files.labels.front())));
  ImageModel model = open_image_model(spec.model);
  Head head = head_for(model.network.config().labels, files.labels);
  if (start) {
    head = {read_labels(*start).value_or(model.network.config().labels), false, "the adapter's"};
    if (!holds(head.labels, files.labels))
      fields.fail("data",
                  fmt::format("has classes that the adapter in {} does not know ({}); start from the base instead",
                              start->string(), core::printable(fmt::format("{}", fmt::join(head.labels, ", ")), 200)));
  }
  if (head.labels.size() == model.network.config().labels.size() && !head.fresh) {
    model.network.rename_labels(head.labels);
  } else {
    model.network.new_head(head.labels, seed);
  }

  RunReport& report = run.report;
  report_model(report, model);
  report.remarks.emplace_back("classifier", head.how);
  std::optional<lora::Injected> adapter;
  if (start) {
    check_against_adapter(spec.adapter, fields, lora::read_adapter_config(*start), [&](const lora::LoraConfig& config) {
      return lora::targets_in(model.network.network(), config);
    });
    adapter.emplace(lora::load_injected(model.network.network(), *start));
  } else if (lora) {
    adapter.emplace(lora::inject(model.network.network(),
                                 convolution_config(spec.adapter, fields, model.resolved.base_name), seed));
  }
  if (adapter) {
    report.adapter = adapter->config();
    report.adapted_modules = adapter->modules().size();
  }

  Pictures pictures = read_pictures(run, spec, files, head.labels, model);
  run.used("train", report_of(pictures.train));
  for (const auto& [name, set] : pictures.evaluation) run.used(name, report_of(set));
  report.remarks.emplace_back("pictures", fmt::format("{} ({})", size_text(pictures.train), model.processor.origin));
  report.remarks.emplace_back(
      "batch norm", method == ImageMethod::kFull
                        ? "the statistics of each batch in training; for the result estimated from training pictures"
                        : "the base's statistics, frozen");
  run.facts["base model's weights"] = report.model_sha256;
  run.facts["dtype"] = report.dtype;
  run.facts["preprocessing"] = core::sha256(data::image_processor_json(model.processor));
  if (start) run.facts["starting adapter"] = core::sha256_file(*start / "adapter_model.safetensors");

  train::ImageClassification::Parts parts;
  parts.model = &model.network;
  parts.adapter = adapter ? &*adapter : nullptr;
  parts.method = method;
  parts.train = std::move(pictures.train);
  parts.evaluation = std::move(pictures.evaluation);
  parts.plan = plan_options(spec.train, spec.data, fields);
  run.share(parts);
  parts.label_smoothing = spec.regularisation.label_smoothing;
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
      about.findings_text += fmt::format("{}:\n{}", core::visible_line(name), confusion_text(found.scores, head.labels));
    }
  };
  train::TrainOptions options =
      train_options(spec.train, spec.adapter, spec.run, method == ImageMethod::kFull ? 2e-4 : 1e-3);
  regularise(options, spec.regularisation, fields);
  run.train(result, objective, options, afterwards);
  return result;
}

}  // namespace lowrank::recipes
