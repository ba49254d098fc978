# Two commands matter: `make demo` shows it, `make test` checks it. Both set themselves up.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough and really starts (a version manager's shim may not).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo test lint serve clean

help:
	@echo 'make demo   run examples/hello through the whole loop, on this machine'
	@echo 'make test   run the tests, on every Python from 3.11 that is here'
	@echo 'make lint   types, style, and which room may import which'
	@echo 'make serve  start the loop with what the environment says'

$(VENV)/tools: Makefile
	@test -n '$(PYTHON)' || { echo 'bassloop needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3.'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5' 'nox>=2024.10.9'
	touch $@

$(VENV)/ready: $(VENV)/tools pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable .
	touch $@

# On a terminal the pages stay, to be looked at, until Ctrl-C.
demo: $(VENV)/ready
	@if [ -t 1 ]; then serve=--serve; fi; set -x; $(BIN)/bassloop try examples/hello $$serve

serve: $(VENV)/ready
	$(BIN)/bassloop serve

test: $(VENV)/tools
	$(BIN)/nox --no-error-on-missing-interpreters

lint: $(VENV)/tools
	$(BIN)/nox --session lint

clean:
	rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
