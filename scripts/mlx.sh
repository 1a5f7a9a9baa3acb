#!/usr/bin/env bash
# mlx and mlx-lm for `make parity`, on the CPU, in .deps/mlx: a Python of their own. Never needed at run time. Exits 1 with a sentence where
# PyPI has no mlx for this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
works='import mlx.core as mx, mlx_lm; assert (mx.ones((2, 2)) @ mx.ones((2, 2))).tolist() == [[2, 2], [2, 2]]'
if .deps/mlx/bin/python -c "$works" 2> /dev/null; then exit 0; fi
python3 -m venv .deps/mlx
.deps/mlx/bin/pip install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-lm==0.32.2 || true
.deps/mlx/bin/python -c "$works" 2> /dev/null || { echo 'mlx: PyPI has no mlx[cpu] that runs on this machine'; exit 1; }
