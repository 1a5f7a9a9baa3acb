#!/usr/bin/env bash
# llama.cpp for `make parity`, in .deps/llama_cpp: its library, its Python bindings and its converter, from the source archive of
# PyPI's llama-cpp-python. Never needed at run time. Exits 1 with a sentence where it cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.3.36
dir=.deps/llama_cpp
if [ -e "$dir/lib/libllama.so" ]; then exit 0; fi
mkdir -p "$dir"
archive=$dir/llama_cpp_python-$version.tar.gz
if [ ! -e "$archive" ]; then
  # pip asks an archive's build backend for its name, even where the archive alone is wanted.
  .deps/python/bin/pip install --quiet --disable-pip-version-check scikit-build-core
  .deps/python/bin/pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary :all: --dest "$dir" \
    "llama-cpp-python==$version" || true
fi
[ -e "$archive" ] || { echo "llama_cpp: the archive of llama-cpp-python $version cannot be had from PyPI"; exit 1; }
tar -xzf "$archive" -C "$dir" --strip-components=1
printf 'llama_cpp: building libllama (minutes)\n'
cmake -S "$dir/vendor/llama.cpp" -B "$dir/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O1 -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
  -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_COMMON=OFF > "$dir/configure.log" 2>&1 ||
  { tail -5 "$dir/configure.log"; echo "llama_cpp: cmake could not configure it"; exit 1; }
cmake --build "$dir/build" --target llama ${LOWRANK_JOBS:+-j "$LOWRANK_JOBS"} > "$dir/build.log" 2>&1 ||
  { tail -5 "$dir/build.log"; echo "llama_cpp: it could not be built (see $dir/build.log)"; exit 1; }
mkdir -p "$dir/lib"
cp -a "$dir"/build/bin/lib*.so* "$dir/lib/"
.deps/python/bin/python -c 'import diskcache, jinja2' 2> /dev/null || .deps/python/bin/pip install --quiet --disable-pip-version-check diskcache jinja2
