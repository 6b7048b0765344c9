# Two targets are all you need: `make demo` and `make test`. Each makes the environment first, in .venv/.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
# Whole services wait more than they compute, so four at a time on two cores; unit tests compute, two at a time.
PYTEST := $(BIN)/pytest --dist worksteal

.PHONY: demo test test-openclip ray-test lint style types unit integration api-test chaos walk fuzz bench bench-peers docs audit clean

demo: .venv/installed       ## the whole service on photographs that come with it
	$(BIN)/moderator demo

# The check of types takes one process, and half a minute.
test: style                 ## everything that CI runs, below 13 minutes on 2 cores
	$(MAKE) --jobs 2 types unit
	$(MAKE) integration

test-openclip: .venv-openclip/installed ## the OpenCLIP encoders, in an environment of their own (6 GB)
	.venv-openclip/bin/pytest tests/openclip

ray-test: .venv-ray/installed ## the Ray engine of backfills, in an environment of its own
	.venv-ray/bin/pytest tests/ray

lint: style types           ## style, types, and the direction of imports

style: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/installed
	$(BIN)/mypy

unit: .venv/installed       ## quick, pure tests; a quick run of the fuzzer
	$(PYTEST) --numprocesses 2 tests/unit tests/fuzz

integration: .venv/installed ## real server, real worker, real model; faults, the short version
	$(PYTEST) --numprocesses 4 tests/integration tests/chaos tests/api

api-test: .venv/installed   ## the gateway's API fuzzed by its own document: 5,000 cases, minutes on 2 cores
	$(BIN)/python -m tests.api.check_api

chaos: .venv/installed      ## faults under load: a table of what is lost and doubled (nothing), 15 minutes on 2 cores
	$(BIN)/python -m tests.chaos

walk: .venv/installed       ## the pages on hooks, each with a worker of its own, and how long each takes
	WALK_ALONE=1 $(BIN)/pytest -s tests/integration/test_hook_pages.py

fuzz: .venv/installed       ## 200,000 mutated images: each a verdict or a typed error, half an hour on 2 cores
	$(BIN)/python -m tests.fuzz.images --images 200000

bench: .venv/installed      ## throughput and latency
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/latency.py

bench-peers: .venv/installed ## against openmoderate, infinity and LitServe, each in an environment of its own (3.7 GB)
	$(BIN)/python benchmarks/peers.py

docs: .venv/installed       ## generate the tables in docs/ from the code
	$(BIN)/python -m docs.generate

audit: .venv-audit/installed ## known vulnerabilities of the pinned packages, asked of the package index
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt \
		$$(sed -nE 's/^([A-Z][A-Za-z0-9-]+).*/--ignore-vuln \1/p' audit-exceptions.txt)

clean:                      ## remove the environment and all caches
	rm -rf .venv .venv-openclip .venv-ray .venv-audit .bench-envs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Making the environment in .venv/: a minute or more, torch is large."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@$(BIN)/python -m compileall -q moderator workers # tests start hundreds of processes
	@touch $@

.venv-openclip/installed: pyproject.toml constraints-openclip.txt
	test -x .venv-openclip/bin/python || $(PYTHON) -m venv .venv-openclip
	.venv-openclip/bin/pip --disable-pip-version-check install --quiet --constraint constraints-openclip.txt \
		--editable ".[dev,openclip]"
	touch $@

.venv-ray/installed: pyproject.toml constraints.txt constraints-ray.txt
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt torch
	.venv-ray/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt \
		--constraint constraints-ray.txt --editable ".[dev,ray]"
	touch $@

.venv-audit/installed: Makefile
	test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip --disable-pip-version-check install --quiet pip-audit==2.10.1
	touch $@
