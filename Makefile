# Everyday tasks of this checkout. `make` without a target lists them.

export PATH := $(PATH):/usr/sbin:/sbin
.DEFAULT_GOAL := help
.PHONY: docs help setup setup-dev demo test coverage mutation fuzz soak test-vm test-python bench bench-check bench-ipvs lint format man dist deb lock clean

BIN := .venv/bin
READY := .venv/.ready
READY_DEV := .venv/.ready-dev
C_SOURCES := $(wildcard xdp/*.[ch] bench/*.[ch] pydsr/hashing/*.c)
SHELL_SCRIPTS := .ci/run $(wildcard packaging/*.sh) tests/vm/guest.sh
# Network namespaces and XDP need root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CI,PYDSR_NO_SKIPS)
AS_ROOT := $(SUDO) env PYTHONDONTWRITEBYTECODE=1
# Commands run by root write no bytecode into the checkout, so it is compiled once beforehand:
# otherwise every command would compile its sources again.
BYTECODE = $(BIN)/python -m compileall -q pydsr
# pytest compiles tests in its own way. Each worker would do so, which takes as long as a collection.
BYTECODE_OF_TESTS = $(BIN)/python -m pytest -p no:cacheprovider --collect-only -qq >/dev/null 2>&1 || :

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY) ## install missing packages (Debian, Ubuntu) and create .venv/bin/pydsr
	@:

setup-dev: $(READY_DEV) ## the same, with tools for tests, linters and benchmarks
	@:

SET_UP_BY := packaging/setup.sh requirements.lock pyproject.toml packaging/native.py $(wildcard pydsr/hashing/*.c)

$(READY): $(SET_UP_BY)
	@packaging/setup.sh
	@touch $@

$(READY_DEV): $(SET_UP_BY) requirements-dev.lock
	@packaging/setup.sh dev
	@touch $(READY) $@

demo: setup ## balance real connections between network namespaces (asks for root)
	@$(BYTECODE)
	@$(AS_ROOT) $(BIN)/pydsr lab demo

# Most tests wait, so there are more workers than CPUs (tests/support/distribution.py); 16 at most,
# as each of them imports and collects all tests.
JOBS ?= $(shell n=$$(expr 2 \* $$(nproc) + 2); echo $$((n < 16 ? n : 16)))
PYTEST_OPTIONS := -p no:cacheprovider --numprocesses $(JOBS)
test: setup-dev ## run all tests, in six processes on two CPUs or JOBS=… (asks for root)
	@$(BYTECODE)
	@$(BYTECODE_OF_TESTS)
	@$(AS_ROOT) $(BIN)/python -m pytest $(PYTEST_OPTIONS) --durations=10

TIERS ?= tests/unit tests/xdp tests/netns
coverage: setup-dev ## measure the coverage of all tiers but e2e, or of TIERS=… (asks for root)
	@$(BYTECODE)
	@$(BYTECODE_OF_TESTS)
	@$(AS_ROOT) packaging/coverage.sh $(PYTEST_OPTIONS) $(TIERS)

FILES ?= xdp/*.h xdp/pydsr.c
SAMPLE ?= 50
SEED ?= 0
mutation: setup-dev ## see which mistakes in FILES="…" the tests notice, SAMPLE=50 (asks for root)
	@$(AS_ROOT) $(BIN)/python -m tests.mutation $(FILES) --sample $(SAMPLE) --seed $(SEED)

FRAMES ?= 1000000
fuzz: setup-dev ## try properties and packets thoroughly, FRAMES=1000000 (asks for root; 20 minutes)
	@$(BYTECODE)
	@$(BYTECODE_OF_TESTS)
	@$(AS_ROOT) $(BIN)/python -m pytest $(PYTEST_OPTIONS) -m hypothesis \
		--hypothesis-profile thorough --timeout 3600
	@$(AS_ROOT) $(BIN)/python -m tests.fuzz --frames $(FRAMES)

EVENTS ?= 5000
soak: setup-dev ## simulate weeks of a daemon, EVENTS=5000 (asks for root; over an hour)
	@$(AS_ROOT) $(BIN)/python -m tests.soak --events $(EVENTS)

ACCEL ?= tcg
test-vm: setup-dev ## run tests on other kernels and compilers in qemu, on all or ON=trixie (asks for root)
	@mkdir -p build/compatibility
	@$(AS_ROOT) $(BIN)/python -m tests.vm.matrix --accel $(ACCEL) $(ON)

PYTHONS ?= 3.11 3.12 3.13
test-python: setup-dev ## run the tests that need no root on PYTHONS="3.11 3.12 3.13"
	@packaging/pythons.sh $(PYTHONS)

bench: setup-dev ## measure the cost of a packet, next to a reference program (asks for root)
	@$(AS_ROOT) $(BIN)/python -m bench

bench-check: setup-dev ## fail if a packet costs more than the stored baseline (asks for root)
	@$(AS_ROOT) $(BIN)/python -m bench.check

bench-ipvs: setup-dev ## compare with IPVS on Debian's kernel, in qemu (asks for root; 10 minutes)
	@$(AS_ROOT) $(BIN)/python -m bench.ipvs_vm

lint: setup-dev ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)
	shellcheck $(SHELL_SCRIPTS)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: setup-dev ## format the sources
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_SOURCES)

docs: setup-dev ## build the documentation site in build/site, and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file packaging/mkdocs.yml

man: setup ## write the manual pages into build/man
	@$(BIN)/python -m docs.manual build/man

dist: setup ## build sdist and wheel in dist/
	@packaging/dist.sh dist

deb: setup-dev ## build the Debian package in dist/
	@rm -f dist/pydsr_*
	@packaging/deb.sh dist

lock: ## update the lock files (UPGRADE=1: to the newest versions)
	packaging/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove everything that make created
	rm -rf .venv build dist *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
