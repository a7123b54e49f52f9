# One environment for everything: serving, training and tests. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: serve test test-marked check demo-checkpoint

serve: $(STAMP)
	$(VENV)/bin/doppelkopf serve

test: $(STAMP)
	$(VENV)/bin/python -m pytest

# Real servers, a real browser and Prometheus (Debian: chromium, chromium-driver, prometheus).
test-marked: $(STAMP)
	$(VENV)/bin/python -m pytest -m 'server or browser or prometheus'

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# From ../shared alone: hours on two CPU cores, minutes on a GPU.
demo-checkpoint: $(STAMP)
	$(VENV)/bin/doppelkopf demo --shared ../shared --out model_store/demo --overwrite

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Doppelkopf needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@
