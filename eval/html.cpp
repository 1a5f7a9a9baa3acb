#include "lowrank/eval/html.h"

#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"

namespace lowrank::eval {

std::string html_escape(std::string_view raw) {
  std::string out;
  for (const char c : core::visible_prose(core::replace_invalid_utf8(raw))) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace lowrank::eval
