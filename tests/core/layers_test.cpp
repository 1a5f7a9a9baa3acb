// The architecture as a test: what a folder may include, and what library code may not do.
#include <algorithm>
#include <array>
#include <cctype>
#include <regex>
#include <string>
#include <vector>

#include "catch.h"

namespace fs = std::filesystem;

namespace {

constexpr std::array<const char*, 10> kOrder = {"core",   "formats", "kernels", "data",    "lora",
                                                "models", "eval",    "train",   "recipes", "apps"};

std::vector<fs::path> sources_of(const std::string& folder) {
  std::vector<fs::path> files;
  const fs::path root = lowrank_test::source_dir() / folder;
  if (!fs::exists(root)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".h" || extension == ".cpp" || extension == ".cu") files.push_back(entry.path());
  }
  return files;
}

// Comments and the insides of literals left out, so that neither is taken for code.
std::string code_only(const std::string& text) {
  std::string code;
  for (std::size_t i = 0; i < text.size();) {
    const auto skip_past = [&](const std::string& end, std::size_t from) {
      const std::size_t found = text.find(end, from);
      i = found == std::string::npos ? text.size() : found + end.size();
    };
    const bool after_word = i > 0 && (std::isalnum(static_cast<unsigned char>(text[i - 1])) || text[i - 1] == '_');
    if (text.compare(i, 2, "//") == 0) {
      skip_past("\n", i);
      code += '\n';
    } else if (text.compare(i, 2, "/*") == 0) {
      skip_past("*/", i + 2);
    } else if (text.compare(i, 2, "R\"") == 0 && !after_word) {
      std::string end(1, ')');
      end.append(text, i + 2, text.find('(', i) - i - 2).append(1, '"');
      skip_past(end, i);
      code += "\"\"";
    } else if (text[i] == '"' || (text[i] == '\'' && !after_word)) {  // 1'000 is no literal
      const char quote = text[i++];
      while (i < text.size() && text[i] != quote) i += text[i] == '\\' ? 2 : 1;
      ++i;
      code += "\"\"";
    } else {
      code += text[i++];
    }
  }
  return code;
}

// The string literals of the code, adjacent ones joined as the compiler joins them.
std::vector<std::string> literals(const std::string& text) {
  static const std::regex kToken(R"re(//[^\n]*|'(?:[^'\\\n]|\\.)'|"((?:[^"\\\n]|\\.)*)"|[^\s"])re");
  std::vector<std::string> all;
  bool goes_on = false;
  for (std::sregex_iterator it(text.begin(), text.end(), kToken), end; it != end; ++it) {
    const std::string token = it->str();
    if (token.starts_with("//")) continue;
    const bool literal = (*it)[1].matched;
    if (literal && goes_on) {
      all.back() += (*it)[1].str();
    } else if (literal) {
      all.push_back((*it)[1].str());
    }
    goes_on = literal;
  }
  return all;
}

std::size_t rank_of(const std::string& folder) {
  return static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), folder) - kOrder.begin());
}

}  // namespace

TEST_CASE("a folder includes only itself and folders above it", "[unit]") {
  static const std::regex kInclude(R"re(^[ \t]*#[ \t]*include[ \t]*["<]lowrank/([^/">]+)/)re", std::regex::multiline);
  static const std::regex kRelative(R"re(^[ \t]*#[ \t]*include[ \t]*"(?!lowrank/)([^"]+)")re", std::regex::multiline);
  int seen = 0;
  for (std::size_t rank = 0; rank < kOrder.size(); ++rank) {
    for (const fs::path& file : sources_of(kOrder[rank])) {
      const std::string text = lowrank_test::read_text(file);
      for (std::sregex_iterator it(text.begin(), text.end(), kInclude), end; it != end; ++it) {
        INFO(file.string() << " includes lowrank/" << (*it)[1].str());
        CHECK(rank_of((*it)[1].str()) <= rank);
        ++seen;
      }
      for (std::sregex_iterator it(text.begin(), text.end(), kRelative), end; it != end; ++it) {
        FAIL_CHECK(file.string() << " includes \"" << (*it)[1].str() << "\": write \"lowrank/<folder>/x.h\"");
      }
    }
  }
  CHECK(seen > 20);
}

TEST_CASE("core, formats and data are torch-free outside *_torch files", "[unit]") {
  static const std::regex kTorch(R"re(^[ \t]*#[ \t]*include[ \t]*[<"](?:ATen|torch|c10)/)re", std::regex::multiline);
  for (const char* folder : {"core", "formats", "data"}) {
    for (const fs::path& file : sources_of(folder)) {
      if (file.stem().string().ends_with("_torch")) continue;
      INFO(file.string());
      CHECK_FALSE(std::regex_search(lowrank_test::read_text(file), kTorch));
    }
  }
}

TEST_CASE("raw pointers into tensors stay in core, formats and kernels", "[unit]") {
  static const std::regex kPointers(R"re(\b(?:(?:const_|mutable_)?data_ptr|packed_accessor\d*|accessor)\b)re");
  for (const char* folder : {"data", "lora", "models", "eval", "train", "recipes", "apps"}) {
    for (const fs::path& file : sources_of(folder)) {
      INFO(file.string() << ": kernels/host.h gives elements, or an op beside its twin in kernels/ works on them");
      CHECK_FALSE(std::regex_search(code_only(lowrank_test::read_text(file)), kPointers));
    }
  }
}

TEST_CASE("files are opened, made and copied in core alone", "[unit]") {
  static const std::regex kCalls(
      R"re((?:^|[^\w:.>])::(?:open|openat|openat2|open64|creat|opendir|fdopendir|rename|renameat|renameat2|link|symlink)\s*\()re"
      R"re(|(?:^|[^\w.>])(?:std::|::)?(?:fopen|freopen|fdopen|tmpfile|mkstemp|mkdtemp|mkostemp|sendfile|copy_file_range)\s*\()re"
      R"re(|\b(?:basic_)?[iow]?fstream\b|\bfilebuf\b|#[ \t]*include[ \t]*<(?:fstream|dirent\.h)>)re"
      R"re(|\bfs(?:ystem)?::(?:copy|copy_file|create_symlink|create_directory_symlink|create_hard_link|resize_file)\b)re"
      // Of libraries: each has a way to be given bytes.
      R"re(|\bYAML::LoadFile\b|\bLoadAllFromFile\b|\b(?:torch|jit)::(?:load|save)\b|\bgzopen\w*\s*\()re");
  for (std::size_t rank = 1; rank < kOrder.size(); ++rank) {  // core may
    for (const fs::path& file : sources_of(kOrder[rank])) {
      INFO(file.string() << ": core/files.h reads, maps, writes and appends, beneath the folder that a file belongs to");
      std::istringstream code(code_only(lowrank_test::read_text(file)));
      for (std::string line; std::getline(code, line);) {
        const bool standard_streams = file.filename() == "standard_streams.cpp" && line.find("::open(\"\", O_RDWR)") != std::string::npos;
        if (standard_streams) continue;  // descriptors 0 to 2, before there is any file
        INFO(line);
        CHECK_FALSE(std::regex_search(line, kCalls));
      }
    }
  }
}

TEST_CASE("JSON is written in one place, and numbers are read in no locale", "[unit]") {
  static const std::regex kCalls(
      R"re((?:\.|->)dump\s*\()re"  // core/json_text.h: nlohmann's throws at what is not UTF-8
      R"re(|\b(?:stod|stof|stold|strtod|strtof|strtold|atof|sscanf|put_money|imbue)\s*\(|\bsetlocale\s*\(\s*LC_(?:ALL|NUMERIC))re");
  for (const char* const folder : kOrder) {
    for (const fs::path& file : sources_of(folder)) {
      if (file.filename() == "json_text.cpp") continue;
      std::istringstream code(code_only(lowrank_test::read_text(file)));
      for (std::string line; std::getline(code, line);) {
        INFO(file.string() << ": " << line << ": core/json_text.h writes JSON, std::from_chars and core/number.h read numbers");
        CHECK_FALSE(std::regex_search(line, kCalls));
      }
    }
  }
}

TEST_CASE("library code neither prints nor exits, and includes LibTorch narrowly", "[unit]") {
  static const std::regex kStreams(R"re(#[ \t]*include[ \t]*<(?:iostream|torch/torch\.h|torch/extension\.h)>)re");
  static const std::regex kCalls(
      R"re((?:^|[^\w.>:])(?:std::|::)?(?:printf|fprintf|puts|fputs|exit|_exit|_Exit|quick_exit|abort|terminate)\s*\()re"
      R"re(|\bfmt::print\b|\bstd::(?:cout|cerr|clog)\b)re");
  for (std::size_t rank = 0; rank + 1 < kOrder.size(); ++rank) {  // apps may
    for (const fs::path& file : sources_of(kOrder[rank])) {
      INFO(file.string());
      const std::string text = lowrank_test::read_text(file);
      CHECK_FALSE(std::regex_search(text, kStreams));
      std::istringstream code(code_only(text));
      for (std::string line; std::getline(code, line);) {
        INFO(line);
        CHECK_FALSE(std::regex_search(line, kCalls));
      }
    }
  }
}

TEST_CASE("one place prints: what is shown passes through the console, which makes it safe", "[unit]") {
  static const std::regex kWrites(
      R"re(\bstd::(?:cout|cerr|clog)\b|\bfmt::print\b|\b(?:printf|fprintf|puts|fputs|fwrite|putchar)\s*\()re"
      R"re(|::write\s*\(\s*STD|\\033|\\x1b)re");
  for (const fs::path& file : sources_of("apps")) {
    const std::string name = file.filename().string();
    // The printer, emphasis, which it writes, and the streams beneath it; and a handler of signals, whose words are its own.
    if (name == "terminal.cpp" || name == "style.cpp" || name == "signals.cpp" || name == "standard_streams.cpp") continue;
    std::istringstream code(code_only(lowrank_test::read_text(file)));
    for (std::string line; std::getline(code, line);) {
      INFO(file.string() << ": " << line);
      CHECK_FALSE(std::regex_search(line, kWrites));
    }
  }
}

TEST_CASE("the library names fields, not flags", "[unit]") {
  static const std::regex kCommand("`(?:lowrank|llama-cli|llama-server|mlx_lm)[^`]*`|^lowrank [^`]*$");  // a whole command, quoted as one
  static const std::regex kFlag("(?:^|[^a-zA-Z-])--[a-z]");
  static const std::regex kStoredKey("--[a-z0-9-]+");             // of checkpoints that there are
  for (std::size_t rank = 0; rank + 1 < kOrder.size(); ++rank) {  // apps says --flags
    for (const fs::path& file : sources_of(kOrder[rank])) {
      const bool keys = file.filename() == "identity.cpp";
      for (const std::string& literal : literals(lowrank_test::read_text(file))) {
        if (keys && std::regex_match(literal, kStoredKey)) continue;
        INFO(file.string() << ": \"" << literal << "\"");
        CHECK_FALSE(std::regex_search(std::regex_replace(literal, kCommand, ""), kFlag));
      }
    }
  }
}
