# Two commands matter: `make demo` shows the app at work, `make test` checks everything.
# Both install what is missing on Debian and Ubuntu and share one build (the dev profile).

CARGO ?= cargo
BIN := comfyui-orchestrator
DEMO_OUT ?= out/demo

.PHONY: help deps demo run test fmt lint check-headless check-platforms unit bench sim kills power bench-placement fuzz

help:
	@echo "make demo    start three built-in backends and run the sample project (headless without a display)"
	@echo "make run     open the desktop app"
	@echo "make test    everything CI checks: rustfmt, clippy, the headless build, all tests"
	@echo "make bench   measure the budgets and print them"
	@echo "make sim SEEDS=10000   simulate runs with everything going wrong; SEED=17 replays one"
	@echo "make kills KILLS=300   kill -9 the program and its backends at random instants of runs"
	@echo "make power CUTS=100    cut the power of the program's machine at random instants of runs (Linux)"
	@echo "make bench-placement   makespans of simulated fleets under our placement and others"
	@echo "make fuzz TARGET=embedded SECONDS=300   feed a reader of files with damaged ones (nightly, cargo-fuzz)"
	@echo "make check-platforms   check that the window of ComfyUI's editor compiles for Windows and macOS (clang)"
	@echo "make deps    install the system packages that are missing (Debian, Ubuntu)"

deps:
	@scripts/install-deps.sh

# `cargo run` makes the app alone; the window of ComfyUI's editor is a program beside it.
demo: deps
	$(CARGO) build --quiet
	$(CARGO) run --quiet -- demo --out $(DEMO_OUT)

run: deps
	$(CARGO) build --quiet
	$(CARGO) run --quiet

test: deps fmt check-headless lint unit

fmt:
	$(CARGO) fmt --check

# The compiler proves that the core knows no window.
check-headless:
	$(CARGO) clippy --no-default-features --all-targets -- -D warnings

# The window of ComfyUI's editor, for Windows and macOS as far as that can be checked elsewhere. Needs clang.
check-platforms:
	@scripts/check-platforms.sh

lint:
	$(CARGO) clippy --all-targets -- -D warnings

# nextest where it is installed, cargo's own runner elsewhere. A software Vulkan driver draws the picture tests.
unit:
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run; \
	else \
		$(CARGO) test; \
	fi

bench:
	$(CARGO) bench

# Enough that everything that can happen must have happened, which is asserted.
SEEDS ?= 5000
SEED ?=
SIM := every_schedule_gives_what_the_sequential_model_gives

# Our own crate optimised, the dependencies as they are.
sim:
	CARGO_PROFILE_DEV_OPT_LEVEL=2 SIMULATION_THREADS=2 \
	SIMULATION_SEEDS=$(if $(SEED),1,$(SEEDS)) SIMULATION_FIRST=$(if $(SEED),$(SEED),0) \
	$(CARGO) test --no-default-features --test it $(SIM) -- --nocapture

# A nightly toolchain and cargo-fuzz are needed (CONTRIBUTING.md). What it finds lies in fuzz/artifacts/TARGET.
TARGET ?= embedded
SECONDS ?= 300
fuzz:
	mkdir -p fuzz/corpus/$(TARGET)
	$(CARGO) +nightly fuzz run -s none --dev $(TARGET) fuzz/corpus/$(TARGET) fuzz/seeds/$(TARGET) -- \
		-max_total_time=$(SECONDS) -max_len=20000 -timeout=10 \
		-dict=fuzz/$(if $(filter embedded parameters,$(TARGET)),embedded,json).dict

KILLS ?= 50
KILLS_SEED ?= 1

kills:
	KILLS=$(KILLS) KILLS_SEED=$(KILLS_SEED) $(CARGO) test --no-default-features --test it killed_at_any_instant -- --nocapture

CUTS ?= 50
CUTS_SEED ?= 1

power:
	CUTS=$(CUTS) CUTS_SEED=$(CUTS_SEED) $(CARGO) test --no-default-features --test it power_loss -- --nocapture --test-threads=1

bench-placement:
	CARGO_PROFILE_DEV_OPT_LEVEL=2 $(CARGO) test --no-default-features --test it placement_bench -- --nocapture
