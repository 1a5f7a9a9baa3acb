// Event files: checksums by RFC 3720's vectors, bytes by hand, appending behind a checkpoint.
#include "lowrank/formats/tensorboard.h"

#include "catch.h"
#include "lowrank/core/error.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// Records of a file: offsets at which they begin.
std::vector<std::size_t> records(const std::string& bytes) {
  std::vector<std::size_t> begins;
  for (std::size_t at = 0; at < bytes.size();) {
    begins.push_back(at);
    std::size_t length = 0;
    for (int i = 7; i >= 0; --i)
      length = length << 8 | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]);
    at += length + 16;
  }
  return begins;
}

}  // namespace

TEST_CASE("CRC-32C has the values of RFC 3720, and TFRecord's mask", "[unit]") {
  CHECK(formats::crc32c(std::string(32, '\0')) == 0x8a9136aaU);
  CHECK(formats::crc32c(std::string(32, '\xff')) == 0x62a8ab43U);
  CHECK(formats::crc32c("123456789") == 0xe3069283U);
  CHECK(formats::masked_crc32c("") == 0xa282ead8U);
}

TEST_CASE("a scalar's record is the protobuf that TensorFlow would write", "[unit]") {
  const std::string record = formats::scalar_record(1.5, 300, {{"a", 0.5}});
  const std::string event(
      "\x09\x00\x00\x00\x00\x00\x00\xf8\x3f"  // wall_time 1.5
      "\x10\xac\x02"                          // step 300
      "\x2a\x0a\x0a\x08\x0a\x01"
      "a"  // summary, value, tag
      "\x15\x00\x00\x00\x3f",
      24);  // simple_value 0.5
  REQUIRE(record.size() == event.size() + 16);
  CHECK(record.substr(12, event.size()) == event);
  CHECK(record.substr(0, 8) == std::string("\x18\0\0\0\0\0\0\0", 8));
}

TEST_CASE("what came after the checkpoint, or is broken, is cut off and written again", "[unit]") {
  TempDir dir;
  const fs::path file = dir / "events.out.tfevents.x";
  {
    formats::EventFile events(file, -1);
    for (int step = 0; step <= 5; ++step) events.write(step, {{"loss", step}});
    events.sync();
  }
  const std::string whole = read_text(file);
  const std::vector<std::size_t> begins = records(whole);
  REQUIRE(begins.size() == 7);
  { formats::EventFile events(file, 3); }
  CHECK(read_text(file) == whole.substr(0, begins[5]));  // version, 0, 1, 2, 3
  {
    formats::EventFile events(file, 3);
    events.write(4, {{"loss", 4}});
  }
  CHECK(records(read_text(file)).size() == 6);

  write_text(file, whole.substr(0, whole.size() - 3));  // killed while writing
  { formats::EventFile events(file, 100); }
  CHECK(read_text(file) == whole.substr(0, begins[6]));
  std::string flipped = whole;
  flipped[begins[2] + 14] ^= 1;
  write_text(file, flipped);
  { formats::EventFile events(file, 100); }
  CHECK(read_text(file) == whole.substr(0, begins[2]));
  write_text(file, "rubbish");
  { formats::EventFile events(file, 100); }
  CHECK(records(read_text(file)).size() == 1);
  { formats::EventFile events(file, -1); }
  CHECK(records(read_text(file)).size() == 1);
  CHECK_THROWS_AS(formats::EventFile(dir / "no" / "file", -1), IoError);
}
