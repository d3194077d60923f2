# make demo   sets up .venv, makes the toy data and runs the study `demo`
# make test   sets up .venv and runs all tests
# make lint   ruff, as CI runs it
# make soak   kills and resumes a small study for MINUTES (30), and compares its table with the undisturbed one
PYTHON ?= python3
VENV := .venv
MINUTES ?= 30
BIN := $(VENV)/bin
# Two OpenMP teams on few cores slow each other down tenfold when idle threads spin.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup demo test lint soak

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

demo: setup
	$(BIN)/python tools/prepare_data.py toy
	$(BIN)/python tools/study.py run configs/studies/demo.py --scale toy

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

soak: setup
	$(BIN)/python tests/soak.py --minutes $(MINUTES)
