// Options that several verbs share.
#include "lowrank/apps/console/options.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::apps {

OptionSpec option_json() {
  return {"json",   OptionType::kFlag,
          "",       false,
          "Output", "One JSON object on stdout and nothing else there",
          {},       false,
          {},       recipes::Identity::kFree,
          false};
}
OptionSpec option_quiet() {
  return {"quiet", OptionType::kFlag,        "",   false, "Output", "Errors only", {}, false,
          {},      recipes::Identity::kFree, false};
}
OptionSpec option_plain() {
  return {"plain",  OptionType::kFlag,
          "",       false,
          "Output", "Lines as they go into a file, no bar and no panel on a terminal",
          {},       false,
          {},       recipes::Identity::kFree,
          false};
}
OptionSpec option_follow_links() {
  return {"follow-links",
          OptionType::kFlag,
          "",
          false,
          "General",
          "Let links in folders of models, adapters, runs and data lead out of them",
          {},
          false,
          {},
          recipes::Identity::kFree,
          false};
}
OptionSpec option_threads() { return recipes::threads_field(); }
OptionSpec option_dtype() { return recipes::dtype_field(); }
OptionSpec option_base_dtype() { return recipes::base_dtype_field(); }
OptionSpec option_device() { return recipes::device_field(); }
OptionSpec option_adapter() {
  return {"adapter", OptionType::kText, "DIR", nullptr, "Adapter", "A PEFT adapter directory", {}};
}
OptionSpec option_format() { return recipes::format_field(); }
OptionSpec option_columns() { return recipes::columns_field(); }
OptionSpec option_layout() { return recipes::layout_field(); }
OptionSpec option_seq_len(const std::string& help) {
  return {"seq-len", OptionType::kInt, "N", nullptr, "Data", help, {}};
}

}  // namespace lowrank::apps
