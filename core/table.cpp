#include "lowrank/core/table.h"

#include <algorithm>
#include <cctype>

#include "lowrank/core/visible.h"

namespace lowrank::core {

namespace {

std::string padded(const std::string& text, std::size_t width, bool left) {
  const std::size_t have = width_of(text);
  const std::string space(width > have ? width - have : 0, ' ');
  return left ? text + space : space + text;
}

}  // namespace

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string table(const std::vector<std::string>& names, const std::vector<std::vector<std::string>>& lines) {
  std::vector<std::string> header;
  for (const std::string& name : names) header.push_back(visible_line(name));
  std::vector<std::vector<std::string>> rows = lines;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = visible_line(cell);
  }
  std::vector<std::size_t> widths(header.size());
  for (std::size_t c = 0; c < header.size(); ++c) {
    widths[c] = width_of(header[c]);
    for (const auto& row : rows) widths[c] = std::max(widths[c], c < row.size() ? width_of(row[c]) : 0);
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t c = 0; c < header.size(); ++c) {
      text += (c == 0 ? "" : "  ") + padded(c < cells.size() ? cells[c] : "", widths[c], c == 0);
    }
    return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  };
  std::size_t total = 0;
  for (const std::size_t w : widths) total += w;
  std::string text = line(header);
  for (std::size_t i = 0; i < total + 2 * (widths.size() - 1); ++i) text += "─";
  text += "\n";
  for (const auto& row : rows) text += line(row);
  return text;
}

std::string fields(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, width_of(visible_line(row.first)));
  std::string text;
  for (const auto& row : rows) text += padded(visible_line(row.first), width, true) + "  " + visible_line(row.second) + "\n";
  return text;
}

std::string shell_quoted(const std::string& argument) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-_./=:,+@%").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!argument.empty() && std::all_of(argument.begin(), argument.end(), plain)) return argument;
  std::string quoted = "'";
  for (const char c : argument) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace lowrank::core
