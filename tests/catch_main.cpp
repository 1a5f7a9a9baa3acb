// Catch2's main, compiled once for all test programs.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
int main(int argc, char* argv[]) { return Catch::Session().run(argc, argv); }
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif

#include <filesystem>

namespace lowrank_test {
std::filesystem::path source_dir();
std::filesystem::path command();
std::filesystem::path source_dir() { return LOWRANK_SOURCE_DIR; }
std::filesystem::path command() { return LOWRANK_COMMAND; }
}  // namespace lowrank_test
