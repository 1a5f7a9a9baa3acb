#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine able to build lowrank: system packages when missing, LibTorch when there is none, and Arrow, which
# reads Parquet, where it can be had (LOWRANK_ARROW=OFF: not wanted).
# Safe to run twice; needs root only when a package is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build pkg-config ccache git python3 python3-venv libfmt-dev nlohmann-json3-dev libcli11-dev
          libyaml-cpp-dev libpcre2-dev libutf8proc-dev libsentencepiece-dev libssl-dev
          libpng-dev libjpeg-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev ca-certificates libedit-dev libhwy-dev libsqlite3-dev catch2)

say() { printf 'bootstrap: %s\n' "$*"; }

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || { say "these packages are missing and this user is not root; as root, run: apt-get install ${missing[*]}"; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

# A torch that cmake/LowrankTorch.cmake takes: with its libraries, 2.7 or newer.
has_torch() { "$1" -c 'import importlib.metadata, importlib.util, os, sys
spec = importlib.util.find_spec("torch")
version = importlib.metadata.version("torch").split(".")
there = spec and os.path.exists(spec.submodule_search_locations[0] + "/lib/libtorch_cpu.so")
sys.exit(0 if there and (int(version[0]), int(version[1])) >= (2, 7) else 1)' 2> /dev/null; }

if [ -n "${Torch_DIR:-}" ]; then
  say "LibTorch: Torch_DIR=$Torch_DIR"
elif has_torch python3; then
  :  # the torch package of python3 brings LibTorch
elif [ -x .deps/venv/bin/python3 ] && has_torch .deps/venv/bin/python3; then
  :
else
  say "LibTorch: no Torch_DIR and no torch in python3; installing torch==2.13.0 into .deps/venv"
  python3 -m venv .deps/venv
  # Its libraries and headers alone are wanted: nothing of what its Python needs, and no byte code.
  .deps/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile torch==2.13.0
fi

has_arrow() { "$1" -c 'import importlib.util, glob, sys
spec = importlib.util.find_spec("pyarrow")
sys.exit(0 if spec and glob.glob(spec.submodule_search_locations[0] + "/libparquet.so.*") else 1)' 2> /dev/null; }

if [ -n "${LOWRANK_ARROW:-}" ]; then
  say "Arrow: LOWRANK_ARROW=$LOWRANK_ARROW"
elif ! has_arrow python3 && ! { [ -x .deps/venv/bin/python3 ] && has_arrow .deps/venv/bin/python3; }; then
  say "Arrow: no pyarrow in python3; installing pyarrow==26.0.1 into .deps/venv, for Parquet files"
  [ -x .deps/venv/bin/pip ] || python3 -m venv .deps/venv
  .deps/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile pyarrow==26.0.1 ||
    say "it could not be installed: this build will refuse Parquet files and say why"
fi
