# On a machine with rustup, a C compiler, make and git: `make demo` for a tour, `make test` for every test.

.DEFAULT_GOAL := help

# A shell opened before rustup was installed does not have this yet; what it has comes first.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

DENY_VERSION := 0.20.2
# Guests are workspaces of their own: see Cargo.toml, `exclude`.
GUESTS := connectors tests/guests
WASM := --target wasm32-wasip2
# The tests link connectors natively, as crates of this workspace. Where both workspaces are told one target folder, cargo takes
# the connectors of the one for those of the other.
APART := $(if $(CARGO_TARGET_DIR),--target-dir $(CARGO_TARGET_DIR)/connectors)

# What is fuzzed, how long each, and where: the build has counters in it, and new inputs are kept for the next time.
FUZZ_TARGETS := config guest headers manifest replies template url
FUZZ_SECONDS := 60
FUZZ_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target)/fuzz)

.PHONY: help setup servers demo test guards fuzz bench lint fmt clippy doc deny

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: ## install the pinned Rust toolchain and its wasm target, if they are missing
	@sh .ci/setup

servers: setup ## bring the servers that the tests talk to, if they are missing
	@sh .ci/servers

demo: setup ## a tour with nothing configured and no network: an allowed call, a denied call, timings
	cargo run --locked --release -p openact-cli -- demo

# The connectors' own tests run natively, against a fake host; then everything else, with real sandboxes.
test: servers ## every test, the documentation's examples included
	cargo test --locked --workspace --manifest-path connectors/Cargo.toml $(APART)
	cargo test --locked --workspace
	@sh .ci/servers skipped

# GUARDS="E1 S7" for some of them.
guards: servers ## takes each guard of a promise away, in a copy, and wants its tests to fail (minutes)
	python3 tests/guards/run.py $(GUARDS)

fuzz: setup ## each fuzz target for FUZZ_SECONDS=60; what is found is a file in tests/fuzz/found
	CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=1 RUSTC_WRAPPER=$(CURDIR)/tests/fuzz/rustc.sh \
	  cargo build --locked -p openact-tests --features fuzz --bin fuzz --target-dir $(FUZZ_DIR)
	@for target in $(FUZZ_TARGETS); do \
	  echo "==> $$target"; here=tests/fuzz/found/$$target; mkdir -p $(FUZZ_DIR)/corpus/$$target $$here; \
	  FUZZ_TARGET=$$target $(FUZZ_DIR)/debug/fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=4096 \
	    -verbosity=0 -print_final_stats=1 -artifact_prefix=$$here/ \
	    $(FUZZ_DIR)/corpus/$$target tests/fuzz/corpus/$$target $$here || exit 1; done

bench: servers ## the figures of README.md, as a table and in bench.json
	cargo run --locked --profile dist -p openact-tests --features bench --bin bench

lint: fmt clippy doc deny ## what a change has to pass beside the tests

fmt: ## formatting, checked (to apply it: cargo fmt)
	cargo fmt --all --check
	@for guests in $(GUESTS); do (set -x; cargo fmt --all --check --manifest-path $$guests/Cargo.toml) || exit 1; done

clippy: setup ## clippy, warnings denied
	cargo clippy --locked --workspace --features openact-tests/bench --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --manifest-path connectors/Cargo.toml $(APART) -- -D warnings
	cd tests/guests && cargo clippy --locked --workspace $(WASM) -- -D warnings

doc: setup ## the API documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --manifest-path connectors/Cargo.toml $(APART)

deny: ## duplicate versions, licences and sources of dependencies
	@cargo deny --version >/dev/null 2>&1 || { \
	  echo "openact: cargo-deny is missing; run: cargo install --locked cargo-deny --version $(DENY_VERSION)" >&2; exit 1; }
	@for workspace in . $(GUESTS); do \
	  (set -x; cargo deny --locked --manifest-path $$workspace/Cargo.toml check $$([ $$workspace = . ] || echo -A unmatched-skip -A unnecessary-skip) bans licenses sources) || exit 1; done
