// For tokenizer.py: encodes documents and says how long it took.
//   bench_tokenizer FOLDER THREADS ROUNDS < documents (JSON strings, one a line)
// On standard output {"load": s, "seconds": [s, ...], "cpu": [s, ...], "ids": n}: by the clock, and of all threads. A
// tokenizer is loaded once; the first round meets most words for the first time.
#include <chrono>
#include <ctime>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Documents dealt out in turn; all their ids counted.
std::size_t encode(const lowrank::data::Tokenizer& tokenizer, const std::vector<std::string>& texts,
                   std::size_t threads) {
  std::vector<std::size_t> counts(threads, 0);
  const auto work = [&](std::size_t t) {
    std::size_t count = 0;
    for (std::size_t i = t; i < texts.size(); i += threads) count += tokenizer.encode(texts[i]).size();
    counts[t] = count;
  };
  std::vector<std::thread> others;
  for (std::size_t t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (auto& thread : others) thread.join();
  std::size_t total = 0;
  for (const std::size_t count : counts) total += count;
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 4) throw std::runtime_error("usage: bench_tokenizer FOLDER THREADS ROUNDS");
    std::ios::sync_with_stdio(false);
    std::vector<std::string> texts;
    for (std::string line; std::getline(std::cin, line);) {
      texts.push_back(lowrank::core::Json::parse(line).get<std::string>());
    }
    const double begin = now();
    const auto tokenizer = lowrank::data::Tokenizer::load(argv[1]);
    lowrank::core::Json out = {{"load", now() - begin},
                               {"seconds", lowrank::core::Json::array()},
                               {"cpu", lowrank::core::Json::array()},
                               {"ids", 0}};
    for (int round = std::stoi(argv[3]); round > 0; --round) {
      const double start = now();
      const std::clock_t cpu = std::clock();
      out["ids"] = encode(*tokenizer, texts, static_cast<std::size_t>(std::stoul(argv[2])));
      out["seconds"].push_back(now() - start);
      out["cpu"].push_back(static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
    }
    std::cout << out.dump() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "bench_tokenizer: " << error.what() << '\n';
    return 1;
  }
}
