// What a hub answers: a status in the first line, headers in those up to an empty one, and the body.
#include "fuzz.h"
#include "lowrank/core/json.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/client.h"
#include "lowrank/data/hub/listing.h"

using namespace lowrank::data::hub;

namespace {

Response answer_of(std::string_view input) {
  Response answer;
  const auto line = [&] {
    const std::size_t end = input.find('\n');
    const std::string_view text = input.substr(0, end);
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
    return std::string(text);
  };
  answer.status = std::strtol(line().substr(0, 4).c_str(), nullptr, 10);
  for (std::string header = line(); !header.empty(); header = line()) {
    const std::size_t colon = header.find(':');
    if (colon == std::string::npos) continue;
    answer.headers[header.substr(0, colon)] = header.substr(std::min(header.size(), colon + 2));
  }
  answer.body = input;
  return answer;
}

}  // namespace

LOWRANK_FUZZ_TARGET(hub) {
  static const Settings settings;
  static const Client client(settings, nullptr);
  static const Repo repo = {.id = "org/name"};
  const Response answer = answer_of(input);
  (void)asked_to_wait(answer);
  if (answer.status >= 300 && answer.status < 400) {
    const std::string next = redirect_of("https://huggingface.co/org/name", answer);
    if (!next.starts_with("https://")) lowrank_fuzz::broken("a redirect to what is not encrypted: " + next);
    return;
  }
  const lowrank::core::Json json = json_of(client, repo, answer, "list the files of org/name");
  for (const RemoteFile& file : files_of_page(lowrank::core::JsonView(json, "the answer"))) {
    const std::filesystem::path path(file.path);
    for (const auto& part : path) {
      if (part == ".." || part == "." || path.is_absolute()) lowrank_fuzz::broken("a path that leads out: " + file.path);
    }
    if (file.hash.find_first_not_of("0123456789abcdef") != std::string::npos) lowrank_fuzz::broken("a hash that is none");
  }
}
