"""What the live comparisons share: their command line, a folder of their own to work in, and what a check prints."""
import argparse
import os
import pathlib
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class Check:
    """check(what, holds, figure) prints a line; the first that does not hold ends the program, or with keep_going all are counted."""

    def __init__(self, keep_going=False):
        self.keep_going, self.failed = keep_going, 0

    def __call__(self, what, holds, figure):
        print(f"{'ok  ' if holds else 'FAIL'} {what}: {figure:.2e}", flush=True)
        self.failed += not holds
        if not holds and not self.keep_going:
            sys.exit(f"parity: {what} does not hold")

    def finish(self):
        sys.exit(f"parity: {self.failed} checks do not hold" if self.failed else 0)


def main(doc, compare, needs_assets=True, **options):
    """compare(arguments, work, check) under --build, --assets, --only and --keep-going; `options`: further paths, by their defaults."""
    assets = os.environ.get("LOWRANK_ASSETS") or None
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=lambda path: pathlib.Path(path).resolve(), default=REPOSITORY / "build")
    parser.add_argument("--assets", type=pathlib.Path, default=assets, required=needs_assets and assets is None)
    parser.add_argument("--only", nargs="*", help="cases, by their names")
    parser.add_argument("--keep-going", action="store_true", help="all checks, and then how many do not hold")
    for name, default in options.items():
        parser.add_argument("--" + name.replace("_", "-"), type=pathlib.Path, default=default)
    arguments = parser.parse_args()
    check = Check(arguments.keep_going)
    with tempfile.TemporaryDirectory(prefix="lowrank-parity-") as folder:
        compare(arguments, pathlib.Path(folder), check)
    check.finish()
