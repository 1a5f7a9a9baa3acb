#include "lowrank/data/sniff.h"

#include <array>

#include "lowrank/core/error.h"

namespace lowrank::data {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view bytes;
  const char* what;
  const char* remedy;
};
constexpr std::array<Magic, 13> kMagics = {{
    {"\xfd"
     "7zXZ\0"sv,
     "xz-compressed", "decompress it with unxz first (.gz and .zst are read as they are)"},
    {"BZh"sv, "bzip2-compressed", "decompress it with bunzip2 first (.gz and .zst are read as they are)"},
    {"7z\xbc\xaf\x27\x1c"sv, "a 7z archive", "unpack it first"},
    {"PK\x03\x04"sv, "a zip archive (a word processor's file is one too)", "unpack it, or save it as text, first"},
    {"PAR1"sv, "a Parquet file", "convert it to .jsonl first"},
    {"ARROW1"sv, "an Arrow file", "write it as .jsonl or Parquet (datasets: to_json, to_parquet) first"},
    {"\xff\xff\xff\xff"sv, "an Arrow stream", "write it as .jsonl or Parquet (datasets: to_json, to_parquet) first"},
    {"SQLite format 3\0"sv, "an SQLite database", "write its rows as .jsonl or .csv first"},
    {"%PDF-"sv, "a PDF document", "extract its text first"},
    {"{\\rtf"sv, "a rich-text document", "save it as plain text first"},
    {"\x89PNG"sv, "a PNG picture", "name files of text or rows"},
    {"\xff\xd8\xff"sv, "a JPEG picture", "name files of text or rows"},
    {"\xd0\xcf\x11\xe0"sv, "a document of an old office program", "save it as plain text or .csv first"},
}};

constexpr std::string_view kBlank = " \t\r\n";

/// What stands after the white space at `at`.
std::string_view after_blanks(std::string_view text, std::size_t at) {
  const std::size_t first = text.find_first_not_of(kBlank, at);
  return first == text.npos ? std::string_view() : text.substr(first);
}

}  // namespace

void refuse_foreign_bytes(std::string_view head, const std::string& where) {
  for (const Magic& magic : kMagics) {
    const bool letters = magic.bytes.front() == 'P';
    if (head.starts_with(magic.bytes) && (!letters || head.substr(0, 64).find('\0') != head.npos)) {
      throw DataError(where + " is " + magic.what + ", not text; " + magic.remedy);
    }
  }
}

bool begins_as_rows(std::string_view head) {
  std::string_view rest = after_blanks(head, 0);
  for (int depth = 0; depth < 2 && rest.starts_with('['); ++depth) rest = after_blanks(rest, 1);
  if (!rest.starts_with('{')) return false;
  rest = after_blanks(rest, 1);
  if (!rest.starts_with('"')) return false;
  const std::size_t end = rest.find_first_of("\"\\\n", 1);
  return end != rest.npos && rest[end] == '"' && after_blanks(rest, end + 1).starts_with(':');
}

}  // namespace lowrank::data
