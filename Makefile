# Every target installs what it needs into one virtual environment, .venv, which serves, trains and
# tests. The environment is installed again when pyproject.toml or a file of requirements/ changes.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip install --quiet
COMPILE := $(VENV)/bin/uv pip compile --universal --python-version 3.11 --no-annotate --quiet \
  --custom-compile-command 'make lock' $(UPGRADE)
# The tests that run a second time against a Ray Serve cluster instead of one server process. The
# deselected one counts the metric series of one process.
ON_A_CLUSTER := tests/acceptance/contract/test_contract.py tests/acceptance/hostile/test_cases.py \
  --deselect tests/acceptance/hostile/test_cases.py::test_ten_thousand_random_paths_make_no_new_series

.PHONY: help serve test test-marked check format audit lock demo-checkpoint

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(STAMP) ## Start the service, by default with the demo checkpoint on port 8000.
	$(VENV)/bin/doppelkopf serve

test: $(STAMP) ## Run the tests that need neither a server process nor a browser.
	$(VENV)/bin/python -m pytest -n 2

# On Debian the programs are in: chromium, chromium-driver, prometheus, nodejs, npm.
test-marked: $(STAMP) ## Run the tests with real servers, Chromium, Prometheus and Node.js.
	$(VENV)/bin/python -m pytest -m 'server or browser or prometheus' -n 3 --dist loadfile --no-loadscope-reorder
	TESTS_CLUSTER=1 $(VENV)/bin/python -m pytest -m server -n 2 --dist loadfile $(ON_A_CLUSTER)

check: $(STAMP) ## Check style, format and types, and change nothing.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMP) ## Format the code and fix the style faults that ruff can fix.
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

audit: $(STAMP) ## Look for known vulnerabilities in the pinned packages.
	$(PIP) --constraint requirements/lock.txt pip-audit
	$(VENV)/bin/python .ci/audit.py $(VENV)/bin/pip-audit --requirement requirements/lock.txt --disable-pip

# Two versions are also written to files of their own: pip with its hashes, since pip older than 26.1
# cannot check the hashes of a constraints file, and torch without hashes (see the installation below).
lock: ## Pin the dependencies of pyproject.toml; with UPGRADE=--upgrade, the newest ones.
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement requirements/bootstrap.txt
	$(PIP) --constraint requirements/lock.txt uv
	$(COMPILE) pyproject.toml --all-extras --group build --group supply --fork-strategy fewest \
	  --generate-hashes --output-file requirements/lock.txt
	echo pip | $(COMPILE) - --no-deps --constraint requirements/lock.txt \
	  --generate-hashes --output-file requirements/bootstrap.txt
	echo torch | $(COMPILE) - --no-deps --constraint requirements/lock.txt \
	  --output-file requirements/torch.txt

demo-checkpoint: $(STAMP) ## Train model_store/demo from ../shared: minutes on a GPU, hours on two cores.
	$(VENV)/bin/doppelkopf demo --shared ../shared --out model_store/demo --overwrite

# The lock file is a constraint, not a list to install: torch's build decides whether the CUDA packages
# are needed. A constraint with hashes makes pip refuse every download without one, and the project's
# own folder, which therefore comes last and alone.
$(STAMP): pyproject.toml $(wildcard requirements/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Doppelkopf needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV), once; a few minutes where torch has to be downloaded."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --requirement requirements/bootstrap.txt
	@# By version only: a build for this machine's device, which is already installed or comes from
	@# an index set up in pip, has other hashes than the builds on PyPI.
	@$(PIP) --no-deps --requirement requirements/torch.txt
	@$(VENV)/bin/python requirements/direct.py train ray dev > $(VENV)/direct.txt
	@$(PIP) --constraint requirements/lock.txt --requirement $(VENV)/direct.txt
	@$(PIP) --no-deps --build-constraint requirements/lock.txt --editable .
	@touch $@
