# profrec: everything that is typed while working on it. `make` lists the targets.
#
# Each target sets up what it needs by itself; on a machine that has all of it, that costs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup demo test truth fuzz bench bench-counting bench-names lint static vmtest fixtures clean

# rustup puts cargo here; root's own PATH through sudo often lacks it.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := $(or $(CARGO_TARGET_DIR),target)
PROFREC := $(TARGET)/release/profrec
DEMO := target/demo
MULTIARCH = $(shell gcc -print-multiarch)
STATIC_LIMIT := 4000000

# Recording needs root, or CAP_BPF and CAP_PERFMON. Where this is not root, sudo is asked.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo 2>/dev/null))

help: ## print this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: ## install what is missing for building and testing (apt; as root or through sudo)
	@.ci/setup

demo: setup ## build, record a real C++ compile, print the top table, write demo.svg
	@cargo build --release --quiet
	@mkdir -p $(DEMO)
	@cp fixtures/workloads/big.cpp $(DEMO)/big.cpp
	@if [ "$$(id -u)" -ne 0 ]; then \
	    echo "demo: recording needs root, or CAP_BPF and CAP_PERFMON: trying $(or $(AS_ROOT),without)" >&2; \
	fi
	@echo "demo: recording g++ -O2 -c big.cpp" >&2
	@$(AS_ROOT) $(PROFREC) record --preset dev --embed symbols -o $(DEMO)/demo.prof --force -- \
	    g++ -O2 -DROUNDS=6 -c $(DEMO)/big.cpp -o $(DEMO)/big.o
	@if [ -n "$(AS_ROOT)" ]; then $(AS_ROOT) chown "$$(id -u):$$(id -g)" $(DEMO)/demo.prof $(DEMO)/big.o; fi
	@$(PROFREC) report $(DEMO)/demo.prof
	@$(PROFREC) report $(DEMO)/demo.prof --flamegraph demo.svg
	@printf '%s\n' "" \
	    "demo.svg is the flame graph: open it in a browser. Next steps, with the same recording or your own:" \
	    "  $(PROFREC) report $(DEMO)/demo.prof --tree" \
	    "  $(PROFREC) report $(DEMO)/demo.prof --info" \
	    "  $(AS_ROOT) $(PROFREC) record -p PID -d 10s -o mine.prof" \
	    "  $(PROFREC) report mine.prof" \
	    "  $(PROFREC) report --diff $(DEMO)/demo.prof mine.prof"

test: setup ## run all tests; those that record need root, and say so elsewhere
	@mkdir -p $(TARGET)/tmp && rm -f $(TARGET)/tmp/skipped
	@cargo test --workspace
	@if [ -s $(TARGET)/tmp/skipped ]; then \
	    echo "skipped: $$(wc -l < $(TARGET)/tmp/skipped) tests, see the lines that start with \"skipped:\" above" >&2; \
	fi

truth: setup ## compare stacks and names with other unwinders and symbolizers, into docs/truth.md (TRUTH="stacks" for a part)
	@.ci/setup truth
	@cargo build --workspace --quiet
	@$(MAKE) --no-print-directory -C fixtures programs OUT=$(abspath target/fixtures)
	@tests/truth/run $(TRUTH)

fuzz: setup ## run each fuzz target for a minute (FUZZ="reader report" for some, SECONDS_EACH=1200 for longer)
	@.ci/setup fuzz
	@fuzz/run $(FUZZ)

bench: ## measure profrec and its peers side by side: tables and bench.json (BENCH="--quick" for a first look)
	@.ci/setup bench
	@cargo build --release --quiet
	@tests/bench/run --profrec $(PROFREC) $(BENCH)

bench-counting: ## measure counting beside sampling, perf and profile-bpfcc, and a day's size (BENCH="--minutes 0" for costs alone)
	@.ci/setup bench
	@cargo build --release --quiet
	@tests/bench/counting --profrec $(PROFREC) $(BENCH)

bench-names: setup ## measure names of 50,000 addresses of a large program, and peers that are installed (BENCH="--rounds 1")
	@cargo build --release --quiet --package profrec-report --bins --examples
	@tests/bench/names --target $(TARGET)/release $(BENCH)

lint: setup ## check format, clippy and documentation, warnings being errors
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace

# Without shared libraries and, by the profile, without what does not serve the recorder.
static: setup ## build a recorder to be copied to any x86-64 machine, and try it in a folder without anything else
	@LIBBPF_SYS_LIBRARY_PATH=/usr/lib/$(MULTIARCH) RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
	    cargo build --profile static --package profrec --features static --target x86_64-unknown-linux-gnu
	@cp $(TARGET)/x86_64-unknown-linux-gnu/static/profrec $(TARGET)/profrec-static
	@size=$$(stat -c %s $(TARGET)/profrec-static); \
	    echo "$(TARGET)/profrec-static: $$size bytes, of $(STATIC_LIMIT) at most" >&2; test "$$size" -le $(STATIC_LIMIT)
	@cargo build --quiet --package profrec-report
	@tests/static/run $(TARGET)/profrec-static $(TARGET)/debug/profrec-report

vmtest: static ## record on other kernels, in virtual machines (VMTEST="6.1 newest" for some of them)
	@.ci/setup vm
	@RECORDER=$(TARGET)/profrec-static REPORT=$(TARGET)/debug/profrec-report tests/vm/run $(VMTEST)

fixtures: setup ## build and record the fixtures again, and bless what comes out; look at the difference
	@cargo build --release --quiet
	@PATH="$(abspath $(dir $(PROFREC))):$$PATH" $(MAKE) --no-print-directory -C fixtures record OUT=/tmp/profrec-fixtures
	@cargo build --quiet --workspace
	@PROFREC_BLESS=1 cargo test --quiet --test product golden

clean: ## remove everything that was built
	@cargo clean
	@rm -f demo.svg bench.json
