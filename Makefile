# On a fresh machine with Python 3.11 or newer: `make serve` runs onekey, `make test` tests it. Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve test test-all check system bench clean

serve: $(VENV)/installed
	$(BIN)/onekey serve

# Much of testing is waiting for other processes, so a few tests go on at once.
test: check
	$(BIN)/pytest -n 3 --dist worksteal -m "not slow"

test-all: check
	$(BIN)/pytest -n 3 --dist worksteal

check: system $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m bench.run

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit("onekey needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# What some tests drive. Elsewhere they are skipped, and listed at the end as not shown.
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  missing=; \
	  for program in nginx:nginx-light chromium:chromium curl:curl openssl:openssl; do \
	    command -v $${program%%:*} >/dev/null || missing="$$missing $${program##*:}"; \
	  done; \
	  if [ -n "$$missing" ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  fi; \
	fi

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
