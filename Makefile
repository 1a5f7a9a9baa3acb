# Everything is built in build/ by CMake and Ninja.
SHELL := /bin/bash
BUILD := build
export LOWRANK_LAUNCHER ?= $(shell command -v ccache 2>/dev/null)
export CCACHE_SLOPPINESS ?= pch_defines,time_macros
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= 1
# Neither the preprocessor's run nor the hash of the precompiled header (180 MB) for every file: together a sixth of a first build.
export CCACHE_DEPEND ?= 1
export CCACHE_INODECACHE ?= 1

.PHONY: configure build demo check test fuzz cuda sbom bench parity deb format clean bootstrap

bootstrap:
	@scripts/bootstrap.sh

configure: bootstrap
	@cmake --preset release > $(BUILD)-configure.log 2>&1 || { cat $(BUILD)-configure.log; exit 1; }

build: configure
	@cmake --build $(BUILD) --target lowrank-command

demo: build
	@scripts/demo.sh $(BUILD)/bin/lowrank

# The tests of the folders, without those that run the whole command or are slow; test runs everything.
check: configure
	@cmake --build $(BUILD) --target checks
	@scripts/check.sh $(BUILD)

test: build
	@scripts/test.sh $(BUILD)

# libFuzzer over readers of bytes that others may have made, T seconds each; R="json gguf" takes some of them.
T := 60
fuzz: bootstrap
	@scripts/fuzz.sh $(T) $(R)

# The same command against a LibTorch with CUDA, in build-cuda/ (docs/gpu.md).
cuda:
	@scripts/cuda.sh

# What the command is made of, as SPDX: build/lowrank.spdx.json.
sbom: build
	@python3 scripts/sbom.py $(BUILD)/bin/lowrank $$(find $(BUILD)/bin $(BUILD)/lib -name '*.so' | sort) --out $(BUILD)/lowrank.spdx.json

bench: build
	@scripts/python.sh && .deps/python/bin/python bench/bench.py --lowrank $(BUILD)/bin/lowrank

parity: build
	@scripts/python.sh
	@scripts/llama_cpp.sh || true
	@scripts/mlx.sh || true
	@cmake --build $(BUILD) --target all tokenize_lines model_logits render_chat
	@.deps/python/bin/python tests/parity/run.py --build $(BUILD)

# build/lowrank_VERSION_ARCH.deb, to be installed with apt.
deb: build
	@command -v dpkg-shlibdeps > /dev/null || { echo 'make deb: dpkg-shlibdeps is missing: apt-get install dpkg-dev'; exit 1; }
	@cmake --build $(BUILD) --target lowrank-command lowrank_lora_modules
	@cd $(BUILD) && cpack -G DEB

format:
	@clang-format -i $$(git ls-files '*.h' '*.cpp')

clean:
	rm -rf build build-debug build-asan build-tsan build-fuzz build-fuzz-plain build-configure.log
