# Every target sets up what it needs. PYTHON names the interpreter that makes .venv (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check parity bench

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

demo: setup
	$(BIN)/python -m train mixture_2d --out runs/mixture_2d
	$(BIN)/python -m score runs/mixture_2d --data mixture_2d

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest

.venv/torch: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,torch]'
	touch $@

parity: .venv/torch
	$(BIN)/python -m pytest tests/parity

bench: .venv/torch
	$(BIN)/python -m benchmarks.train_speed
	$(BIN)/python -m benchmarks.score_speed --quick
	$(BIN)/python -m benchmarks.load_speed
	$(BIN)/python -m benchmarks.fidelity --quick
