# Every target sets up .venv first (once, and again when pyproject.toml or constraints.txt change).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
OUT ?= runs/demo
SMOKE ?= runs/bench-smoke
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test test-all lint bench bench-smoke docs clean

help:
	@echo "make demo      zoo -> graphs -> metanet -> report.html in $(OUT), a few minutes"
	@echo "make test      the quick tests, two processes"
	@echo "make test-all  every test, the slow ones too"
	@echo "make lint      ruff and mypy"
	@echo "make bench     the speed comparisons of experiments/benchmarks"
	@echo "make bench-smoke  every molecular model for a moment on the built-in sample, tables in $(SMOKE)"
	@echo "make docs      the documentation, to docs/_build/html"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@env -u OMP_NUM_THREADS $(BIN)/weightspace demo --out $(OUT)

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-all: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/weightspace bench

bench-smoke: $(STAMP)
	@test "$(SMOKE)" != runs/bench-smoke || rm -rf runs/bench-smoke
	@$(BIN)/weightspace bench molecules --data sample:ethanol --models all --budget 300samples --jobs 2 \
		--out $(SMOKE) --no-progress

docs: $(STAMP)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf docs/_build runs .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
