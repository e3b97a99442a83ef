# Two commands do everything, each with its own set-up in .venv:
#   make demo   track the built-in scene and score it
#   make test   run the tests
PYTHON ?= python3
BIN := .venv/bin
MATRIX := tests-3.10 tests-3.12 tests-3.13 lowest wheel

PACKAGES := app cli configs core engine export plugins tracker training video weights

.PHONY: demo test lint docs matrix $(MATRIX) clean

demo: .venv/core
	$(BIN)/python run_track.py demo --eval

test: .venv/dev
	$(BIN)/python -m pytest

lint: .venv/dev .typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy run_track.py noxfile.py
	cd .typing && ../$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files '*.cu' '*.cuh' '*.h' '*.cpp')

# The documentation, into site/.
docs: .venv/docs .typing
	$(BIN)/mkdocs build --strict

# The tests on other Pythons and with the lowest versions of all dependencies, `make test` has covered its own Python;
# and the wheel, installed elsewhere. `make --jobs=2 matrix` runs two at a time.
matrix: $(MATRIX)

$(MATRIX): .venv/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/nox --session $@

clean:
	rm -rf .typing .venv .nox output site .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/core: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ .venv/core

.venv/docs: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@ .venv/core

# What `__path__` of fairmot/__init__.py does in Python, for tools that read it: links to each package and module.
.typing: Makefile $(wildcard fairmot/*)
	rm -rf $@
	mkdir -p $@/fairmot
	ln -s $(addprefix ../../,$(PACKAGES)) $(addprefix ../../,$(wildcard fairmot/*.py fairmot/py.typed)) $@/fairmot/
	ln -s ../pyproject.toml $@/
