# radray: `make` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do command -v $$p >/dev/null && \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.stamp
CODE := radray serve jobs tests benchmarks
TEST_OPTIONS ?=

.PHONY: help setup demo test test-slow check format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create or update .venv with the pinned dependencies

# uv, not pip, installs torch: uv takes the registry's default build, which torchvision needs and which runs without a GPU.
# Bytecode is compiled at once: every process of a Ray cluster imports torch, and where Python writes no bytecode itself
# (PYTHONDONTWRITEBYTECODE, read-only images) each would compile it anew, fifteen seconds a time.
$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "radray needs Python 3.11 or 3.12 on the PATH; or set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## phantom export, every stage, demo/report.html (6 to 11 minutes on 2 cores)
	$(BIN)/python jobs/demo.py

test: $(STAMP) ## tests (15 minutes at most on 2 cores)
	$(BIN)/python -m pytest -m "not slow and not system" $(TEST_OPTIONS)

test-slow: $(STAMP) ## chaos and scale tests, and those that need system programs
	$(BIN)/python -m pytest -m "slow or system" $(TEST_OPTIONS)

check: $(STAMP) ## format, lint, types
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

format: $(STAMP) ## format the code and sort its imports
	$(BIN)/ruff check --select I --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(STAMP) ## run one benchmark: make bench NAME=decode
	@test -f "benchmarks/$(NAME).py" || { echo "set NAME to one of: $(basename $(notdir $(wildcard benchmarks/*.py)))" >&2; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py

clean: ## remove caches, built files and the demo's output (the environment stays; to renew it, delete .venv)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis demo build dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
