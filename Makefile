# Each target makes its own environment in .venv if none is there, and is quick when there is one.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS_READY := .venv/.docs
LOWEST := .venv-lowest/bin
NO_EXTRAS := .venv-no-extras/bin

# Tests on every core, in groups: those marked `xdist_group` never run beside each other.
PYTEST = $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadgroup --durations 10 --durations-min 1

.PHONY: setup check fix test-fast test test-all test-lowest test-no-extras bench bench-head bench-commands docs dist demo clean

setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $(DOCS_READY)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-fast: $(READY)
	$(PYTEST) -m 'not wide and not slow'

test: $(READY)
	$(PYTEST)

test-all: $(READY)
	$(PYTEST) -m ''

# The lowest versions that pyproject.toml allows, whose own warnings are no failures; PYTHON=python3.11 is the lowest Python.
test-lowest:
	test -x $(LOWEST)/uv || ($(PYTHON) -m venv .venv-lowest && $(LOWEST)/pip install --quiet uv)
	$(LOWEST)/uv pip compile --quiet --extra dev --resolution lowest-direct -o .venv-lowest/lowest.txt pyproject.toml
	$(LOWEST)/pip install --quiet -r .venv-lowest/lowest.txt -e .
	$(LOWEST)/python -m pytest -o filterwarnings= -n logical --maxprocesses 8 --dist loadgroup --durations 10 --durations-min 1

# With what `pip install easy-metric-learning` brings and no more: what needs an extra is skipped.
test-no-extras:
	test -x $(NO_EXTRAS)/python || $(PYTHON) -m venv .venv-no-extras
	$(NO_EXTRAS)/pip install --quiet -e '.[test]'
	EML_TESTS_WITHOUT_EXTRAS=yes $(NO_EXTRAS)/python -m pytest -n logical --maxprocesses 8 --dist loadgroup --durations 10 --durations-min 1

bench: $(READY)
	@cat tests/benchmarks/README.md

bench-head: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pytorch-metric-learning
	$(BIN)/python tests/benchmarks/class_head.py

# Whole commands against bare loops; BENCH="--package /tmp/before --only train" measures an older version too, or less.
bench-commands: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/commands.py $(BENCH)

# Pages and tables that are committed, then the site in site/; the build itself needs no network.
docs: $(DOCS_READY)
	$(BIN)/python docs/tools/margins_page.py docs
	$(BIN)/python docs/tools/backbones_table.py docs
	$(BIN)/python docs/tools/make_stub.py
	$(BIN)/python docs/tools/completion_tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

dist: $(READY)
	rm -rf build dist *.egg-info
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	EML_DIST=dist $(BIN)/python -m pytest -m '' tests/packaging/test_archives.py

demo: $(READY)
	$(BIN)/eml demo demo --overwrite

clean:
	rm -rf .venv .venv-lowest .venv-no-extras .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info demo site
