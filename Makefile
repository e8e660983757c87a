# Two commands: `make demo` shows what poised does, `make test` checks all of it.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test format clean

demo: .venv/core.stamp
	$(BIN)/poised predict data/samples --out demo
	@echo "Look at the pictures in demo/pictures; the numbers are in demo/poses.json."

test: .venv/full.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

format: .venv/full.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/core.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

# torch is named with its version first: asked for by a range, pip may take a build of gigabytes
.venv/full.stamp: .venv/core.stamp
	$(PIP) install --constraint constraints.txt torch==2.13.0
	$(PIP) install --constraint constraints.txt --editable '.[train,onnx,dev]'
	@touch $@
