# Each target makes its own environment in .venv if none is there, and is quick when there is one.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup check fix test test-all bench bench-head docs demo clean

setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(READY)
	$(BIN)/python -m pytest

test-all: $(READY)
	$(BIN)/python -m pytest -m ""

bench: $(READY)
	@cat tests/benchmarks/README.md

bench-head: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pytorch-metric-learning
	$(BIN)/python tests/benchmarks/class_head.py

docs: $(READY)
	$(BIN)/python docs/tools/margins_page.py docs

demo: $(READY)
	$(BIN)/eml demo demo --overwrite

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info demo
