# The versions that CI tests; `make demo PIP_CONSTRAINT=` takes the newest that pyproject.toml allows.
export PIP_CONSTRAINT ?= $(CURDIR)/.ci/constraints.txt
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-slow lint types format wheel bench-lmam

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/mam: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(BIN)/pytest: pyproject.toml | $(BIN)/mam
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(BIN)/mam $(BIN)/pytest ## make .venv with mam and its development tools

demo: $(BIN)/mam ## install mam and run the bundled demo
	$(BIN)/mam run

check: lint types test ## install the tools and run lint, types and tests

test: $(BIN)/pytest ## run the tests, but for the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m 'not slow'

test-slow: $(BIN)/pytest ## run the tests that take minutes
	$(BIN)/pytest -m slow

lint: $(BIN)/pytest ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(BIN)/pytest ## check types
	$(BIN)/mypy

format: $(BIN)/pytest ## put the code into the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-lmam: $(BIN)/pytest ## time L-MAM steps against regular fine-tuning
	$(BIN)/python scripts/bench/lmam.py

wheel: $(BIN)/pytest ## build a wheel into dist/
	$(BIN)/python -m build --wheel
