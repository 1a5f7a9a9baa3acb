"""What the benches on real data share: running the command, its JSON, texts of the assets, and mean ± spread."""
import json
import statistics
import subprocess
from pathlib import Path


def run(*command) -> None:
    subprocess.run([str(c) for c in command], check=True)


def run_json(*command) -> dict:
    return json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)


def vasari(assets: Path) -> str:
    return (assets / "corpora/art-history/vasari-lives-vol01.pg25326.txt").read_text(encoding="utf-8-sig")


def spread(values: list, digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def model_of(assets: Path) -> Path:
    return assets / "models" / "stories260K-hf"
