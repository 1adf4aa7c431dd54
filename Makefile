# `make train` and `make test` are all the set-up there is. Another interpreter or place: make test PYTHON=python3.12 VENV=/tmp/venv
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# An editable install belongs to one checkout, so a virtual environment shared by several has a stamp for each.
HERE := $(subst /,_,$(CURDIR))
JOBS ?= 2

.PHONY: train test lint types unit nightly study bench bench-quick docs clean

train: $(VENV)/.user$(HERE)
	$(BIN)/toughen train

test: lint types unit

lint: $(VENV)/.test$(HERE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test$(HERE)
	$(BIN)/mypy

# One thread a process: the networks of the tests are small, and two processes use both cores. xdist needs one hash seed.
PYTEST := PYTHONHASHSEED=0 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

unit: $(VENV)/.test$(HERE)
	$(PYTEST) -m "not nightly"

nightly: $(VENV)/.test$(HERE)
	$(PYTEST) -m nightly --durations 20

# The tables of docs/results.md from nothing, about four hours on two cores, which two workers share; what a
# stopped one left is gone on with. They end in docs/results.md. CIFAR10 is a folder with CIFAR-10 as train-*.parquet and test-*.parquet.
CIFAR10 ?= cifar10
WORKERS ?= 1 2
STUDIES := cpu-digits cpu-digits-parts cpu-fashion "cpu-cifar10 --data.cifar10.data.path $(CIFAR10)"

study: $(VENV)/.study$(HERE)
	for study in $(STUDIES); do \
	  for worker in $(WORKERS); do OMP_NUM_THREADS=1 $(BIN)/toughen study $$study & workers="$$workers $$!"; done; \
	  for worker in $$workers; do wait $$worker || exit 1; done; workers=; \
	done
	$(BIN)/python benchmarks/results_page.py $(foreach study,$(filter cpu-%,$(subst ",,$(STUDIES))),$(study)=runs/$(study))

# Figures of speed, one line each in the end: all (hours), or figure 1 in small (some minutes on two cores).
bench: $(VENV)/.user$(HERE)
	$(BIN)/python benchmarks/run.py

bench-quick: $(VENV)/.user$(HERE)
	$(BIN)/python benchmarks/run.py --quick

# Cards and the table of steps, which lie among the sources, then the site.
docs: $(VENV)/.test$(HERE)
	$(BIN)/python docs/make_cards.py
	$(BIN)/python docs/make_steps.py
	$(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user$(HERE): $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.study$(HERE): $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[sweep]"
	touch $@

$(VENV)/.test$(HERE): $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
