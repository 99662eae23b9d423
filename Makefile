# Development. Users need only: python3 app.py --library DIR
PYTHON ?= python3
DEV := .venv-dev
BIN := $(DEV)/bin

.PHONY: test test-slow check raycast fix dev clean

# A worker that crashes fails the run: pytest-xdist's replacement for it waits for ever.
test: $(DEV)/ready  ## install the development set-up on the first run, then run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0

test-slow: $(DEV)/ready  ## the tests that take minutes: soaks, kill -9 loops, large exports
	$(BIN)/python -m pytest -m slow

check: $(DEV)/ready  ## everything CI looks at beside the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

raycast:  ## the Raycast extension's types; npm fetches the compiler and Raycast's library (70 MB)
	cd launchers/raycast && npm install --no-package-lock --ignore-scripts --no-audit --no-fund
	cd launchers/raycast && npm run check

fix: $(DEV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dev: $(DEV)/ready

# torch first and by itself: resolved together with the rest, pip may take a build that
# brings gigabytes of GPU libraries.
$(DEV)/ready: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv --clear $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(DEV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
