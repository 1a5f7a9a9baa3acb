// Small text helpers: UTF-8, nearest names, units for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::core {

/// The nearest candidate by edit distance (case and -/_ folded) if it is near enough to be a likely typo.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

/// ", did you mean 'x'?" or an empty string.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

/// Offset of the first byte that is not valid UTF-8 (overlong forms and surrogates are not valid), or npos.
std::size_t find_invalid_utf8(std::string_view text);
/// Every maximal invalid part replaced with U+FFFD, as the WHATWG decoder and Python's errors="replace" do.
std::string replace_invalid_utf8(std::string_view text);
/// Length of the longest prefix that ends on a character boundary (an incomplete tail of up to 3 bytes is left off).
std::size_t complete_utf8_prefix(std::string_view text);

/// For messages: control characters and invalid bytes escaped, cut to max_chars with "…".
std::string printable(std::string_view text, std::size_t max_chars = 80);

std::string format_bytes(std::uint64_t bytes);  // "3.1 MB" (powers of 1000)
std::string format_count(std::int64_t n);       // "1,234,567"
std::string format_seconds(double seconds);     // "1:02:03", "4:05", "12 s"

}  // namespace lowrank::core
