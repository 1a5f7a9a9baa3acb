#!/usr/bin/env python3
"""What a run leaves on a terminal.

    terminal.py LOWRANK ASSETS

In a pseudo-terminal of 100 x 30: the panel is drawn in place and is gone in the end; Ctrl-C stops the run with a sentence and a clean
screen; pressed twice it ends at once, the cursor at the start of a line; --plain and a small terminal draw no panel.
"""
import fcntl
import os
import pathlib
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time

BLOCKS = "▁▂▃▄▅▆▇"


class Screen:
    """The lines that a terminal shows: text, \\r, \\n, and the escapes that the command uses (cursor up, erase below, erase to the right)."""

    def __init__(self):
        self.lines, self.row, self.column = [[]], 0, 0

    def feed(self, text):
        for part in re.findall(r"\033\[(\d*)([A-Za-z])|([\s\S])", text):
            count, escape, letter = part
            if escape == "A":
                self.row = max(0, self.row - int(count or 1))
            elif escape == "J":
                del self.lines[self.row][self.column:]
                del self.lines[self.row + 1:]
            elif escape == "K":
                del self.lines[self.row][self.column:]
            elif escape not in ("", "m"):
                sys.exit(f"an escape that the terminal test does not know: {escape}")
            elif letter == "\r":
                self.column = 0
            elif letter == "\n":
                self.row += 1
                self.column = 0
                while len(self.lines) <= self.row:
                    self.lines.append([])
            elif letter:
                line = self.lines[self.row]
                line.extend(" " * (self.column - len(line)))
                line[self.column:self.column + 1] = [letter]
                self.column += 1

    def text(self):
        return "\n".join("".join(line).rstrip() for line in self.lines)


def run(command, cwd, rows=30, columns=100, interrupts=(), limit=120):
    """Exit status, everything written, the screen in the end. `interrupts`: patterns after which Ctrl-C is pressed."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.environ["TERM"] = "xterm"
        time.sleep(0.2)  # until the size is set
        os.execv(command[0], [str(word) for word in command])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    raw, waiting, deadline = b"", list(interrupts), time.monotonic() + limit
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                more = os.read(terminal, 65536)
            except OSError:
                break
            if not more:
                break
            raw += more
        if waiting and re.search(waiting[0], raw.decode("utf-8", "replace")):
            waiting.pop(0)
            os.write(terminal, b"\x03")
    else:
        os.kill(child, 9)
        sys.exit(f"still running after {limit} s: {command}")
    _, status = os.waitpid(child, 0)
    text = raw.decode("utf-8", "replace")
    screen = Screen()
    screen.feed(text)
    return os.waitstatus_to_exitcode(status), text, screen


def check(what, holds, detail=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
    if not holds:
        sys.exit(detail)


def main():
    lowrank, assets = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    data = pathlib.Path(__file__).resolve().parents[2] / "examples/art-history/train"
    command = [str(lowrank), "finetune", assets / "models/stories260K-hf", "--data", data, "--seq-len", "128", "--rank", "4",
               "--batch-size", "4"]
    with tempfile.TemporaryDirectory() as work:
        code, text, screen = run([*command, "--out", "panel", "--max-steps", "40"], work)
        check("the panel shows a curve, the gradient norm and the memory", code == 0 and any(b in text for b in BLOCKS) and
              "gradient norm" in text and "memory" in text, text)
        check("it is gone in the end", not any(b in screen.text() for b in BLOCKS) and "gradient norm" not in screen.text() and
              "next" in screen.text(), screen.text())

        code, text, screen = run([*command, "--out", "plain", "--max-steps", "10", "--plain"], work)
        check("--plain draws nothing", code == 0 and "\033[J" not in text and "█" not in text, text)
        code, text, screen = run([*command, "--out", "small", "--max-steps", "10"], work, rows=12)
        check("twelve lines are too few for a panel: one bar", code == 0 and "gradient norm" not in text and "█" in text, text)

        code, text, screen = run([*command, "--out", "once", "--max-steps", "100000"], work, interrupts=[r"gradient norm"])
        check("Ctrl-C: a sentence, exit 130, a clean screen", code == 130 and "stopped by signal 2" in screen.text() and
              not any(b in screen.text() for b in BLOCKS), f"exit {code}\n{screen.text()}")
        code, text, screen = run([*command, "--out", "twice", "--max-steps", "100000", "--eval-every", "1"], work,
                                 interrupts=[r"gradient norm", r"gradient norm"])
        check("Ctrl-C twice: the cursor at the start of a line", code in (130, -2) and screen.column in (0, 2), f"exit {code}\n{screen.text()}")


if __name__ == "__main__":
    main()
