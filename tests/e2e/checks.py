"""What the scripts that stop at the first fault share."""
import sys

def check(what, holds, detail=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what} {detail}", flush=True)
    if not holds:
        sys.exit(1)
