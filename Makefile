# Every target sets up what it needs first: a virtual environment in .venv, made once and again only when
# pyproject.toml or constraints.txt change.
#
#   make demo        reconstruct the scan that ships with ctuq, into demo-out/
#   make test        the quick tests              make test-slow   all of them
#   make lint        style, types, layers         make docs        the documentation, into site/
#   make clean       remove outputs and caches (.venv stays)
#
# PYTHON=python3.12      the interpreter to build .venv with (3.11 or newer)
# PIP_INSTALL_FLAGS=…    passed to every `pip install`, e.g. the index of torch wheels that you want

PYTHON ?= python3
PIP_INSTALL_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/.ready-tools
DOCS := $(VENV)/.ready-docs
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_INSTALL_FLAGS)

.PHONY: demo docs test test-slow lint clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/ctuq demo --out demo-out --force

# Two at a time, of one thread each: most of the time goes into many small arrays, which more threads do not help.
test: $(TOOLS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

test-slow: $(TOOLS)
	$(BIN)/python -m pytest

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The variable silences a notice of mkdocs-material about its own future, which is no warning about these pages.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf demo-out site build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamps are written last, so an interrupted set-up is taken up again. torch goes in first and pinned: resolved
# together with the rest, pip may settle on a build that brings gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "ctuq needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -1)."; \
	  echo "Install a newer one and name it: make PYTHON=python3.12 ..."; exit 1; }
	@echo "== set-up 1/3: virtual environment in $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "Could not make $(VENV): on Debian and Ubuntu the package python3-venv is needed."; exit 1; }
	@echo "== set-up 2/3: torch (the largest download)"
	@$(PIP_INSTALL) "torch==2.13.0"
	@echo "== set-up 3/3: ctuq and its other dependencies"
	@$(PIP_INSTALL) -e .
	@touch $@
	@echo "== set-up done"

$(TOOLS): $(READY)
	@echo "== set-up: tools for tests and style"
	@$(PIP_INSTALL) -e '.[test,lint]'
	@touch $@

$(DOCS): $(READY)
	@echo "== set-up: tools for the documentation"
	@$(PIP_INSTALL) -e '.[docs]'
	@touch $@
