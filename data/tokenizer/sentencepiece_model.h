// What a SentencePiece model file says, read from its protocol buffer: the library keeps some of it to itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data {

struct SentencePieceModel {
  enum class Kind { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
  };
  std::vector<Piece> pieces;
  bool add_dummy_prefix = true;

  /// FormatError naming `where`: broken encoding, no pieces, an empty or repeated piece, a score that is not finite, no
  /// or more than one unknown piece, missing byte pieces.
  static SentencePieceModel parse(std::string_view bytes, const std::string& where);
};

/// The same model file without the space that is put before a text.
std::string without_dummy_prefix(std::string_view bytes);

}  // namespace lowrank::data
