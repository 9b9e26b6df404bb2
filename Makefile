# The front door: `make help` lists what can be done. Every target does its own set-up (tools/setup.sh),
# which is silent and quick when everything is there and needs no network once it has run.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# rustup puts Cargo here; a login shell that was started earlier does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# What the variables mean is said by `make help`. They reach the tools by the environment and unexpanded, so
# that blanks, `;` and `$` in them survive make and the shell.
define pass
ifdef $(1)
export STINT_$(1) := $$(value $(1))
endif
endef
$(foreach variable,CMD BOOTARGS QEMU_ARGS ICOUNT BOARD GIC CPU SMP FILTER FW_DIR LOG DEV CHAINLOADER,$(eval $(call pass,$(variable))))

# Of the stress.
OPS := 10000000
SEED := 1

TARGET := aarch64-unknown-none-softfloat
TOOLS := cargo run --quiet -p stint-tools --
ON_PC := -p stint -p stint-arch-host -p stint-tools
ON_TARGET := --target $(TARGET)
BUILT := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help run test bench costs scaling sweep guarantee stress trace latency debug sdcard serial chainload report check image docs fmt clean setup setup-some setup-rust setup-gdb setup-sdcard

help: ## List the commands
	@if [ -t 1 ] && [ -z "$${NO_COLOR:-}" ]; then b=$$'\e[1m'; n=$$'\e[0m'; else b=; n=; fi; \
	echo "Stint: a preemptible kernel for AArch64. Commands:"; echo; \
	awk -F ':.*## ' -v b="$$b" -v n="$$n" \
		'/^[a-z-]+:.*## / { printf "  %smake %-9s%s %s\n", b, $$1, n, $$2 }' $(firstword $(MAKEFILE_LIST)); \
	echo; echo "Variables for run, trace, debug, bench, costs, latency, scaling, sweep and stress (BOARD=, SMP= and FILTER= for test):"; echo; \
	printf "  $$b%-13s$$n %-39s %s\n" \
	  "CMD=" "shell commands (run, trace)" "make run CMD='uname -a; ps; latency'" \
	  "BOOTARGS=" "arguments for the kernel" "make run BOOTARGS='hz=1000 preempt=none'" \
	  "QEMU_ARGS=" "further arguments for QEMU" "make run QEMU_ARGS='-M virtualization=on'" \
	  "ICOUNT=1" "1 instruction is 1 ns (run, trace)" "make run ICOUNT=1 CMD=latency" \
	  "BOARD=" "virt, or rpi4 (also for test)" "make run BOARD=rpi4 CMD=cpu" \
	  "GIC=" "interrupt controller, 2 or 3" "make run GIC=2" \
	  "SMP=" "CPUs: 1 to 64, with GIC=2 to 8" "make run SMP=4 CMD=cpu" \
	  "" "(test: the in-kernel tests alone)" "make test SMP=8" \
	  "CPU=" "cortex-a53, cortex-a72, max" "make run CPU=max" \
	  "IMAGE=" "another image: an example, ktest, …" "make run IMAGE=blinky" \
	  "PATHS=1" "where the time goes (guarantee)" "make guarantee PATHS=1" \
	  "OPS= SEED=" "operations and random numbers (stress)" "make stress OPS=100000 SEED=7" \
	  "FILTER=" "only tests with this in their name" "make test FILTER=gicv2"; \
	echo; echo "For a Raspberry Pi 4 (BOOTARGS= and IMAGE= as above):"; echo; \
	printf "  $$b%-13s$$n %-39s %s\n" \
	  "DEV=" "the serial line (serial, chainload)" "make serial DEV=/dev/ttyUSB0" \
	  "CHAINLOADER=1" "a card that takes kernels by the line" "make sdcard CHAINLOADER=1" \
	  "LOG=" "a saved serial log (report, trace)" "make report LOG=target/serial/….log" \
	  "FW_DIR=" "your own firmware for the card" "make sdcard FW_DIR=~/firmware/boot"

run: setup ## Build the kernel and boot it in QEMU; Ctrl-A X leaves
	@$(TOOLS) run $(IMAGE)

test: setup-some ## Run all tests, on the PC and in QEMU; ends in one line, N passed, N failed
	@$(TOOLS) test

bench: setup ## Measure the core primitives beside other kernels; writes target/bench.json
	@$(TOOLS) bench

costs: setup ## Measure what each feature costs: accounting, tracing, SMP locks, …; writes target/costs.json
	@$(TOOLS) costs

latency: setup ## Latency and throughput in every preemption model, as a page: target/latency/index.html
	@$(TOOLS) latency

scaling: setup ## Measure wake-ups and balancing with 1 to 64 CPUs, and with up to 100,000 tasks
	@$(TOOLS) scaling

sweep: setup ## Preempt kernel paths at every instruction; writes target/sweep.json
	@$(TOOLS) sweep

guarantee: setup ## Compute the longest time without a switch from the image, and measure that no run exceeds it
	@$(TOOLS) guarantee $(if $(PATHS),--paths)

stress: setup ## Wake, move and change tasks on all CPUs at once, 10 million times
	@STINT_SMP="$${STINT_SMP:-4}" $(TOOLS) run ktest --timeout 7200 \
		--bootargs "test=stress:ops=$(OPS),seed=$(SEED) $${STINT_BOOTARGS:-}"

trace: setup ## Trace a run (CMD=, or a saved console: LOG=); writes target/trace/ for Perfetto, trace-cmd, KernelShark
	@$(TOOLS) trace

debug: setup setup-gdb ## Boot under gdb, with the commands tasks, runq, preempt
	@$(TOOLS) debug $(IMAGE)

sdcard: setup-rust setup-sdcard ## Make an SD card for a Raspberry Pi 4: target/sdcard.img, and how to write it
	@$(TOOLS) sdcard $(IMAGE)

serial: setup-rust ## A terminal for a board on a serial line (DEV=); everything is kept in target/serial/
	@$(TOOLS) serial

chainload: setup-rust ## Send a kernel over the serial line (DEV=) to a card with CHAINLOADER=1, then as serial
	@$(TOOLS) chainload $(IMAGE)

report: setup-rust ## Show the figures of a saved serial log (LOG=), as tables and as a page
	@$(TOOLS) report

check: setup-rust ## Formatting, lints, documentation and licences, all without a warning
	cargo fmt --all --check
	cargo clippy --quiet $(ON_PC) --all-targets -- -D warnings
	cargo clippy --quiet -p stint --test qemu -- -D warnings
	cargo clippy --quiet $(ON_TARGET) -p stint -p stint-arch-aarch64 -p stint-board -p stint-chainloader -p stint-guest \
		-p stint-examples \
		--lib --bins -- -D warnings
	cargo clippy --quiet $(ON_TARGET) -p stint --features no-cycle-accounting --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps -p stint-arch-host -p stint-tools --lib
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps $(ON_TARGET) -p stint -p stint-arch-aarch64 -p stint-board --lib
	@$(TOOLS) licences

image: setup-rust ## Build the kernel image and print where it is
	@$(TOOLS) build $(IMAGE)

docs: setup-rust ## Build the documentation of all crates
	@cargo doc --quiet --no-deps -p stint-arch-host -p stint-tools --lib
	@cargo doc --quiet --no-deps $(ON_TARGET) -p stint -p stint-arch-aarch64 -p stint-board --lib
	@echo "the kernel:          $(BUILT)/$(TARGET)/doc/stint/index.html"
	@echo "what is below it:    $(BUILT)/$(TARGET)/doc/stint_arch_aarch64/index.html"

fmt: setup-rust ## Format the sources
	@cargo fmt --all

clean: ## Remove everything that was built
	@cargo clean --quiet

# Set-up: what each command needs and no more. `some` goes on without QEMU, so that the rest is still tested.
setup:
	@tools/setup.sh rust qemu
setup-some:
	@tools/setup.sh rust 'qemu?' 'sdcard?' 'trace-cmd?'
setup-rust:
	@tools/setup.sh rust
setup-gdb:
	@tools/setup.sh gdb
setup-sdcard:
	@tools/setup.sh sdcard
