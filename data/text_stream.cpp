#include "lowrank/data/text_stream.h"

#include "lowrank/core/error.h"
#include "lowrank/core/lfs_pointer.h"
#include "lowrank/core/text.h"
#include "lowrank/data/sniff.h"
#include "lowrank/data/standard_input.h"

namespace lowrank::data {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kChunk = std::size_t{1} << 16;
constexpr std::size_t kWindow = std::size_t{1} << 18;  // looked at from the first byte on that is no UTF-8

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
  } else if (code < 0x10000) {
    out += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
            static_cast<char>(0x80 | (code & 0x3f))};
  } else {
    out += {static_cast<char>(0xf0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3f)),
            static_cast<char>(0x80 | (code >> 6 & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
  }
}

/// Bytes that are no part of valid UTF-8, and characters of several bytes that are.
std::pair<std::size_t, std::size_t> broken_and_whole(std::string_view text) {
  std::size_t broken = 0, whole = 0;
  while (!text.empty()) {
    const std::size_t bad = std::min(core::find_invalid_utf8(text), text.size());
    for (const char c : text.substr(0, bad)) whole += static_cast<unsigned char>(c) >= 0xc0 ? 1 : 0;
    broken += bad < text.size() ? 1 : 0;
    text.remove_prefix(std::min(bad + 1, text.size()));
  }
  return {broken, whole};
}

}  // namespace

std::string encoding_note(const std::filesystem::path& file, const TextFacts& facts) {
  if (facts.encoding.empty()) return "";
  return name_of(file) + " is " + facts.encoding + ", and was read as such";
}

TextStream::TextStream(const core::FileRef& file) : name_(name_of(file)) {
  try {
    bytes_ = formats::open_bytes(file, name_);
  } catch (const FormatError& e) {
    throw DataError(e.what());
  }
  facts_.compression = bytes_->compression();
  find_encoding();
}

std::uint64_t TextStream::position() const { return bytes_->position() - (verbatim() ? pending_.size() : 0); }

bool TextStream::read_more() {
  if (at_end_) return false;
  const std::size_t before = pending_.size();
  pending_.resize(before + kChunk);
  const std::size_t n = bytes_->read({pending_.data() + before, kChunk});
  pending_.resize(before + n);
  at_end_ = n == 0;
  return n > 0;
}

void TextStream::find_encoding() {
  while (pending_.size() < 64 && read_more()) {
  }
  const std::string_view head = pending_;
  if (const auto pointer = core::told_of_lfs_pointer(head)) throw DataError(name_ + " " + *pointer);
  const auto take_mark = [&](std::string_view mark) {
    facts_.had_bom = head.starts_with(mark);
    if (facts_.had_bom) pending_.erase(0, mark.size());
    return facts_.had_bom;
  };
  // Without a mark, Latin text in UTF-16 has a zero in every other byte.
  const auto zeros = [&](std::size_t from) {
    return head.size() >= 4 && head[from] == 0 && head[from + 2] == 0 && head[1 - from] != 0 && head[3 - from] != 0;
  };
  if (take_mark("\0\0\xfe\xff"sv)) {
    encoding_ = Encoding::kUtf32Big;
  } else if (take_mark("\xff\xfe\0\0"sv)) {
    encoding_ = Encoding::kUtf32Little;
  } else if (take_mark("\xfe\xff"sv) || zeros(0)) {
    encoding_ = Encoding::kUtf16Big;
  } else if (take_mark("\xff\xfe"sv) || zeros(1)) {
    encoding_ = Encoding::kUtf16Little;
  } else {
    refuse_foreign_bytes(head, name_);
    take_mark("\xef\xbb\xbf"sv);
  }
  if (encoding_ >= Encoding::kUtf32Little) {
    facts_.encoding = "UTF-32";
  } else if (encoding_ >= Encoding::kUtf16Little) {
    facts_.encoding = "UTF-16";
  }
}

std::string_view TextStream::next() {
  out_.clear();
  switch (encoding_) {
    case Encoding::kUtf8:
      return next_utf8();
    case Encoding::kBroken:
      if (pending_.empty()) read_more();
      out_.swap(pending_);
      break;
    case Encoding::kWindows1252:
      if (pending_.empty() && !read_more()) {
        if (const std::string why = evidence_.objection(); !why.empty()) other_encoding(why);
        break;
      }
      evidence_.add(pending_);
      out_ = from_windows1252(pending_);
      pending_.clear();
      break;
    default:
      while (out_.empty() && (read_more() || !pending_.empty())) decode_wide();
  }
  return out_;
}

std::string_view TextStream::next_utf8() {
  if (pending_.empty()) read_more();
  while (!pending_.empty()) {
    const std::size_t good = std::min(core::find_invalid_utf8(pending_), pending_.size());
    const bool cut = good < pending_.size() && core::complete_utf8_prefix(pending_) == good;
    if (good < pending_.size() && !cut) {
      settle_eight_bits(good);
      return next();
    }
    if (good > 0) {
      out_.assign(pending_, 0, good);
      pending_.erase(0, good);
      multibyte_ = multibyte_ || !is_ascii(out_);
      return out_;
    }
    if (!read_more()) {  // the file ends inside of a character
      settle_eight_bits(0);
      return next();
    }
  }
  return {};
}

/// Where everything before `first_invalid` is ASCII, what comes after it decides.
void TextStream::settle_eight_bits(std::size_t first_invalid) {
  encoding_ = Encoding::kBroken;
  if (multibyte_ || !is_ascii(std::string_view(pending_).substr(0, first_invalid))) return;
  while (pending_.size() < first_invalid + kWindow && read_more()) {
  }
  const std::string_view window = pending_;
  const auto [broken, whole] = broken_and_whole(window);
  Windows1252Evidence evidence;
  evidence.add(window);
  const std::string why = evidence.objection();
  if (why.empty()) {
    encoding_ = Encoding::kWindows1252;
    facts_.encoding = "Windows-1252";
    return;
  }
  // A few broken bytes in English are a fault of the text; many are another encoding, in which some may look like UTF-8.
  const bool many = broken >= 8 && broken * 500 > window.size();
  if (many && whole < broken) other_encoding(why);
}

void TextStream::other_encoding(const std::string& why) const {
  throw DataError(name_ + " is neither UTF-8 nor Windows-1252 (" + why +
                  "); convert it with iconv -f ENCODING -t UTF-8");
}

std::uint32_t TextStream::unit(std::size_t at, std::size_t bytes) const {
  const bool little = encoding_ == Encoding::kUtf16Little || encoding_ == Encoding::kUtf32Little;
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const auto byte = static_cast<unsigned char>(pending_[at + (little ? bytes - 1 - i : i)]);
    value = value << 8 | byte;
  }
  return value;
}

void TextStream::decode_wide() {
  const std::size_t width = encoding_ >= Encoding::kUtf32Little ? 4 : 2;
  const auto broken = [&] {
    throw DataError(name_ + " is no valid " + facts_.encoding + ": it holds half a character; save it as UTF-8");
  };
  std::size_t at = 0;
  for (; at + width <= pending_.size(); at += width) {
    std::uint32_t code = unit(at, width);
    if (width == 2 && code >= 0xd800 && code < 0xdc00) {
      if (at + 4 > pending_.size()) break;
      const std::uint32_t second = unit(at + 2, 2);
      if (second < 0xdc00 || second > 0xdfff) broken();
      code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
      at += 2;
    } else if ((code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) {
      broken();
    }
    append_utf8(out_, code);
  }
  pending_.erase(0, at);
  if (at_end_ && !pending_.empty()) broken();
}

}  // namespace lowrank::data
