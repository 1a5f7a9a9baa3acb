// Descriptors 0 to 2: there from the start, so that no file of ours is ever taken for one of them, and what is written to
// stdout is known to have arrived.
#pragma once

#include <string_view>

namespace lowrank::apps {

/// Opens those of stdin, stdout and stderr that the process was started without, on /dev/null.
void open_standard_streams();

/// Whether stdout was open at the start; the program says it to the module of its verbs, which has a copy of this file.
bool has_stdout();
void set_has_stdout(bool has);

/// All of it to a descriptor, through interruptions and short writes. What stdout does not take is remembered.
void write_stdout(std::string_view text);
void write_stderr(std::string_view text);  // what it does not take has nowhere else to go

/// As write_stdout, for what a program reads (--json): that there is no stdout is an error then.
void write_result(std::string_view text);

/// The process's exit code, once everything is written: `code`, but where it was 0 and stdout did not take all of it 74
/// with one sentence; 141 (as a process that SIGPIPE ends) without one where the reader has gone.
int checked_stdout(int code);

}  // namespace lowrank::apps
