# `make demo` works on a fresh machine with Python >= 3.11, `make test` (with the tools of the documentation) with Python
# >= 3.11.5; everything else uses the same .venv.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
# Processes of the test suite, a file of tests each at a time; every one needs about 1.5 GB.
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test test-all docs site coverage check format wheel clean

$(BIN)/activate:
	$(PYTHON) -m venv $(VENV)

# The package itself, with the pinned versions of constraints.txt (or CONSTRAINTS=another file).
$(VENV)/.installed: $(BIN)/activate pyproject.toml $(CONSTRAINTS)
	$(PIP) install --constraint $(CONSTRAINTS) --editable .
	touch $@

# The tools of the dependency group "dev"; pip reads groups from version 25.1 on, and is pinned like everything else.
$(VENV)/.dev: $(VENV)/.installed
	$(PIP) install --constraint $(CONSTRAINTS) --upgrade "pip>=25.1"
	$(PIP) install --constraint $(CONSTRAINTS) --group dev
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m ncbench.train +experiment=digits_mlp hydra.run.dir=outputs/demo/digits_mlp
	$(BIN)/python -m ncbench.train +experiment=dufm_k10 hydra.run.dir=outputs/demo/dufm_k10
	$(BIN)/python -m ncbench.report outputs/demo/digits_mlp
	$(BIN)/python -m ncbench.report outputs/demo/dufm_k10

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -n $(PROCESSES) --dist loadfile

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not gpu" -n $(PROCESSES) --dist loadfile

# The examples in docstrings, the README's table, and the links between documents.
docs: $(VENV)/.dev
	$(BIN)/python -m pytest -q ncbench tests/test_readme.py tests/test_repository.py

# The documentation site, in site/; needs no network.
site: $(VENV)/.dev
	$(BIN)/zensical build --clean --strict

# Lines and branches that the quick tests reach, of the rooms in [tool.coverage.run]; about twice as long as `make test`.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not slow and not gpu" --cov --cov-report=term

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) dist build site .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
