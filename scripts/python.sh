#!/usr/bin/env bash
# The Python side of parity tests and benchmarks, in .deps/python: the reference implementations. Never needed at run time.
set -euo pipefail
cd "$(dirname "$0")/.."
needs='import torch, transformers, peft, tokenizers, safetensors, sentencepiece, numpy'
if [ ! -x .deps/python/bin/python ] || ! .deps/python/bin/python -c "$needs" 2> /dev/null; then
  if python3 -c "$needs" 2> /dev/null; then
    python3 -m venv --system-site-packages .deps/python
  else
    printf 'python: installing the reference implementations into .deps/python\n'
    python3 -m venv .deps/python
    .deps/python/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
    .deps/python/bin/pip install --quiet --disable-pip-version-check transformers peft tokenizers safetensors sentencepiece numpy
  fi
fi
if ! .deps/python/bin/python -c 'import trl, PIL, sacrebleu, rouge_score, sklearn, tiktoken, gguf, optuna' 2> /dev/null; then
  .deps/python/bin/pip install --quiet --disable-pip-version-check trl pillow sacrebleu rouge-score scikit-learn tiktoken gguf optuna
fi
