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
constexpr std::array<Magic, 5> kMagics = {{
    {"\x1f\x8b"sv, "gzip-compressed", "decompress it with gunzip"},
    {"\x28\xb5\x2f\xfd"sv, "zstd-compressed", "decompress it with unzstd"},
    {"\xfd"
     "7zXZ\0"sv,
     "xz-compressed", "decompress it with unxz"},
    {"PK\x03\x04"sv, "a zip archive", "unpack it"},
    {"PAR1"sv, "a Parquet file", "convert it to .jsonl"},
}};

}  // namespace

void refuse_foreign_bytes(std::string_view head, const std::string& where) {
  for (const Magic& magic : kMagics) {
    if (head.starts_with(magic.bytes)) {
      throw DataError(where + " is " + magic.what + ", not text; " + magic.remedy + " first");
    }
  }
  const bool marked = head.starts_with("\xff\xfe"sv) || head.starts_with("\xfe\xff"sv);
  // Without a mark, Latin text in UTF-16 has a zero in every other byte.
  const bool unmarked = head.size() >= 4 && ((head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0) ||
                                             (head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0));
  const bool utf32 = head.size() >= 4 && head.starts_with("\0\0\xfe\xff"sv);
  if (marked || unmarked || utf32) {
    throw DataError(where + " is UTF-16 or UTF-32, expected UTF-8; convert it with iconv -t UTF-8");
  }
}

}  // namespace lowrank::data
