#include "lowrank/recipes/run/run_report.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/number.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace {

using core::Json;

Json results_json(const std::vector<train::EvalResult>& results) {
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

std::vector<std::vector<std::string>> result_rows(const train::TrainResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const train::EvalResult& after : result.after) {
    for (const train::EvalResult& before : result.before) {
      if (before.split != after.split) continue;
      const double p0 = std::exp(before.loss), p1 = std::exp(after.loss);
      rows.push_back({after.split, core::format_count(after.tokens), fmt::format("{:.4f}", before.loss),
                      fmt::format("{:.4f}", after.loss), fmt::format("{:.2f}", p0), fmt::format("{:.2f}", p1),
                      core::format_change(100.0 * (p1 / p0 - 1)) + " %"});
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

std::string joined(const std::variant<std::vector<std::string>, std::string>& names) {
  if (const auto* regex = std::get_if<std::string>(&names)) return *regex;
  return fmt::format("{}", fmt::join(std::get<std::vector<std::string>>(names), ", "));
}

std::string beginning(const lora::LoraConfig& c) {
  if (c.init_lora_weights == "default") return "";
  std::string text = ", " + c.init_lora_weights + " initialisation";
  if (c.splits_base()) text += fmt::format(" (saved as plain LoRA, r = {})", lora::saved_form(c).r);
  return text;
}

std::string metric_text(const train::Metrics& metrics, const std::string& name) {
  if (!metrics.contains(name)) return "-";
  const std::string value = fmt::format("{:.4g}", metrics.at(name));
  if (!metrics.contains(name + "_low") || !metrics.contains(name + "_high")) return value;
  return fmt::format("{} [{:.3f}, {:.3f}]", value, metrics.at(name + "_low"), metrics.at(name + "_high"));
}

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

Json run_json(const RunReport& report, const train::TrainResult* result, const std::filesystem::path& out) {
  Json json = {{"lowrank", LOWRANK_VERSION},
               {"finished", result != nullptr && result->stop != train::TrainResult::Stop::kSignal},
               {"verb", report.verb},
               {"command", report.command},
               {"options", report.options}};
  if (report.verdict) {
    json["learned"] = report.verdict->learned;
    json["verdict"] = report.verdict->text();
    json["forgotten"] = report.verdict->forgotten_text;
    json["next"] = report.verdict->next_text;
  }
  json["model"] = {{"path", report.model_path},           {"name", report.model_name},
                   {"type", report.model_type},           {"dtype", report.dtype},
                   {"dtype_reason", report.dtype_reason}, {"base_dtype", report.base_dtype},
                   {"parameters", report.base_parameters},
                   {"bytes", report.base_bytes},          {"sha256", report.model_sha256}};
  if (report.loftq) json["model"]["loftq"] = true;
  if (!report.shares.is_null()) json["model"]["shares"] = report.shares;
  for (const DataUsed& used : report.data) json["data"][used.name] = to_json(used.report);
  if (!report.inputs.is_null()) json["inputs"] = report.inputs;
  json["validation"] = report.validation_how;
  if (report.adapter)
    json["adapter"] = core::parse_json(lora::adapter_config_json(*report.adapter), "adapter_config.json");
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
  if (report.memory) json["memory"] = report.memory->json();
  json["environment"] = report.environment;
  if (result != nullptr) {
    json["result"] = {{"stop", stop_name(*result)},
                      {"best_step", result->best_step},
                      {"best_loss", result->best_loss ? Json(*result->best_loss) : Json(nullptr)},
                      {"top", result->top_is_best ? "best" : "last"},
                      {"last_loss", result->last_loss},
                      {"exact_zeros", result->exact_zeros},
                      {"before", results_json(result->before)},
                      {"after", results_json(result->after)}};
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

}  // namespace lowrank::recipes
