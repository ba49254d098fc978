# `make demo` shows it, `make test` tests it. Both set themselves up.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough and really starts (a version manager's shim may not).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# The sessions of `make check` beside the tests, the longest first. Two run side by side; those whose bounds are times
# have the machine for themselves, and so has Chromium, which drops its connections when a container's network comes.
SESSIONS := programs containers pythons postgresql lint docs openssh audit published systemd disk
TIMED := browser booted attacks outage

.DEFAULT_GOAL := help
.PHONY: help demo test check lint docs serve clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

$(VENV)/tools: Makefile
	@test -n '$(PYTHON)' || { echo 'bassloop needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3.'; exit 1; }
	@echo 'installing tools into $(VENV), once; this takes a minute at most'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5' 'nox>=2024.10.9'
	touch $@

$(VENV)/ready: $(VENV)/tools pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable .
	touch $@

# On a terminal the pages stay, to be looked at, until Ctrl-C.
demo: $(VENV)/ready  ## run examples/hello through a whole loop on this machine
	@if [ -t 1 ]; then serve=--serve; fi; set -x; $(BIN)/bassloop try examples/hello --engine host $$serve

test: $(VENV)/tools  ## run the quick tests, on one Python; arguments of pytest in ARGS
	$(BIN)/nox --session tests -- $(ARGS)

check: test  ## run everything that CI runs
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target --keep-going $(SESSIONS:%=session-%); status=$$?; \
	$(MAKE) --no-print-directory --keep-going $(TIMED:%=session-%) && exit $$status

session-%: $(VENV)/tools
	$(BIN)/nox --no-error-on-missing-interpreters --session $*

lint: session-lint  ## check types, style, and which room imports which

docs: session-docs  ## build the documentation, in build/docs

serve: $(VENV)/ready  ## start the daemon with the settings of the environment
	$(BIN)/bassloop serve

clean:  ## remove what was built
	rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
