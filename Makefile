# Each goal does its own set-up: a virtual environment in .venv, with uv where it is installed.
BIN = .venv/bin

.PHONY: demo test check bench setup
demo: setup  ## release good and bad versions of a shop under load
	@$(BIN)/davy demo

test: setup  ## every test; those whose parts are missing say that they are skipped
	@$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile -m "not alone"
	@$(BIN)/pytest -m alone

check: setup  ## style, types and the direction of imports
	@$(BIN)/poe check

bench: setup  ## figures with their ratios to the limits they are held against
	@$(BIN)/python -m tests.benchmarks

setup: .venv/.ready

.venv/.ready: pyproject.toml infra/constraints.txt infra/setup
	@sh infra/setup .venv
