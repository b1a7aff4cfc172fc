# Everything to build, test and install assets_fdw. `make` alone explains.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The PostgreSQL major to build for and test with.
PG ?= 15
# T=name runs only the tests whose names contain it.
T ?=
# RELEASE=1, or PROFILE=release, for an optimised build.
PROFILE ?= $(if $(filter-out 0 no,$(RELEASE)),release,dev)
# As many tests at once as there are cores, but not more than this: each may run a server.
TEST_THREADS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

# One folder a major: cargo would rebuild everything at every change of PGRX_PG_CONFIG_PATH.
TARGET := $(or $(CARGO_TARGET_DIR),target)
TARGET_15 := $(TARGET)
TARGET_16 := $(TARGET)/pg16
TARGET_17 := $(TARGET)/pg17
TARGET_18 := $(TARGET)/pg18
FEATURES_15 :=
FEATURES_16 := --no-default-features --features pg16
FEATURES_17 := --no-default-features --features pg17
FEATURES_18 := --no-default-features --features pg18
PROFILE_DIR = $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
LIBRARY = $(TARGET_$(PG))/$(PROFILE_DIR)/libassets_fdw.so

# The same value for build and lint, and always set, so that neither undoes the other's work.
export PGRX_PG_CONFIG_PATH := /usr/lib/postgresql/15/bin/pg_config

# Every crate that needs no server, whichever there are.
PURE_CRATES := --workspace --exclude assets_fdw --exclude assets-fdw-tests
CARGO_TEST = RUST_TEST_THREADS=$(TEST_THREADS) cargo test --no-fail-fast
FILTER = $(if $(T),-- '$(T)')

.PHONY: help setup quiet-setup build install private demo demo-stop test oracle soak kills weather sqlsmith lint fuzz pgspot bench package clean

help:
	@sed -n 's/^#: \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

#: make setup       Install what is needed: PostgreSQL 15 with its headers, and clang, with apt (with sudo where not
#:                  root; where it cannot, it prints the command to run). Does not start a server. The other targets
#:                  call it. Rust comes from rustup and is only checked for.
#: make build       Build the extension. RELEASE=1 for an optimised build, PG=16, 17 or 18 for another PostgreSQL.
#: make install     Build it optimised and install it. PG_CONFIG=/path/to/pg_config says for which PostgreSQL
#:                  (default: Debian's PostgreSQL 15), DESTDIR=/folder puts everything below that folder.
#: make demo        Simulated Assets, a private PostgreSQL, and a tour through both, which are left running.
#: make demo-stop   Stop both.
#: make test        All tests, against a private copy of PostgreSQL. T=name: only those whose names contain it.
#:                  PG=16, 17 or 18: with another PostgreSQL. UPDATE_GOLDEN=1: rewrite the expected output in
#:                  tests/pg_regress/expected. TEST_THREADS=n: so many tests at once.
#: make oracle       Random queries: pushed, not pushed and asked of a local copy they give the same rows. CASES=100000:
#:                  so many of them (from FROM=1 on); SEED=n SERVICE=hostile: that one alone. It stops in a
#:                  profile after FAILURES=20.
#: make soak        Faults of every kind under scans of every kind for MINUTES=60, with new dice by SEED=n: complete rows
#:                  or an ERROR, and sessions that grow neither in memory nor in descriptors nor in threads.
#: make kills       Deaths of workers, sessions, schedulers and the server at COUNT=1000 random points of refreshes, by
#:                  SEED=n: readers see the state before or after, the next run completes, nothing is lost.
#: make weather     COUNT=1000 rounds of whatever surrounds replicas, by SEED=n: deaths, cancels, locks, triggers,
#:                  constraints, refusals, an object schema out of order, storms of requests, renames, owners, drift;
#:                  nobody is stopped, starved, mixed up or blamed, and afterwards all is as the service has it.
#: make sqlsmith    Random SQL over foreign tables: no crash, no internal error. QUERIES=n, SEED=n; needs sqlsmith.
#: make lint        Formatting, clippy and rustdoc, where every warning is an error.
#: make fuzz        Fuzz what reads hostile input, each target for SECONDS=60; T=page: one of them. Needs nightly Rust
#:                  (rustup toolchain install nightly), cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler. The same
#:                  entries run with seeded bytes in `make test`; CASES=1000000 T=no_entry_panics: more of those.
#: make pgspot      The SQL of the extension has no statement that somebody's search_path could bend: checked with
#:                  pgspot, which `pipx install pgspot` installs; not part of lint, so that nobody else needs it.
#: make bench       Measure: every figure of docs/benchmarks.md with its method. T=name: one of them.
#: make package     Build postgresql-15-assets-fdw_<version>_<architecture>.deb in the target folder.
#: make clean       Remove what was built, and the private copies of PostgreSQL.
#:
#: Build products go to target (to $CARGO_TARGET_DIR, if set), private copies of PostgreSQL to .pg (to
#: $ASSETS_FDW_PG_DIR, if set). Nothing but `make setup` and `make install` touches the system. For plain cargo:
#: export PGRX_PG_CONFIG_PATH=/usr/lib/postgresql/15/bin/pg_config

setup:
	@tools/setup $(PG)

quiet-setup:
	@SETUP_QUIET=1 tools/setup $(PG)

# For a major other than 15 the headers come with the private copy.
build: quiet-setup
	@$(if $(filter-out 15,$(PG)),tools/pg make $(PG))
	CARGO_TARGET_DIR=$(TARGET_$(PG)) PGRX_PG_CONFIG_PATH=$$(tools/pg config $(PG)) \
	    cargo build -p assets_fdw --profile $(PROFILE) $(FEATURES_$(PG))

install: quiet-setup
	@tools/build-and-install "$(or $(PG_CONFIG),$(PGRX_PG_CONFIG_PATH))" "$(TARGET)"

# The private copy with the extension as it is now.
private: build
	@tools/pg install $(PG) $(LIBRARY)

demo: private
	@demo/run

demo-stop:
	@demo/stop

# Formatting and the pure crates first: they answer within seconds.
test: quiet-setup
	$(CARGO_TEST) $(PURE_CRATES) $(FILTER)
	@$(MAKE) --no-print-directory private
	ASSETS_FDW_TEST_PREFIX=$$(tools/pg prefix $(PG)) $(CARGO_TEST) -p assets-fdw-tests $(FILTER)

# Optimised: more faults a minute.
soak: MINUTES ?= 60
soak: quiet-setup
	@$(MAKE) --no-print-directory private PROFILE=release
	ASSETS_FDW_TEST_PREFIX=$$(tools/pg prefix $(PG)) MINUTES=$(MINUTES) \
	    cargo test --release -p assets-fdw-tests --test client -- --nocapture sessions_that_meet_faults_for_long

kills: COUNT ?= 1000
kills: SEED ?= 1
kills: private
	ASSETS_FDW_TEST_PREFIX=$$(tools/pg prefix $(PG)) COUNT=$(COUNT) SEED=$(SEED) \
	    cargo test -p assets-fdw-tests --test client -- --nocapture replica::kills

weather: COUNT ?= 1000
weather: SEED ?= 1
weather: private
	ASSETS_FDW_TEST_PREFIX=$$(tools/pg prefix $(PG)) COUNT=$(COUNT) SEED=$(SEED) \
	    cargo test -p assets-fdw-tests --test client -- --nocapture replica::weather

# Optimised, or most of the time goes into decoding pages.
oracle: CASES ?= 3000
oracle: quiet-setup
	@$(MAKE) --no-print-directory private PROFILE=release
	ASSETS_FDW_TEST_PREFIX=$$(tools/pg prefix $(PG)) CASES=$(CASES) RUST_TEST_THREADS=3 \
	    cargo test --release -p assets-fdw-tests --test client -- --nocapture oracle::

lint: quiet-setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

sqlsmith: QUERIES ?= 10000
sqlsmith: private
	@tools/sqlsmith $(QUERIES) $(SEED)

SECONDS ?= 60
FUZZ_TARGETS := page metadata value option mask aql
fuzz:
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "needs nightly Rust and cargo-fuzz:" \
	    "rustup toolchain install nightly; cargo install cargo-fuzz" >&2; exit 1; }
	@for target in $(or $(T),$(FUZZ_TARGETS)); do \
	    mkdir -p fuzz/corpus/$$target; \
	    cargo +nightly fuzz run $$target fuzz/corpus/$$target crates/assets-sim/fixtures -- \
	        -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048; \
	done

PGSPOT ?= pgspot
pgspot:
	@command -v $(PGSPOT) >/dev/null || { echo "needs pgspot: pipx install pgspot, or PGSPOT=/path/to/pgspot" >&2; exit 1; }
	$(PGSPOT) sql/*.sql

# An optimised library in the private copy; the next `make test` puts its own there again.
bench: PROFILE := release
bench: private
	ASSETS_FDW_TEST_PREFIX=$$(tools/pg prefix $(PG)) cargo bench --workspace --exclude assets_fdw --bench '*' $(FILTER)

package: quiet-setup
	@tools/package "$(TARGET)"

clean:
	@[ ! -x demo/stop ] || demo/stop
	cargo clean
	rm -rf demo/.run
	tools/pg clean
