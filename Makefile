# One environment for everything: serving, training and tests. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip install --quiet
# What holds for one machine, asked of a cluster of Ray Serve once more.
ON_A_CLUSTER := tests/acceptance/contract/test_contract.py tests/acceptance/hostile/test_cases.py \
  --deselect tests/acceptance/hostile/test_cases.py::test_ten_thousand_random_paths_make_no_new_series
# Installs one pinned package by its hashes, with any pip.
pinned = sed -n '/^$(1)==/,/[^\\]$$/p' constraints.txt | $(PIP) --require-hashes --requirement /dev/stdin

.PHONY: serve test test-marked check audit lock demo-checkpoint

serve: $(STAMP)
	$(VENV)/bin/doppelkopf serve

test: $(STAMP)
	$(VENV)/bin/python -m pytest -n 2

# Real servers, a real browser and Prometheus (Debian: chromium, chromium-driver,
# prometheus, nodejs, npm).
test-marked: $(STAMP)
	$(VENV)/bin/python -m pytest -m 'server or browser or prometheus' -n 3 --dist loadfile --no-loadscope-reorder
	TESTS_CLUSTER=1 $(VENV)/bin/python -m pytest -m server -n 2 --dist loadfile $(ON_A_CLUSTER)

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Known vulnerabilities of all that is pinned. Says so where the service for it cannot be asked.
audit: $(STAMP)
	$(PIP) --constraint constraints.txt pip-audit
	$(VENV)/bin/python .ci/audit.py $(VENV)/bin/pip-audit --requirement constraints.txt --disable-pip

# After a change of pyproject.toml. UPGRADE=--upgrade takes the newest of everything.
lock:
	$(PYTHON) -m venv $(VENV)
	$(call pinned,uv)
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --group build --group supply --universal \
	  --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate --quiet \
	  --custom-compile-command 'make lock' $(UPGRADE) --output-file constraints.txt

# From ../shared alone: hours on two CPU cores, minutes on a GPU.
demo-checkpoint: $(STAMP)
	$(VENV)/bin/doppelkopf demo --shared ../shared --out model_store/demo --overwrite

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Doppelkopf needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV), once; a few minutes where torch has to be downloaded."
	@$(PYTHON) -m venv $(VENV)
	@# Older pips cannot check the hashes of a constraints file.
	@$(call pinned,pip)
	@# torch has as many builds as devices. Which one is the choice of whoever sets up pip, or has
	@# installed it here before; so its own file is pinned by version only, all others by hash too.
	@$(PIP) --no-deps $$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)
	@$(VENV)/bin/python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	  print(*project['dependencies'], *sum(project['optional-dependencies'].values(), []), sep='\n')" \
	  | $(PIP) --constraint constraints.txt --requirement /dev/stdin
	@$(PIP) --no-deps --build-constraint constraints.txt --editable .
	@touch $@
