# Everything that a machine with python3 and make needs: `make demo`, `make test`.
# `make test PYTHON=python3.12` uses another interpreter, in an environment of its own beside `.venv`.

PYTHON ?= python3
WORKERS ?= 2

# One environment per interpreter, so that two of them stand side by side.
ifeq ($(PYTHON),python3)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
RUN := $(VENV)/bin/python

# No window opens on the machine that runs tests and examples.
export MPLBACKEND ?= Agg

.DEFAULT_GOAL := help
.PHONY: help demo test rest trial lint format types docs examples benchmarks clean

help:
	@echo 'make demo        train on the bundled digits, evaluate, write a report (under a minute)'
	@echo 'make test        a sample of every test (under 5 minutes on two cores); PYTHON=python3.12 selects the interpreter'
	@echo 'make rest        what make test leaves out: all cases of every test, and the trials (most of an hour)'
	@echo 'make trial       what users and strangers do: styles of pair, examples, pages, attacks (8 minutes)'
	@echo 'make lint types  ruff and pyright'
	@echo 'make docs        the documentation, warnings as errors, into site/'
	@echo 'make examples    every example with its smoke option'
	@echo 'make benchmarks  every benchmark (long)'
	@echo 'make clean       remove the environments and everything built'

demo: $(VENV)/.installed-test
	$(VENV)/bin/pyrovae demo

# One thread per process: the tests run in several processes, and threads would fight for the same cores.
# A worker that has nothing left to do takes over from the other.
test rest trial: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed-test
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal --part sample $(ARGS)

rest: $(VENV)/.installed-test
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal --part rest $(ARGS)

trial: $(VENV)/.installed-test
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal -m trial $(ARGS)

lint: $(VENV)/.installed-lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.installed-lint
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(VENV)/.installed-test $(VENV)/.installed-lint
	$(RUN) -m pyright --pythonpath $(RUN)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict # the variable silences an advertisement

examples: $(VENV)/.installed-test
	@set -e; for example in examples/*.py; do echo "$$example --smoke"; $(RUN) "$$example" --smoke; done

benchmarks: $(VENV)/.installed-benchmarks
	@set -e; for benchmark in benchmarks/*.py; do echo "$$benchmark"; $(RUN) "$$benchmark"; done

clean:
	rm -rf .venv .venv-* build dist site .pytest_cache .ruff_cache .hypothesis

# Installed again only when the pins or the package's own requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(RUN)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pyrovae needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
