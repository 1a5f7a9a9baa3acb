// For chat_parity.py: one JSON object a line on standard input, one on standard output.
//   render_chat                       {"template", "variables", "date": [y, m, d, h, m, s]} to {"text", "spans"} or
//   {"error"} render_chat --mutate COUNT SEED   the same lines; then COUNT mutations of their templates must each end
//   in a rendering or
//                                     in one sentence: {"renderings", "sentences"}
#include <algorithm>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/data/chat/chat_template.h"
#include "lowrank/data/chat/conversation_text.h"
#include "lowrank/data/chat/messages.h"

namespace {

using lowrank::core::Json;
using lowrank::data::ChatTemplate;

struct Job {
  std::string source;
  Json variables;
  bool masks = false;
  std::optional<lowrank::data::ChatDate> date;
};

Job job_of(const std::string& line) {
  const Json json = Json::parse(line);
  Job job{json.at("template").get<std::string>(), json.at("variables"), json.value("masks", false), {}};
  if (job.variables.contains("messages"))
    job.variables["messages"] = lowrank::data::chat_messages(job.variables["messages"]);
  if (json.contains("date")) {
    const auto d = json.at("date").get<std::vector<int>>();
    job.date = lowrank::data::ChatDate{d.at(0), d.at(1), d.at(2), d.at(3), d.at(4), d.at(5)};
  }
  return job;
}

Json json_of(const std::vector<lowrank::data::ChatSpan>& spans) {
  Json out = Json::array();
  for (const auto& span : spans) out.push_back({span.begin, span.end});
  return out;
}

Json masked(const Job& job, const ChatTemplate& chat_template) {
  lowrank::data::Conversation conversation;
  conversation.turns = job.variables.at("messages");
  lowrank::data::ChatOptions options;
  options.date = job.date;
  const auto out = conversation_texts(chat_template, job.variables, conversation, options);
  Json texts = Json::array();
  for (const auto& text : out.texts) texts.push_back({{"text", text.text}, {"spans", json_of(text.learned)}});
  const char* from = out.from == lowrank::data::MaskFrom::kGeneration ? "generation"
                     : out.from == lowrank::data::MaskFrom::kPrefixes ? "prefixes"
                                                                      : "turns";
  return {{"from", from}, {"texts", texts}};
}

Json rendered(const Job& job, std::unordered_map<std::string, ChatTemplate>& compiled) {
  try {
    auto it = compiled.find(job.source);
    if (it == compiled.end()) {
      if (compiled.size() > 200) compiled.clear();
      it = compiled.emplace(job.source, ChatTemplate::compile(job.source, "template")).first;
    }
    if (job.masks) return masked(job, it->second);
    const lowrank::data::Rendering out = it->second.render(job.variables, job.date);
    return {{"text", out.text}, {"spans", json_of(out.generated)}};
  } catch (const lowrank::Error& error) {
    return {{"error", error.what()}};
  }
}

std::string mutated(const std::vector<Job>& jobs, const std::string& source, std::mt19937_64& random) {
  std::string text = source;
  const auto below = [&](std::size_t n) { return n == 0 ? std::size_t{0} : static_cast<std::size_t>(random() % n); };
  for (std::size_t n = 1 + below(4); n > 0; --n) {
    const std::size_t at = below(text.size()), size = below(std::min<std::size_t>(60, text.size() - at) + 1);
    switch (below(7)) {
      case 0:
        text.erase(at, size);
        break;
      case 1:
        text.insert(at, text.substr(at, size));
        break;
      case 2:
        if (!text.empty()) text[at] = static_cast<char>(random() % 256);
        break;
      case 3:
        text.insert(at, 1, "{}%#-+[]()|.~*/'\"\\0aeif \n"[below(26)]);
        break;
      case 4: {
        const std::string& other = jobs[below(jobs.size())].source;
        const std::size_t from = below(other.size());
        text.insert(at, other.substr(from, below(80)));
        break;
      }
      case 5: {
        static const std::vector<std::string> pieces = {"{% for x in range(100000) %}",
                                                        "{% endfor %}",
                                                        "{% if ",
                                                        "{% endif %}",
                                                        "{{ ",
                                                        " }}",
                                                        "|join",
                                                        "|list",
                                                        "|map('upper')",
                                                        "{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}",
                                                        "*10**9",
                                                        "*(10**9)",
                                                        "[::-1]",
                                                        "[-1:0:-3]",
                                                        "|tojson(indent=4)",
                                                        "{% generation %}",
                                                        "{% endgeneration %}",
                                                        "loop",
                                                        " is defined",
                                                        "namespace(x=1)",
                                                        "{% set ns.x = [ns.x] %}",
                                                        "**99",
                                                        "//0",
                                                        "{%- ",
                                                        "-%}",
                                                        "{# ",
                                                        " #}",
                                                        "{% raw %}",
                                                        "{% endraw %}",
                                                        ".items()",
                                                        "|sort",
                                                        "|groupby('role')",
                                                        "~ messages",
                                                        "%s"};
        text.insert(at, pieces[below(pieces.size())]);
        break;
      }
      default:
        if (size > 1) std::swap(text[at], text[at + size - 1]);
    }
  }
  return text;
}

int mutate(const std::vector<Job>& jobs, std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  lowrank::data::ChatLimits limits;
  limits.steps = 200'000;
  limits.value_bytes = 20'000'000;
  limits.output_bytes = 2'000'000;
  std::size_t renderings = 0, sentences = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Job& job = jobs[random() % jobs.size()];
    const std::string source = mutated(jobs, job.source, random);
    try {
      ChatTemplate::compile(source, "template").render(job.variables, job.date, limits);
      ++renderings;
    } catch (const lowrank::Error& error) {
      ++sentences;
      const std::string said = error.what();
      const bool is_of_template =
          error.kind() == lowrank::ErrorKind::kFormat || error.kind() == lowrank::ErrorKind::kData;
      if (!is_of_template || said.find('\n') != std::string::npos || said.size() > 1000 ||
          !said.starts_with("template")) {
        std::cerr << "render_chat: not one sentence: " << said << '\n';
        return 1;
      }
    }
  }
  std::cout << Json{{"renderings", renderings}, {"sentences", sentences}}.dump() << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::ios::sync_with_stdio(false);
    std::vector<Job> jobs;
    std::unordered_map<std::string, ChatTemplate> compiled;
    const bool mutates = argc == 4 && std::string(argv[1]) == "--mutate";
    if (argc != 1 && !mutates) throw std::runtime_error("usage: render_chat [--mutate COUNT SEED]");
    for (std::string line; std::getline(std::cin, line);) {
      Job job = job_of(line);
      if (mutates) {
        jobs.push_back(std::move(job));
      } else {
        std::cout << rendered(job, compiled).dump() << '\n';
      }
    }
    return mutates ? mutate(jobs, std::stoull(argv[2]), std::stoull(argv[3])) : 0;
  } catch (const std::exception& error) {
    std::cerr << "render_chat: " << error.what() << '\n';
    return 1;
  }
}
