#include "lowrank/apps/console/foreign_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

/// Keys by which a tool's file is known: two of them, or one that stands alone for it.
struct Tool {
  const char* name;
  std::set<std::string> marks, alone;
};

const std::vector<Tool>& tools() {
  static const std::vector<Tool> all = {
      {"LLaMA-Factory",
       {"stage", "do_train", "lora_target", "lora_rank", "template", "cutoff_len", "dataset_dir", "pissa_init",
        "val_size", "overwrite_cache", "preprocessing_num_workers", "plot_loss"},
       {"finetuning_type"}},
      {"Axolotl",
       {"base_model", "micro_batch_size", "sequence_len", "datasets", "val_set_size", "lora_target_linear",
        "sample_packing", "dataset_prepared_path", "num_epochs", "train_on_inputs", "special_tokens"},
       {}},
      {"mlx-lm",
       {"iters", "steps_per_report", "steps_per_eval", "val_batches", "adapter_path", "num_layers", "mask_prompt",
        "grad_checkpoint", "lr_schedule", "save_every", "train", "test", "max_seq_length"},
       {"fine_tune_type", "lora_parameters"}},
      {"PEFT", {"base_model_name_or_path", "lora_alpha", "target_modules", "task_type"}, {"peft_type"}},
      {"TRL",
       {"model_name_or_path", "dataset_name", "per_device_train_batch_size", "num_train_epochs", "use_peft",
        "lora_target_modules", "output_dir", "learning_rate", "gradient_accumulation_steps", "lr_scheduler_type",
        "lora_r", "lora_alpha", "max_length", "torch_dtype", "report_to"},
       {}},
  };
  return all;
}

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

bool is_off(const Json& value) { return value == Json(false) || value == Json("false") || value == Json("no"); }

std::string words(const Json& list, const char* by) {
  if (!list.is_array()) return list.is_string() ? list.get<std::string>() : core::json_text(list);
  std::string text;
  for (const Json& one : list)
    text += (text.empty() ? "" : by) + (one.is_string() ? one.get<std::string>() : core::json_text(one));
  return text;
}

class Converter {
 public:
  Converter(const std::string& tool, const Json& file) : file_(file) { result_.tool = tool; }

  Converted run() {
    choose_verb();
    for (const auto& [key, value] : file_.items()) {
      if (!value.is_null() && !own_way(key, value)) by_table(key, value);
    }
    defaults();
    in_order();
    return std::move(result_);
  }

 private:
  /// Null where it was not set.
  Json* setting(const std::string& name) {
    const auto it = std::find_if(result_.settings.begin(), result_.settings.end(), [&](const auto& s) { return s.name == name; });
    return it == result_.settings.end() ? nullptr : &it->value;
  }
  bool has(const std::string& name) { return setting(name) != nullptr; }
  void set(const std::string& name, const Json& value, const std::string& remark = "") {
    if (!has(name)) result_.settings.push_back({name, value, remark});
  }
  void replace(const std::string& name, const Json& value) {
    set(name, value);
    *setting(name) = value;
  }
  /// A later key of theirs that says more than an earlier one.
  void raise(const std::string& name, const Json& value) {
    if (option(name) != nullptr) replace(name, value);
  }
  /// All weights are trained: what describes an adapter is left out.
  void train_all(const std::string& key) {
    if (option("method") == nullptr) return leave(key, fmt::format("all weights are trained there; `lowrank {}` trains an adapter", result_.verb));
    static const std::vector<std::string> of_adapters = {"rank",    "alpha",  "dropout",      "rslora",        "dora", "targets",   "target-parameters", "bias",
                                                         "exclude", "layers", "rank-pattern", "alpha-pattern", "init", "base-dtype", "modules-to-save"};
    for (const std::string& name : of_adapters) {
      if (has(name)) leave(name, "of an adapter, and " + key + " trains all weights");
      std::erase_if(result_.settings, [&](const auto& one) { return one.name == name; });
    }
    set("method", "full");
  }
  void leave(const std::string& key, const std::string& why) { result_.left_out.emplace_back(key, why); }
  const Json* find(const std::string& key) const {
    const auto it = file_.find(key);
    return it == file_.end() || it->is_null() ? nullptr : &*it;
  }
  const Verb& verb() const {
    for (const Verb& one : verbs())
      if (one.name == result_.verb) return one;
    throw InternalError("a settings file was given a verb that is not there");
  }
  const OptionSpec* option(const std::string& name) const {
    for (const OptionSpec& one : verb().options)
      if (one.name == name) return &one;
    return nullptr;
  }

  void choose_verb() {
    const std::string key = find("stage") != nullptr ? "stage" : "rl";
    const Json* const stage = find(key);
    const std::string name = stage != nullptr && stage->is_string() ? stage->get<std::string>() : "";
    if (name == "dpo" || name == "ipo") result_.verb = "align dpo";
    if (name == "rm" || name == "reward") result_.verb = "align reward";
    if (name == "ppo") result_.verb = "align ppo";
    if (name == "ipo") set("loss", "ipo");
    static const std::set<std::string> offered = {"", "sft", "pt", "dpo", "ipo", "rm", "reward", "ppo", "false"};
    if (offered.count(name) == 0) leave(key, name + " is not offered; what is written here is a plain fine-tune");
    if (const Json* const type = find("peft_type"); type != nullptr && *type != Json("LORA"))
      leave("peft_type", words(*type, ",") + " is not offered; LoRA is trained");
  }

  /// What needs more than another name. False: nothing was done.
  bool own_way(const std::string& key, const Json& value) {
    static const std::set<std::string> said = {"stage",    "rl",        "do_train",       "train",
                                               "use_peft", "peft_type", "inference_mode", "dataset_dir",
                                               "do_eval",  "test"};
    if (said.count(key) != 0) return true;
    if (key == "task_type") {
      if (value == Json("SEQ_CLS")) set("task", "classification");
      return true;
    }
    if (key == "adapter_path" && result_.tool == "mlx-lm") {
      set("out", value);
      return true;
    }
    if ((key == "rank_pattern" || key == "alpha_pattern") && value.is_object()) {
      Json entries = Json::array();
      for (const auto& [module, number] : value.items()) entries.push_back(module + "=" + core::json_text(number));
      if (!entries.empty()) set(dashed(key), entries);
      return true;
    }
    if (key == "finetuning_type" || key == "fine_tune_type" || (key == "adapter" && result_.tool == "Axolotl")) {
      return method(key, words(value, ","));
    }
    if (key == "lora_parameters" && value.is_object()) return mlx_parameters(value);
    if (key == "lr_schedule" && value.is_object()) return mlx_schedule(value);
    if (key == "datasets" && value.is_array()) return axolotl_datasets(value);
    if (key == "dataset" && result_.tool == "LLaMA-Factory") return factory_datasets("data", words(value, ","));
    if (key == "eval_dataset" && result_.tool == "LLaMA-Factory") return factory_datasets("val-data", words(value, ","));
    if (key == "chat_template" && result_.tool == "Axolotl") {
      if (value != Json("tokenizer_default")) {
        leave(key, "the model's own chat template is used; give --chat-template FILE where " + words(value, ",") + " is another");
      }
      return true;
    }
    if (key == "bnb_4bit_quant_type" && (find("load_in_4bit") == nullptr || is_off(*find("load_in_4bit")))) {
      leave(key, "of load_in_4bit, which is off");
      return true;
    }
    if (key == "tokens" && value.is_array()) {
      if (!value.empty()) leave(key, "--add-tokens FILE takes them, one a line");
      return true;
    }
    if (key == "mask_prompt" && result_.tool == "mlx-lm") {
      if (is_off(value)) set("train-on-prompt", true);
      return true;
    }
    if (key == "assistant_only_loss") {
      if (is_off(value)) learns_all_turns(key);
      return true;
    }
    if (key == "dataset_name" || key == "dataset") {
      set("data", Json::array({words(value, ",")}),
          "files or folders, or ORG/NAME of the hub after `lowrank pull datasets/ORG/NAME`");
      return true;
    }
    if (key == "lora_target_linear") {
      if (!is_off(value)) raise("targets", "all-linear");  // beside those that are named
      return true;
    }
    const bool counts_layers = key == "num_layers" || (key == "lora_layers" && result_.tool == "mlx-lm");  // its older name
    if (counts_layers && value == Json(-1)) return true;  // all of them, as here
    if (counts_layers) {
      leave(key,
            fmt::format("the last {} layers: give --layers with their numbers, or train all as here", core::json_text(value)));
      return true;
    }
    if (key == "iters") {
      const Json* const accumulate = find("grad_accumulation_steps");
      const std::int64_t each =
          accumulate != nullptr && accumulate->is_number_integer() ? accumulate->get<std::int64_t>() : 1;
      if (value.is_number_integer() && each > 0)
        set("max-steps", std::max<std::int64_t>(1, value.get<std::int64_t>() / each),
            each > 1 ? "mlx-lm counts micro-batches, lowrank optimiser steps" : "");
      return true;
    }
    return false;
  }

  void learns_all_turns(const std::string& key) {
    leave(key, result_.tool + " learns every turn of conversations; here it is the assistant's, or all by --train-on-prompt");
  }

  bool method(const std::string& key, const std::string& name) {
    if (name == "full") {
      full_by_ = key;
    } else if (name == "dora") {
      set("dora", true);
    } else if (name == "qlora") {
      set("base-dtype", "nf4");
    } else if (name != "lora" && !name.empty()) {
      leave(key, name + " is not offered; LoRA is trained");
    }
    return true;
  }

  bool mlx_parameters(const Json& parameters) {
    const std::int64_t rank = parameters.value("rank", Json(8)).is_number_integer() ? parameters.value("rank", 8) : 8;
    set("rank", rank);
    const Json scale = parameters.value("scale", Json(20.0));
    if (scale.is_number())
      set("alpha", scale.get<double>() * static_cast<double>(rank), "mlx-lm's scale times the rank");
    if (parameters.contains("dropout")) set("dropout", parameters["dropout"]);
    if (parameters.contains("keys")) {
      Json names = Json::array();
      for (const Json& one : parameters["keys"]) {
        const std::string path = one.is_string() ? one.get<std::string>() : core::json_text(one);
        names.push_back(path.substr(path.rfind('.') + 1));
      }
      set("targets", words(names, ","));
    }
    return true;
  }

  bool mlx_schedule(const Json& schedule) {
    by_table("lr_scheduler_type", schedule.value("name", Json("constant")));
    if (schedule.contains("warmup")) set("warmup", schedule["warmup"], "steps");
    const Json* const arguments = schedule.contains("arguments") ? &schedule["arguments"] : nullptr;
    if (arguments != nullptr && arguments->is_array() && !arguments->empty()) replace("lr", arguments->front());
    return true;
  }

  bool axolotl_datasets(const Json& list) {
    Json paths = Json::array();
    std::string format, remark;
    for (const Json& one : list) {
      if (!one.is_object()) {
        leave("datasets", "an entry that is no mapping: " + words(one, ","));
        continue;
      }
      for (const auto& [key, value] : one.items()) {
        static const std::set<std::string> read = {"path", "data_files", "type", "ds_type"};
        if (read.count(key) != 0 || value.is_null()) continue;
        leave("datasets: " + key, key == "split"               ? "all of a file is read; give the part as a file of its own"
                                  : key.starts_with("field")   ? "name columns with --columns, such as messages=" + words(value, ",")
                                  : key == "roles_to_train"    ? "--loss-on roles says whose turns are learned"
                                                               : "nothing like it here");
      }
      const Json path = one.contains("data_files") ? one["data_files"] : one.value("path", Json(""));
      if (path.is_array()) {
        for (const Json& file : path) paths.push_back(file);
      } else if (!path.is_null() && path != Json("")) {
        paths.push_back(path);
      }
      const std::string type = one.contains("type") ? words(one["type"], ",") : "";
      const std::string ours = type.starts_with("alpaca")                                       ? "alpaca"
                               : type == "chat_template"                                        ? "messages"
                               : type.starts_with("sharegpt")                                   ? "sharegpt"
                               : type.starts_with("completion") || type.starts_with("pretrain") ? "text"
                                                                                                : "auto";
      if (ours == "auto") remark = "rows of '" + type + "': their form is found out from them";
      format = format.empty() || format == ours ? ours : "auto";
    }
    set("data", paths, "files or folders, or ORG/NAME of the hub after `lowrank pull datasets/ORG/NAME`");
    if (result_.verb == "finetune" && !format.empty()) set("format", format, remark);
    return true;
  }

  /// Names of dataset_info.json, where it can be read, as the files they stand for.
  bool factory_datasets(const std::string& target, const std::string& names) {
    const Json* const directory = find("dataset_dir");
    const fs::path folder = directory != nullptr && directory->is_string() ? directory->get<std::string>() : "data";
    Json info;
    if (std::error_code none; fs::is_regular_file(folder / "dataset_info.json", none))
      info = core::read_json(folder / "dataset_info.json");
    Json paths = Json::array();
    std::string format, remark;
    for (std::size_t begin = 0; begin <= names.size();) {
      const std::size_t end = std::min(names.find(',', begin), names.size());
      std::string name = names.substr(begin, end - begin);
      name.erase(0, name.find_first_not_of(' '));
      begin = end + 1;
      if (name.empty()) continue;
      const auto entry = info.is_object() ? info.find(name) : info.end();
      if (entry != info.end() && entry->is_object() && entry->contains("file_name")) {
        // Names of columns and roles of its own are read where the entry is.
        const bool mapped = entry->contains("columns") || entry->contains("tags");
        paths.push_back((folder / (mapped ? name : (*entry)["file_name"].get<std::string>())).string());
        format = entry->value("formatting", "alpaca");
      } else {
        paths.push_back(name);
        remark = "names of LLaMA-Factory's dataset_info.json: write the files that they stand for";
      }
    }
    set(target, paths, remark);
    if (format == "sharegpt" && result_.verb == "finetune") set("format", "auto");
    return true;
  }

  void by_table(const std::string& key, const Json& value) {
    const std::string name = dashed(key);
    if (const auto answer = translate_option(name)) {
      if (answer->starts_with("the MODEL")) return set("model", value);
      if (!answer->starts_with("--")) {
        if (!is_off(value)) leave(key, *answer);
        return;
      }
      const std::size_t end = std::min(answer->find_first_of(" ,"), answer->size());
      const std::string ours = answer->substr(2, end - 2);
      const std::string rest = end < answer->size() ? answer->substr(end + 1) : "";
      if (option(ours) == nullptr) return leave(key, fmt::format("`lowrank {}` has no --{}", result_.verb, ours));
      if (name == "quantization-bit") {
        if (value == Json(4) || value == Json(8)) return set(ours, value == Json(4) ? "nf4" : "int8");
        return is_off(value) ? void() : leave(key, "weights of 4 and 8 bits are offered");
      }
      if (name == "max-samples" || name == "max-train-samples") return leave(key, *answer);
      if (!rest.empty() && rest.front() != '(' && rest.find(' ') == std::string::npos) {  // "--recompute layer"
        if (!is_off(value) && value != Json("auto")) set(ours, rest);
        return;
      }
      return set_as(key, ours, value);
    }
    if (option(name) != nullptr) return set_as(key, name, value);
    const bool off = is_off(value) || value == Json("") || ((value.is_array() || value.is_object()) && value.empty());
    if (!off) leave(key, "nothing like it here");
  }

  /// `value` as our option `name` has it.
  void set_as(const std::string& key, const std::string& name, const Json& value) {
    const OptionSpec& ours = *option(name);
    if (ours.type == OptionType::kFlag) {
      if (value == Json(true) || value == Json("true")) return set(name, true);
      if (!is_off(value)) leave(key, "--" + name + " is yes or no here");
      return;
    }
    if (name == "targets" || name == "exclude" || name == "modules-to-save") {
      const std::string list = words(value, ",");
      if (!list.empty()) set(name, list == "all" ? "all-linear" : list);
      return;
    }
    if (name == "init" && value.is_boolean()) {
      if (is_off(value)) leave(key, "random beginnings of both matrices are not offered");
      return;
    }
    if (name == "bias" && value.is_boolean()) {  // PEFT's lora_bias
      if (!is_off(value)) leave(key, "biases beside B are not trained here");
      return;
    }
    if (name == "schedule") return schedule(key, words(value, ","));
    if (value.is_object()) return leave(key, "a mapping has no counterpart here");
    if (ours.type == OptionType::kTexts) return set(name, value.is_array() ? value : Json::array({words(value, ",")}));
    if (ours.type == OptionType::kInt || ours.type == OptionType::kNumber) return number(key, ours, value);
    const std::string text = words(value, ",");
    if (!ours.choices.empty() && std::find(ours.choices.begin(), ours.choices.end(), text) == ours.choices.end())
      return leave(key, fmt::format("--{} has no '{}'", name, text));
    set(name, text);
  }

  void number(const std::string& key, const OptionSpec& ours, const Json& value) {
    if (!value.is_number()) return leave(key, "--" + ours.name + " takes a number");
    const double x = value.get<double>();
    if (ours.name == "max-steps" && x <= 0) return;  // their word for: by epochs
    if (ours.name == "val-split" && x >= 1)
      return leave(key, "--val-split is a share below 1 here; or give --val-data");
    if (Json* const warmup = setting(ours.name); ours.name == "warmup" && warmup != nullptr) {
      // Two keys of theirs: steps, where they are any, before a share.
      if (x != 0 && (*warmup == Json(0) || *warmup == Json(0.0) || key.find("steps") != key.npos)) *warmup = value;
      return;
    }
    if (ours.name == "early-stopping" && x <= 0) return;
    if (ours.range && (x < ours.range->first || x > ours.range->second))
      return leave(key,
                   fmt::format("--{} is from {:g} to {:g} here", ours.name, ours.range->first, ours.range->second));
    const bool whole = ours.type == OptionType::kInt;
    if (whole && x != static_cast<double>(static_cast<std::int64_t>(x)))
      return leave(key, fmt::format("--{} is a whole number here", ours.name));
    set(ours.name, whole ? Json(static_cast<std::int64_t>(x)) : value);
  }

  void schedule(const std::string& key, const std::string& name) {
    const OptionSpec& ours = *option("schedule");
    std::string same = name;
    if (name == "constant_with_warmup") same = "constant";
    if (name == "cosine_decay") same = "cosine";
    if (name == "linear_decay" || name == "linear_schedule") same = "linear";
    if (std::find(ours.choices.begin(), ours.choices.end(), same) != ours.choices.end()) return set("schedule", same);
    const std::string near = name.starts_with("cosine") ? "cosine" : "linear";
    leave(key, fmt::format("{} is not offered; {} stands for it", name, near));
    set("schedule", near);
  }

  /// What holds where their file is silent and ours would mean something else.
  void defaults() {
    const bool ranked = has("method");
    const auto missing = [&](const std::string& name, const Json& value) {
      if (option(name) != nullptr) set(name, value, result_.tool + "'s default");
    };
    if (result_.tool == "TRL") {
      const Json* const peft = find("use_peft");
      const bool lora = peft != nullptr ? !is_off(*peft) : has("rank") || has("alpha");
      if (!lora) full_by_ = peft != nullptr ? "use_peft" : "use_peft (not given)";
      if (lora) {
        missing("alpha", 32);
        missing("dropout", 0.05);
        missing("targets", "q_proj,v_proj");
      }
    }
    if (result_.tool == "Axolotl" && (find("adapter") == nullptr || is_off(*find("adapter")) || *find("adapter") == Json("")))
      full_by_ = "adapter (not given)";
    if (const Json* const theirs = find("lr_scheduler_type"); theirs != nullptr && *theirs == Json("constant") && has("warmup"))
      replace("warmup", 0);  // transformers' constant has none
    if (!full_by_.empty()) train_all(full_by_);
    if (result_.tool == "LLaMA-Factory" && !ranked && full_by_.empty()) missing("rank", 8);
    if (result_.tool == "mlx-lm" && !ranked && full_by_.empty()) {
      missing("rank", 8);
      missing("alpha", 160);
    }
    if (result_.tool == "TRL" && find("assistant_only_loss") == nullptr) learns_all_turns("assistant_only_loss (not given)");
    if (result_.tool == "Axolotl") {
      missing("batch-size", 1);
      missing("epochs", 1);
      missing("val-split", 0);
    }
    if (result_.tool == "LLaMA-Factory" || result_.tool == "TRL") {
      missing("lr", result_.tool == "TRL" ? 2e-5 : 5e-5);
      missing("batch-size", 8);
      missing("seq-len", result_.tool == "TRL" ? 1024 : 2048);
      missing("schedule", "linear");
      missing("warmup", 0);
      missing("val-split", 0);
    }
    if (result_.tool == "mlx-lm") {
      missing("lr", 1e-5);
      missing("max-steps", 1000);
      if (find("mask_prompt") == nullptr) missing("train-on-prompt", true);
      if (find("num_layers") == nullptr && find("lora_layers") == nullptr) leave("num_layers (not given)", "mlx-lm trains the last 16 layers; all are trained here, or those of --layers");
      missing("seq-len", 2048);
      missing("schedule", "constant");
      missing("warmup", 0);
    }
    if (result_.tool == "PEFT" && !has("rank")) missing("rank", 8);
    if (result_.tool == "PEFT" && !has("alpha")) missing("alpha", 8);
  }

  void in_order() {
    const auto place = [&](const std::string& name) {
      if (name == "model") return std::size_t{0};
      const auto& options = verb().options;
      for (std::size_t i = 0; i < options.size(); ++i)
        if (options[i].name == name) return i + 1;
      return options.size() + 1;
    };
    std::stable_sort(result_.settings.begin(), result_.settings.end(),
                     [&](const auto& a, const auto& b) { return place(a.name) < place(b.name); });
  }

  const Json& file_;
  Converted result_;
  std::string full_by_;  // the key that says that all weights are trained; empty: none
};

}  // namespace

std::string tool_of(const std::vector<std::string>& keys) {
  for (const Tool& tool : tools()) {
    int found = 0;
    for (const std::string& key : keys) found += tool.alone.count(key) != 0 ? 2 : tool.marks.count(key) != 0 ? 1 : 0;
    if (found >= 2) return tool.name;
  }
  return "";
}

Converted convert(const std::string& tool, const Json& file) { return Converter(tool, file).run(); }

}  // namespace lowrank::apps
