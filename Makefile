# Each target prepares what it needs; `make demo` and `make test` work in a fresh clone.
# Needed: Linux, make, Python 3.11 or newer. No root.

.POSIX:
.PHONY: setup demo test check bench differential clean

# .venv with casemate in it, exactly as uv.lock says; quick when there is nothing to do.
setup:
	@sh scripts/setup.sh

# The whole life of a confidential workload, on this machine, with examples/notes.
demo: setup
	@.venv/bin/casemate demo

test: setup
	.venv/bin/python -m pytest -n auto

# What a change has to pass.
check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest -n auto

bench: setup
	@for benchmark in benchmarks/*.py; do .venv/bin/python "$$benchmark" || exit 1; done

# Hundreds of thousands of changed quotes and collateral sets, before our verifier and before dcap-qvl.
differential: setup
	@.venv/bin/python -m tests.differential.run

clean:
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
