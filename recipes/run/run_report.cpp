#include "lowrank/apps/training/run_report.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/training/training_view.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

using core::Json;

std::string stop_name(const train::TrainResult& result) {
  switch (result.stop) {
    case train::TrainResult::Stop::kFinished:
      return "finished";
    case train::TrainResult::Stop::kEarly:
      return "early stopping";
    case train::TrainResult::Stop::kSignal:
      return "signal";
  }
  return "";
}

Json to_json(const std::vector<train::EvalResult>& results) {
  Json list = Json::array();
  for (const train::EvalResult& r : results) {
    list.push_back({{"split", r.split}, {"loss", r.loss}, {"tokens", r.tokens}});
    if (r.metrics.empty()) {
      list.back()["perplexity"] = std::exp(r.loss);
    } else {
      list.back()["metrics"] = r.metrics;
    }
  }
  return list;
}

std::string joined(const std::variant<std::vector<std::string>, std::string>& names) {
  if (const auto* regex = std::get_if<std::string>(&names)) return *regex;
  return fmt::format("{}", fmt::join(std::get<std::vector<std::string>>(names), ", "));
}

/// How the matrices begin, where that is worth a word.
std::string beginning(const lora::LoraConfig& c) {
  if (c.init_lora_weights == "default") return "";
  std::string text = ", " + c.init_lora_weights + " initialisation";
  if (c.splits_base()) text += fmt::format(" (saved as plain LoRA, r = {})", lora::saved_form(c).r);
  return text;
}

std::vector<std::string> data_row(const DataUsed& used) {
  const data::ReadReport& r = used.report;
  const double masked =
      r.tokens == 0 ? 0 : 100.0 * static_cast<double>(r.tokens - r.learned_tokens) / static_cast<double>(r.tokens);
  return {used.name,
          r.format,
          core::format_count(r.documents),
          core::format_count(r.examples),
          core::format_count(r.tokens),
          fmt::format("{:.1f} %", masked),
          core::format_count(r.truncated),
          core::format_count(r.empty),
          core::format_count(r.duplicates)};
}

std::vector<std::vector<std::string>> result_rows(const train::TrainResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const train::EvalResult& after : result.after) {
    for (const train::EvalResult& before : result.before) {
      if (before.split != after.split) continue;
      const double p0 = std::exp(before.loss), p1 = std::exp(after.loss);
      rows.push_back({after.split, core::format_count(after.tokens), fmt::format("{:.4f}", before.loss),
                      fmt::format("{:.4f}", after.loss), fmt::format("{:.2f}", p0), fmt::format("{:.2f}", p1),
                      fmt::format("{:+.1f} %", 100.0 * (p1 / p0 - 1))});
    }
  }
  return rows;
}

std::vector<std::vector<std::string>> metric_rows(const RunReport& report, const train::TrainResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const train::EvalResult& after : result.after) {
    for (const train::EvalResult& before : result.before) {
      if (before.split != after.split) continue;
      rows.push_back({after.split, "loss", fmt::format("{:.4f}", before.loss), fmt::format("{:.4f}", after.loss)});
      for (const std::string& name : report.shown_metrics) {
        rows.push_back({after.split, name, metric_text(before.metrics, name), metric_text(after.metrics, name)});
      }
    }
  }
  return rows;
}

}  // namespace

ResultTable result_table(const RunReport& report, const train::TrainResult& result) {
  if (!report.shown_metrics.empty()) return {{"set", "measure", "before", "after"}, metric_rows(report, result)};
  return {{"set", "tokens", "loss before", "after", "perplexity before", "after", "change"}, result_rows(result)};
}

Json to_json(const data::ReadReport& r) {
  return {{"format", r.format},         {"files", r.files},
          {"documents", r.documents},   {"examples", r.examples},
          {"tokens", r.tokens},         {"learned_tokens", r.learned_tokens},
          {"truncated", r.truncated},   {"truncated_tokens", r.truncated_tokens},
          {"empty", r.empty},           {"duplicates", r.duplicates},
          {"all_masked", r.all_masked}, {"crlf_files", r.crlf_files},
          {"bom_files", r.bom_files},   {"replaced_bytes", r.replaced_bytes},
          {"notes", r.notes},           {"sha256", r.sha256}};
}

std::int64_t RunReport::all_parameters() const { return base_parameters + (adapter ? trainable_parameters : 0); }

double RunReport::trainable_percent() const {
  return 100.0 * static_cast<double>(trainable_parameters) / static_cast<double>(all_parameters());
}

Json environment() {
  return {{"lowrank", LOWRANK_VERSION},
          {"libtorch", TORCH_VERSION},
          {"cpu_capability", at::get_cpu_capability()},
          {"threads", at::get_num_threads()}};
}

void print_opening(const Console& console, const RunReport& report) {
  std::vector<std::pair<std::string, std::string>> rows;
  rows.emplace_back("model",
                    fmt::format("{} ({}, {} parameters, {} on disk)", report.model_name, report.model_type,
                                core::format_count(report.base_parameters), core::format_bytes(report.base_bytes)));
  rows.emplace_back("dtype", report.dtype + " (" + report.dtype_reason + ")");
  if (report.adapter) {
    const lora::LoraConfig& c = *report.adapter;
    rows.emplace_back("adapter",
                      fmt::format("{} r = {}, alpha = {}{}{}{}, on {} {}: {}{}", c.use_dora ? "DoRA" : "LoRA", c.r,
                                  c.lora_alpha, c.lora_dropout > 0 ? fmt::format(", dropout {}", c.lora_dropout) : "",
                                  c.use_rslora ? ", rsLoRA" : "", beginning(c), report.adapted_modules,
                                  report.adapted_kind, joined(c.target_modules), report.also_trained));
  } else {
    rows.emplace_back("method", report.trained);
  }
  rows.emplace_back("trainable", fmt::format("trainable parameters = {} of {} ({:.3f} %)",
                                             core::format_count(report.trainable_parameters),
                                             core::format_count(report.all_parameters()), report.trainable_percent()));
  rows.emplace_back("result", fmt::format("{} on disk ({:.2f} % of the base)", core::format_bytes(report.result_bytes),
                                          report.base_bytes == 0 ? 100.0
                                                                 : 100.0 * static_cast<double>(report.result_bytes) /
                                                                       static_cast<double>(report.base_bytes)));
  rows.emplace_back("validation", report.validation_how);
  rows.insert(rows.end(), report.remarks.begin(), report.remarks.end());
  rows.emplace_back("plan", core::format_count(report.steps) + " steps" +
                                (report.planned_tokens > 0
                                     ? ", " + core::format_count(report.planned_tokens) + " " + report.unit + "s"
                                     : ""));
  rows.emplace_back("recompute", report.recompute);
  rows.emplace_back(
      "machine",
      fmt::format("LibTorch {}, {}, {} threads", report.environment["libtorch"].get<std::string>(),
                  report.environment["cpu_capability"].get<std::string>(), report.environment["threads"].get<int>()));
  std::string text = fields(rows) + "\n";
  std::vector<std::vector<std::string>> data_rows;
  if (report.unit == "token") {
    for (const DataUsed& used : report.data) data_rows.push_back(data_row(used));
    text += table({"data", "format", "documents", "examples", "tokens", "masked", "truncated", "empty", "duplicates"},
                  data_rows);
  } else {
    for (const DataUsed& used : report.data)
      data_rows.push_back({used.name, used.report.format, core::format_count(used.report.examples)});
    text += table({"data", "format", report.unit + "s"}, data_rows);
  }
  for (const DataUsed& used : report.data) {
    const data::ReadReport& r = used.report;
    if (r.bom_files + r.crlf_files > 0) {
      text += fmt::format("{}: {} files with a byte order mark (dropped), {} with CRLF or CR line ends (made LF)\n",
                          used.name, r.bom_files, r.crlf_files);
    }
    if (r.replaced_bytes > 0)
      text += fmt::format("{}: {} invalid UTF-8 bytes replaced with U+FFFD\n", used.name, r.replaced_bytes);
    for (const std::string& note : r.notes) text += used.name + ": " + note + "\n";
  }
  console.line(text);
  if (report.steps < 50) {
    console.warning(
        fmt::format("only {} optimiser steps: a run this short learns little; lower --batch-size or --grad-accum, "
                    "raise --epochs, or give more data",
                    report.steps));
  }
}

void print_closing(const Console& console, const RunReport& report, const train::TrainResult& result,
                   const std::filesystem::path& out) {
  std::string text = fmt::format(
      "\n{} after {} steps, {} {}s, {} ({} {}s/s)\n", stop_name(result), core::format_count(result.steps),
      core::format_count(result.tokens), report.unit, core::format_seconds(result.seconds),
      core::format_count(result.seconds > 0 ? std::llround(static_cast<double>(result.tokens) / result.seconds) : 0),
      report.unit);
  if (result.best_loss) {
    text += fmt::format("best step {} (validation loss {:.4f}); the {} at the top of the folder is {}\n",
                        result.best_step, *result.best_loss, report.adapter ? "adapter" : "model",
                        result.top_is_best ? "the best" : "the last");
  }
  if (report.options.contains("l1") && report.options["l1"].get<double>() > 0) {
    text += fmt::format("{:.1f} % of the trained parameters are exactly zero\n", 100.0 * result.exact_zeros);
  }
  const auto [header, rows] = result_table(report, result);
  if (!rows.empty()) text += "\n" + table(header, rows);
  if (!report.findings_text.empty()) text += "\n" + report.findings_text;
  text += fmt::format("\n{}: {} ({}), run.json, metrics.jsonl, report.html, checkpoints/\n", out.string(),
                      report.adapter ? "adapter_model.safetensors, adapter_config.json, README.md" : "a model folder",
                      core::format_bytes(report.result_bytes));
  console.line(text);
}

Json run_json(const RunReport& report, const train::TrainResult* result, const std::filesystem::path& out) {
  Json json = {{"lowrank", LOWRANK_VERSION},
               {"finished", result != nullptr && result->stop != train::TrainResult::Stop::kSignal},
               {"verb", report.verb},
               {"command", report.command},
               {"options", report.options}};
  json["model"] = {{"path", report.model_path},           {"name", report.model_name},
                   {"type", report.model_type},           {"dtype", report.dtype},
                   {"dtype_reason", report.dtype_reason}, {"parameters", report.base_parameters},
                   {"bytes", report.base_bytes},          {"sha256", report.model_sha256}};
  for (const DataUsed& used : report.data) json["data"][used.name] = to_json(used.report);
  json["validation"] = report.validation_how;
  if (report.adapter) json["adapter"] = core::parse_json(lora::adapter_config_json(*report.adapter), "adapter_config.json");
  json["totals"] = {{"trainable_parameters", report.trainable_parameters},
                    {"all_parameters", report.all_parameters()},
                    {"trainable_percent", report.trainable_percent()},
                    {"adapted_modules", report.adapted_modules},
                    {"adapter_bytes", report.result_bytes},
                    {"base_bytes", report.base_bytes},
                    {"steps", result != nullptr ? result->steps : 0},
                    {"planned_steps", report.steps},
                    {"tokens", result != nullptr ? result->tokens : 0},
                    {"seconds", result != nullptr ? result->seconds : 0.0}};
  json["recompute"] = report.recompute;
  json["environment"] = report.environment;
  if (result != nullptr) {
    json["result"] = {{"stop", stop_name(*result)},
                      {"best_step", result->best_step},
                      {"best_loss", result->best_loss ? Json(*result->best_loss) : Json(nullptr)},
                      {"top", result->top_is_best ? "best" : "last"},
                      {"last_loss", result->last_loss},
                      {"exact_zeros", result->exact_zeros},
                      {"before", to_json(result->before)},
                      {"after", to_json(result->after)}};
    json["result"].update(report.findings);
    Json files = Json::array();
    for (const auto& entry : std::filesystem::directory_iterator(out)) {
      if (entry.path().filename().string().front() != '.') files.push_back(entry.path().filename().string());
    }
    files.push_back("run.json");
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    json["files"] = files;
  }
  return json;
}

std::string model_card(const RunReport& report, const train::TrainResult& result) {
  const lora::LoraConfig c = lora::saved_form(*report.adapter);
  std::string text = fmt::format(
      "---\nbase_model: {}\nlibrary_name: peft\npipeline_tag: {}\ntags:\n- base_model:adapter:{}\n- lora\n- "
      "lowrank\n---\n\n",
      report.model_name, report.pipeline_tag, report.model_name);
  text += fmt::format("# {} adapter for {}\n\nTrained with `lowrank` {} by\n\n    {}\n\n", c.use_dora ? "DoRA" : "LoRA",
                      report.model_name, LOWRANK_VERSION, report.command);
  text += fmt::format(
      "- rank {}, alpha {}{}, on {} {} ({}){}\n- {} trainable parameters of {} ({:.3f} %), {} beside a base of {}\n"
      "- {} optimiser steps, {} {}s\n\n",
      c.r, c.lora_alpha, c.use_rslora ? " (rsLoRA)" : "", report.adapted_modules, report.adapted_kind,
      joined(c.target_modules), report.also_trained, core::format_count(report.trainable_parameters),
      core::format_count(report.all_parameters()), report.trainable_percent(), core::format_bytes(report.result_bytes),
      core::format_bytes(report.base_bytes), core::format_count(result.steps), core::format_count(result.tokens),
      report.unit);
  const auto [header, rows] = result_table(report, result);
  if (!rows.empty()) {
    text += fmt::format("| {} |\n|", fmt::join(header, " | "));
    for (std::size_t i = 0; i < header.size(); ++i) text += "---|";
    text += "\n";
    for (const auto& row : rows) text += fmt::format("| {} |\n", fmt::join(row, " | "));
    text += "\n";
  }
  if (!report.usage.empty()) return text + report.usage;
  return text + "Use it with PEFT (`PeftModel.from_pretrained(base, this_folder)`) or `lowrank generate " +
         report.model_name + " --adapter THIS_FOLDER --prompt ...`.\n";
}

}  // namespace lowrank::apps
