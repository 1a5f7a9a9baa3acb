// Where the hub is, where its files are kept, and who asks: as huggingface_hub finds it in the environment.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace lowrank::data::hub {

struct Settings {
  std::filesystem::path cache;                       // HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub
  std::string endpoint = "https://huggingface.co";   // HF_ENDPOINT
  std::string token;                                 // HF_TOKEN, else the token file; empty: none. Never shown, never stored
  std::filesystem::path token_file;                  // where it is looked for
  bool offline = false;                              // HF_HUB_OFFLINE
  double timeout = 30;                               // HF_HUB_DOWNLOAD_TIMEOUT: seconds without a byte
  double first_wait = 1;                             // seconds before a first try again; doubled each time
  int tries = 5;                                     // without a byte more
  int connections = 8;                               // at a time
  std::uint64_t part_bytes = std::uint64_t{8} << 20;  // of a large file, for one connection
};

/// ConfigError for an HF_ENDPOINT that is no address and a token that can be none.
Settings settings_from_environment();
/// Its cache alone.
std::filesystem::path cache_from_environment();

}  // namespace lowrank::data::hub
