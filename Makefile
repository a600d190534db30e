# Everything a person or a machine does with this repository. Needs make and Python 3.11+; the rest is made here.
#   make demo   an offline day from nothing: set-up, seed, conflicts, reconciliation, proof of the books
#   make up     the whole system, left running with its console
#   make test   lint, types, import contracts and the whole test suite
#   make faults every fault that the real system is put to, also those that take long
#   make docs   the reference pages that follow from the code
#   make mutants  deliberate defects, each of which must be found; takes half an hour
#   make lock   new locks after a change of dependencies (UPGRADE=--upgrade takes the newest of everything)

PYTHON ?= python3
VENV ?= .venv
# One more than there are cores: tests wait for processes that start and stop.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
UPGRADE ?=
PACKAGES = client_sdk loadtests migrations server sync
UV_VERSION = 0.13.8

BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
LOCK_TOOLS = build/lock-tools
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: demo up test faults lint docs mutants lock clean

demo: $(STAMP)
	$(BIN)/tallystick demo

up: $(STAMP)
	$(BIN)/tallystick up

# The tests start some hundred processes of ours: none of them is to compile what it loads, whatever the environment says.
# Files go in their order: otherwise those with a few long tests come last, and one worker is left with them.
test: lint
	$(BIN)/python -m compileall -q $(PACKAGES)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

faults: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "long or not long" tests/faults

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(STAMP)
	$(BIN)/python -m docs.generate

mutants: $(STAMP)
	$(BIN)/python -m tests.simulation.mutants

# The stamp is written last: an install that was interrupted is taken up again, one that is complete costs nothing.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("tallystick needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# One lock for every platform and Python we support, and the part of it that a container needs; only names, versions and
# hashes go in.
lock:
	test -x $(LOCK_TOOLS)/bin/uv || { $(PYTHON) -m venv $(LOCK_TOOLS) && $(LOCK_TOOLS)/bin/pip install --quiet uv==$(UV_VERSION); }
	$(LOCK_TOOLS)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --extra server --extra embedded \
	    --group dev --generate-hashes --no-header --no-annotate --quiet $(UPGRADE) --output-file requirements.lock
	$(LOCK_TOOLS)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --extra server --constraint requirements.lock \
	    --generate-hashes --no-header --no-annotate --quiet --output-file requirements.server.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
