// Lines on stderr that are drawn in place, again and again, while something takes long.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lowrank::apps {

struct TerminalSize {
  std::size_t columns = 80, rows = 24;
};
/// Of the terminal that stderr is; 80 x 24 where it does not say.
TerminalSize terminal_size();

/// Draws `lines` over what was drawn before, each cut to the terminal's width. The cursor waits at the start of the line
/// below, so that whatever ends the process leaves the shell a line of its own.
void draw_live(const std::vector<std::string>& lines);
/// Takes away what is drawn; everything else that is printed does so first.
void clear_live();

}  // namespace lowrank::apps
