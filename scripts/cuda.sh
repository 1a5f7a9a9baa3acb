#!/usr/bin/env bash
# The command against a LibTorch with CUDA, in build-cuda/, apart from build/: scripts/cuda.sh. Torch_DIR's, else PyPI's in .deps/cuda (5 GB,
# with NCCL). It compiles and links everything, runs tests/device with that LibTorch, and the command as far as this machine lets it:
# without a GPU to the sentence that says so, with one through tests/e2e/gpu.py. About a quarter of an hour on two cores from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/bootstrap.sh
if [ -z "${Torch_DIR:-}" ]; then
  root=$(echo .deps/cuda/lib/python3*/site-packages/torch)
  if [ ! -e "$root/lib/libtorch_cuda.so" ]; then
    echo 'cuda: installing torch with CUDA into .deps/cuda'
    python3 -m venv .deps/cuda
    # And the compiler for kernels/cuda, of the same release of CUDA.
    .deps/cuda/bin/pip install --quiet --disable-pip-version-check --no-compile torch==2.14.1 nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 \
      nvidia-cuda-crt==13.0.88
    root=$(echo .deps/cuda/lib/python3*/site-packages/torch)
  fi
  [ -e "$root/lib/libtorch_cuda.so" ] || { echo "cuda: $root has no CUDA (libtorch_cuda.so): give Torch_DIR of a LibTorch that has"; exit 1; }
  export Torch_DIR=$PWD/$root/share/cmake/Torch
fi
mkdir -p build-cuda
cmake --preset cuda > build-cuda/configure.log 2>&1 || { cat build-cuda/configure.log; exit 1; }
grep -E 'CUDA|NCCL|LibTorch' build-cuda/configure.log | sed 's/^-- /cuda: /' || true
cmake --build build-cuda -j "$(nproc)" --target lowrank-command test_device test_kernels > build-cuda/build.log 2>&1 || { tail -20 build-cuda/build.log; exit 1; }
echo "cuda: built build-cuda/bin/lowrank; $(ls build-cuda/bin/*.so | xargs -n1 basename | xargs) beside it"
for test in device kernels; do
  log=build-cuda/test_$test.log
  build-cuda/tests/test_$test '~[slow]' > "$log" 2>&1 || { tail -30 "$log"; exit 1; }
  echo "cuda: tests of $test: $(grep -hE '^All tests passed' "$log")"
done
if build-cuda/bin/lowrank finetune examples/base --data examples/art-history/train --out build-cuda/none --device cuda --dry-run \
    > build-cuda/gpu.log 2>&1; then
  python3 tests/e2e/gpu.py build-cuda/bin/lowrank
elif grep -q 'no GPU is found' build-cuda/gpu.log; then
  echo "cuda: no GPU here: $(tail -1 build-cuda/gpu.log)"
else
  cat build-cuda/gpu.log
  exit 1
fi
