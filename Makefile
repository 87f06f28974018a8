# What can be done with this checkout; `make` alone lists it. The work of `setup` is in
# packaging/setup.sh.

export PATH := $(PATH):/usr/sbin:/sbin
.DEFAULT_GOAL := help
.PHONY: docs help setup setup-dev demo test fuzz soak test-vm bench bench-check bench-ipvs lint format man dist deb lock clean

BIN := .venv/bin
READY := .venv/.ready
READY_DEV := .venv/.ready-dev
C_SOURCES := $(wildcard xdp/*.[ch] bench/*.[ch] pydsr/hashing/*.c)
SHELL_SCRIPTS := .ci/run $(wildcard packaging/*.sh) tests/vm/guest.sh
# Namespaces and XDP take root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CI,PYDSR_NO_SKIPS)
AS_ROOT := $(SUDO) env PYTHONDONTWRITEBYTECODE=1
# Root leaves nothing in a checkout; without this each command would compile its own sources.
BYTECODE = $(BIN)/python -m compileall -q pydsr

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY) ## install what is missing on Debian or Ubuntu, and make .venv/bin/pydsr
	@:

setup-dev: $(READY_DEV) ## the same with what tests, linters and benchmarks take
	@:

SET_UP_BY := packaging/setup.sh requirements.lock pyproject.toml packaging/native.py $(wildcard pydsr/hashing/*.c)

$(READY): $(SET_UP_BY)
	@packaging/setup.sh
	@touch $@

$(READY_DEV): $(SET_UP_BY) requirements-dev.lock
	@packaging/setup.sh dev
	@touch $(READY) $@

demo: setup ## balance real connections between namespaces on this machine
	@$(BYTECODE)
	@$(AS_ROOT) $(BIN)/pydsr lab demo

JOBS ?= auto
test: setup-dev ## run every test, as many at once as there are CPUs or JOBS=1 (asks for root)
	@$(BYTECODE)
	@$(AS_ROOT) $(BIN)/python -m pytest -p no:cacheprovider --numprocesses $(JOBS) \
		--dist loadfile --no-loadscope-reorder

FRAMES ?= 1000000
fuzz: setup-dev ## compare the program with its reference, FRAMES=1000000 (asks for root)
	@$(AS_ROOT) $(BIN)/python -m tests.fuzz --frames $(FRAMES)

EVENTS ?= 5000
soak: setup-dev ## let weeks of a daemon's life pass, EVENTS=5000 (asks for root; over an hour)
	@$(AS_ROOT) $(BIN)/python -m tests.soak --events $(EVENTS)

test-vm: setup-dev ## test what takes Debian's own kernel, in qemu (asks for root; a quarter of an hour)
	@$(AS_ROOT) $(BIN)/python -m tests.vm -- python3 -m pytest -p no:cacheprovider tests/vm/inside

bench: setup-dev ## measure, each figure beside a peer (asks for root)
	@$(AS_ROOT) $(BIN)/python -m bench

bench-check: setup-dev ## tell whether packets became dearer than is stored (asks for root)
	@$(AS_ROOT) $(BIN)/python -m bench.check

bench-ipvs: setup-dev ## measure IPVS beside it on Debian's kernel, in qemu (asks for root; some ten minutes)
	@$(AS_ROOT) $(BIN)/python -m bench.ipvs_vm

lint: setup-dev ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)
	shellcheck $(SHELL_SCRIPTS)

format: setup-dev ## rewrite the sources in the house style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_SOURCES)

docs: setup-dev ## make the documentation as a site in build/site, and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file packaging/mkdocs.yml

man: setup ## write the manual pages into build/man
	@$(BIN)/python -m docs.manual build/man

dist: setup ## build sdist and wheel in dist/
	@packaging/dist.sh dist

deb: setup-dev ## build the Debian package in dist/
	@rm -f dist/pydsr_*
	@packaging/deb.sh dist

lock: ## renew the requirements*.lock (UPGRADE=1: to the newest versions)
	packaging/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove everything that was made here
	rm -rf .venv build dist *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
