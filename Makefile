# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Both install into .venv first, and neither installs again until pyproject.toml or requirements.lock changes.

PYTHON ?= python3
# No hash for torch: which archive is right (CPU, CUDA, macOS) depends on the machine.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LINKS := $(VENV)/links/nmt
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST_ARGS ?=
# Files of tests that run side by side: each of them waits for Ray, for servers and for processes half of its time.
TEST_PROCESSES ?= 2
LOCK_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo lint test drill lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## install the locked packages and the project into .venv

# torch comes after the lock: its CPU build then finds all it needs already there, its CUDA build brings NVIDIA's libraries.
$(STAMP): pyproject.toml requirements.lock
	@echo "install: everything pinned in requirements.lock goes into $(VENV); this takes a few minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-deps --require-hashes -r requirements.lock
	$(PIP) install --quiet '$(TORCH)'
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $@

demo: export RAY_USAGE_STATS_ENABLED = 0
demo: export MLFLOW_DISABLE_TELEMETRY = true
demo: $(STAMP) ## train the main experiment on real data, on this machine
	@echo "demo: nmt run experiments/complete_journey.yaml"
	$(BIN)/nmt run experiments/complete_journey.yaml

# The package nmt as setup.py maps it, for programs that read sources and run no import hooks.
$(LINKS): setup.py
	mkdir -p $@
	for room in trainers orchestrator experiments; do ln -sfn $(CURDIR)/$$room $@/$$room; done
	for file in __init__.py py.typed; do ln -sf $(CURDIR)/orchestrator/nmt/$$file $@/$$file; done
	@touch $@

lint: $(STAMP) $(LINKS) ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test drill: export RAY_USAGE_STATS_ENABLED = 0
test drill: export RAY_AUTH_MODE = disabled
test drill: export MLFLOW_DISABLE_TELEMETRY = true
test: lint ## lint, then every test but the drills (PYTEST_ARGS="-k rooms" for some)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m "not drill" $(PYTEST_ARGS)

# One at a time: nodes of Ray that come up beside other work are given up by Ray after half a minute.
drill: $(STAMP) ## the tests of many minutes: nodes, servers, more ends of runs and sweeps, the image's steps
	$(BIN)/python -m pytest -m drill $(PYTEST_ARGS)

# Versions already in the lock are kept unless LOCK_ARGS=--upgrade (all) or LOCK_ARGS="--upgrade-package ruff" (one).
lock: ## write requirements.lock anew from pyproject.toml
	test -x $(VENV)/lock/bin/python || $(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check install --quiet pip-tools==7.6.2
	echo '$(TORCH)' > $(VENV)/lock/torch.txt
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/lock/bin/pip-compile --quiet --generate-hashes --all-extras --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --unsafe-package torch \
		--constraint $(VENV)/lock/torch.txt --output-file requirements.lock $(LOCK_ARGS) pyproject.toml
	sed -i.bak '/^# WARNING: The following packages/,$$d' requirements.lock && rm requirements.lock.bak
	echo '# torch stands in the Makefile, without a hash: which archive is right depends on the machine.' >> requirements.lock
	@! grep -E '^(nvidia|triton|cuda)' requirements.lock || \
		{ echo "lock: pip chose torch's CUDA build, see CONTRIBUTING.md for how it finds the CPU build"; exit 1; }

clean: ## remove .venv, caches and build output; what was trained stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
