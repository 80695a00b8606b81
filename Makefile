# The versions that CI tests; `make demo PIP_CONSTRAINT=` takes the newest that pyproject.toml allows.
export PIP_CONSTRAINT ?= $(CURDIR)/.ci/constraints.txt
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo check test coverage test-versions test-slow test-slurm test-gpu torture torture-quick audit lint types format wheel bench bench-coverage bench-lmam \
  bench-gpu docs docs-serve evidence tables \
  table-asr-zeroshot table-asr-lmam table-aec-zeroshot table-aec-lmam first-experiments report
# PAIR=paper takes the real checkpoints and data sets (a GPU helps); LAUNCHER=slurm or joblib sends the runs out.
PAIR ?= demo
LAUNCHER ?= basic
OUTPUTS ?= outputs/tables-$(PAIR)
SUFFIX_demo :=
SUFFIX_paper := _paper
WHERE := $(if $(filter-out basic,$(LAUNCHER)),hydra/launcher=$(LAUNCHER))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/mam: pyproject.toml demo/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable . --editable demo
	@touch $@

$(BIN)/pytest: pyproject.toml | $(BIN)/mam
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(BIN)/mkdocs: pyproject.toml | $(BIN)/mam
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

install: $(BIN)/mam $(BIN)/pytest ## make .venv with mam and its development tools

demo: $(BIN)/mam ## install mam and run the bundled demo
	$(BIN)/mam run

check: lint types test ## install the tools and run lint, types and tests

test: $(BIN)/pytest ## run the tests, but for the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m 'not slow and not slurm and not gpu' $(COVERAGE)

coverage: COVERAGE := --cov --cov-report=term
coverage: test ## run them and print the branch coverage of mam/, which must not fall below the floor

test-versions: ## run the tests on each Python, and on the oldest packages that pyproject.toml admits (uv, gigabytes)
	scripts/versions.sh $(VENV)-versions

test-slow: $(BIN)/pytest ## run the tests that take minutes
	$(BIN)/pytest -m slow

test-slurm: $(BIN)/pytest ## run the tests that need Slurm, on a cluster of three nodes on this machine (slurm-wlm, munge, root)
	scripts/slurm_nodes.sh run $(BIN)/pytest -m slurm tests/launch

test-gpu: $(BIN)/pytest ## run the tests that need a GPU; they skip without one
	$(BIN)/pytest -m gpu

torture: $(BIN)/pytest ## attack mam: bad input, faults, kills, commands at once, full disks (30 minutes, two cores)
	$(BIN)/python -m scripts.torture --jobs 2 --minutes 30

torture-quick: $(BIN)/pytest ## the part of it that CI runs, the same each time (2 minutes)
	$(BIN)/python -m scripts.torture --quick --part 1/3 --jobs 2 --minutes 4

audit: $(BIN)/mam ## known vulnerabilities and the licences of what is installed (needs the network)
	$(PYTHON) -m venv $(VENV)-audit
	PIP_CONSTRAINT= $(VENV)-audit/bin/python -m pip install --quiet pip-audit pip-licenses
	$(VENV)-audit/bin/pip-audit --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(VENV)-audit/bin/pip-licenses --python=$(BIN)/python --order=license

lint: $(BIN)/pytest ## check style, and which package imports from which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(BIN)/pytest ## check types
	$(BIN)/mypy

format: $(BIN)/pytest ## put the code into the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: table-asr-zeroshot table-aec-zeroshot table-asr-lmam table-aec-lmam report ## all tables of the paper (PAIR=demo|paper)

table-asr-zeroshot table-asr-lmam table-aec-zeroshot table-aec-lmam: table-%: $(BIN)/mam ## one table of the paper
	$(BIN)/mam run experiment=table_$(subst -,_,$*)$(SUFFIX_$(PAIR)) outputs=$(OUTPUTS) $(WHERE) $(WORDS)

report: $(BIN)/mam ## report.html of what is in $(OUTPUTS)
	$(BIN)/mam report $(OUTPUTS)

first-experiments: $(BIN)/mam ## where a newcomer starts: one merge, the paper's λ, L-MAM against FT
	$(BIN)/mam run lam=0.1 data.limit=30
	$(BIN)/mam run experiment=lambda_grid
	$(BIN)/mam run experiment=lmam_vs_ft 'study.axes.seed=[0]'

evidence: $(BIN)/mam ## the studies on real models and recordings, started or resumed (hours; MAM_REAL, MAM_MORE: see scripts/evidence.py)
	$(BIN)/python scripts/evidence.py --real $(MAM_REAL) --more $(MAM_MORE) $(STUDY) $(WORDS)

bench: $(BIN)/pytest ## time mam against what one writes by hand; writes scripts/bench/RESULTS.md (real data: MAM_REAL, MAM_PROMPTS)
	$(BIN)/python scripts/bench/all.py $(if $(MAM_REAL),--real $(MAM_REAL)) $(if $(MAM_PROMPTS),--recordings $(MAM_PROMPTS))

bench-coverage: $(BIN)/pytest ## simulate coverage and size of the statistics; writes the table in docs/statistics.md
	$(BIN)/python scripts/bench/coverage.py --write docs/statistics.md

bench-lmam: $(BIN)/pytest ## time L-MAM steps against regular fine-tuning
	$(BIN)/python scripts/bench/lmam.py

bench-gpu: $(BIN)/pytest ## time evaluations, sweeps and training on a GPU; writes scripts/bench/RESULTS-gpu.md
	$(BIN)/python scripts/bench/gpu.py

docs docs-serve: export NO_MKDOCS_2_WARNING := true# mkdocs-material's own notice
docs: $(BIN)/mkdocs ## build the documentation into site/
	$(BIN)/mkdocs build --strict --quiet

docs-serve: $(BIN)/mkdocs ## show the documentation in a browser, with its search, while it is written
	$(BIN)/mkdocs serve --strict

wheel: $(BIN)/pytest ## build the wheels and source distributions of mam-bench and mam-bench-demo into dist/
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist demo
