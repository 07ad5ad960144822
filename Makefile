# Two commands: `make run` (the main job) and `make test` (everything that decides green). Each sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= configs/plain-sigmoid-20.yaml

.PHONY: run test check format docs experiments clean

run: $(VENV)/.installed
	$(BIN)/gradscope run $(CONFIG)

test: $(VENV)/.installed-dev
	$(MAKE) check

# One command decides green, here and in CI.
check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Everything that is made from the code: pages, schema, the examples' outputs, the pictures.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.refresh

# Every claim of docs/experiments measured anew, with its figure and its numbers put into its page.
experiments: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.experiments --write

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
