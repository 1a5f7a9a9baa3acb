#include "lowrank/data/tokenizer/sentencepiece_model.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <unordered_set>

#include "lowrank/core/error.h"
#include "lowrank/core/lfs_pointer.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

namespace {

// The wire format: a sequence of (field number, value), where a value is a varint, 4 or 8 bytes, or a length and bytes.
class WireReader {
 public:
  WireReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  int field = 0;
  std::uint64_t number = 0;   // a varint, or the bits of a fixed-size value
  std::string_view contents;  // of a length-delimited value

  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    field = static_cast<int>(tag >> 3 & 0x1FFFFFFF);
    contents = {};
    switch (tag & 7) {
      case 0:
        number = varint();
        break;
      case 1:
        number = fixed(8);
        break;
      case 2:
        contents = take(varint());
        break;
      case 5:
        number = fixed(4);
        break;
      default:
        fail();
    }
    return true;
  }

 private:
  [[noreturn]] void fail() const {
    if (const auto pointer = core::told_of_lfs_pointer(bytes_)) throw FormatError(where_ + " " + *pointer);
    throw FormatError(
        fmt::format("{}: not a SentencePiece model: the bytes at {} are no protocol buffer", where_, at_));
  }
  std::string_view take(std::uint64_t n) {
    if (n > bytes_.size() - at_) fail();
    at_ += n;
    return bytes_.substr(at_ - n, n);
  }
  std::uint64_t fixed(std::size_t n) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(n).data(), n);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail();
  }

  std::string_view bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
};

SentencePieceModel::Piece read_piece(std::string_view bytes, const std::string& where) {
  SentencePieceModel::Piece piece;
  for (WireReader r(bytes, where); r.next();) {
    if (r.field == 1) piece.text = r.contents;
    if (r.field == 2) {
      const auto bits = static_cast<std::uint32_t>(r.number);
      std::memcpy(&piece.score, &bits, sizeof bits);
    }
    if (r.field == 3) piece.kind = static_cast<SentencePieceModel::Kind>(r.number);
  }
  return piece;
}

void check(const SentencePieceModel& model, const std::string& where) {
  const auto fail = [&](const std::string& problem) { throw FormatError(where + ": " + problem); };
  if (model.pieces.empty()) fail("not a SentencePiece model: it has no pieces");
  std::unordered_set<std::string_view> seen;
  int unknown = 0, bytes = 0;
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const auto& piece = model.pieces[i];
    const std::string name = fmt::format("piece {} ('{}')", i, core::printable(piece.text, 40));
    if (piece.text.empty()) fail(fmt::format("piece {} is empty", i));
    if (core::find_invalid_utf8(piece.text) != std::string_view::npos) fail(name + " is not valid UTF-8");
    if (!seen.insert(piece.text).second) fail(name + " is there twice");
    if (!std::isfinite(piece.score)) fail(name + " has a score that is not finite");
    const int kind = static_cast<int>(piece.kind);
    if (kind < 1 || kind > 6) fail(fmt::format("{} is of the unknown kind {}", name, kind));
    unknown += piece.kind == SentencePieceModel::Kind::kUnknown;
    bytes += piece.kind == SentencePieceModel::Kind::kByte;
  }
  if (unknown != 1) fail(fmt::format("{} unknown pieces, where exactly one is expected", unknown));
  if (bytes != 0 && bytes != 256) fail(fmt::format("{} byte pieces, where none or all 256 are expected", bytes));
}

}  // namespace

SentencePieceModel SentencePieceModel::parse(std::string_view bytes, const std::string& where) {
  SentencePieceModel model;
  for (WireReader r(bytes, where); r.next();) {
    if (r.field == 1) model.pieces.push_back(read_piece(r.contents, where));
    if (r.field != 3) continue;
    for (WireReader spec(r.contents, where); spec.next();) {
      if (spec.field == 3) model.add_dummy_prefix = spec.number != 0;
    }
  }
  check(model, where);
  return model;
}

std::string without_dummy_prefix(std::string_view bytes) {
  // A message that comes twice is merged, so a second normalizer_spec {add_dummy_prefix: false} behind the rest does
  // it.
  return std::string(bytes) + std::string("\x1A\x02\x18\x00", 4);
}

}  // namespace lowrank::data
