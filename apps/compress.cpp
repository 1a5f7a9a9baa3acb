#include "lowrank/recipes/compress.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/console/stoppable.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

/// Ranks in a grid, a layer a row and a kind of module a column; "-" where the adapter has none.
std::string rank_table(const std::vector<std::pair<std::string, std::int64_t>>& ranks) {
  std::vector<std::string> kinds, layers;
  std::map<std::pair<std::string, std::string>, std::string> cells;
  const auto add = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const auto& [path, rank] : ranks) {
    const std::size_t dot = path.rfind('.');
    const std::string kind = path.substr(dot == std::string::npos ? 0 : dot + 1);
    const std::size_t digit = path.find_first_of("0123456789");
    const std::string layer = digit == std::string::npos ? "none" : path.substr(digit, path.find('.', digit) - digit);
    add(kinds, kind);
    add(layers, layer);
    cells[{layer, kind}] = std::to_string(rank);
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

class CompressView : public OnConsole<recipes::CompressObserver> {
 public:
  using OnConsole::OnConsole;
  void on_compress(const recipes::CompressOpening& opening) override {
    auto rows = describe(opening.model);
    rows.push_back(describe(opening.adapter, opening.adapter.directory()));
    rows.emplace_back("to choose by", core::counted(opening.choosing_tokens, "token"));
    rows.emplace_back("held back", core::counted(opening.held_back_tokens, "token"));
    console_.text(fields(rows));
  }
};

int compress(const Options& options) {
  const Console console(options);
  Stoppable<CompressView> view(console);
  recipes::CompressSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.adapter = options.positional(0);
  spec.command = options.command_line();
  const recipes::CompressResult result = recipes::compress(spec, view);
  console.line();
  if (!console.silent()) {
    print_lines(rank_table(result.ranks));
    print_lines("\n" + fields({{"bytes", result.size},
                             {"kl", result.divergence},
                             {"modules", fmt::format("{} of {} kept", result.kept, result.ranks.size())},
                             {"out", spec.out}}));
  }
  print_next(console, {"evaluate", spec.out, "--data", spec.data.front()});
  console.result(result.json);
  return 0;
}

}  // namespace

Verb compress_verb() {
  Verb verb;
  verb.name = "compress";
  verb.summary = "Find the smallest ranks of a trained adapter that stay within a bound of what it says";
  verb.positionals = {"ADAPTER"};
  verb.example = "lowrank compress runs/art --max-kl 0.01 --data corpus/ --out runs/art-small";
  verb.options = options_of<recipes::CompressSpec>();
  std::swap(*(verb.options.end() - 1), *(verb.options.end() - 2));  // help has them the other way round here
  verb.run = compress;
  return verb;
}

}  // namespace lowrank::apps
