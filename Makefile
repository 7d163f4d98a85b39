# Everything that people and CI do with this repository. `make` lists it. GNU make and Python 3.11 or newer are enough.

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell for name in python3.11 python3 python3.13 python3.12; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)

# A stamp is named after what it was made from: a changed lock makes a new one.
stamp = $(VENV)/.installed-$(1)-$(shell cat requirements/$(1).txt pyproject.toml | cksum | tr ' ' '-')
RUN := $(call stamp,run)
DEV := $(call stamp,dev)
NPM := $(PY) -m stillroom.local.frontend

.DEFAULT_GOAL := help
.PHONY: help up down status test check e2e bench browser
.DELETE_ON_ERROR:

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(RUN) ## start everything on this machine (DETACH=1 in the background, NO_DEMO=1, PORT=8000)
	@$(PY) manage.py up $(if $(DETACH),--detach) $(if $(NO_DEMO),--no-demo) $(if $(PORT),--port $(PORT))

down: $(RUN) ## stop it
	@$(PY) manage.py down

status: $(RUN) ## show what runs
	@$(PY) manage.py status || test $$? -eq 3

test: $(DEV) browser ## all tests, as CI runs them
	$(NPM) build
	$(NPM) npm test
	$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(DEV) ## format, lint, types, import contracts, generated files
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict
	$(VENV)/bin/lint-imports
	$(NPM) npm run check
	$(PY) manage.py openapi --check

e2e: $(DEV) browser ## the journeys in a browser only
	$(NPM) build
	$(PY) -m pytest -m e2e $(ARGS)

bench: $(DEV) ## race the peers and print the ratios
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" benchmarks/run $(ARGS)

browser: $(DEV)
	@.ci/browser $(PY)

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN): | $(PY)
	@echo "Installing Python packages (requirements/run.txt)"
	@test -e $(DEV) || $(PY) -m pip install --quiet --disable-pip-version-check -r requirements/run.txt
	@test -e $(DEV) || $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@rm -f $(VENV)/.installed-run-* && touch $@

$(DEV): | $(PY)
	@echo "Installing Python packages (requirements/dev.txt)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@rm -f $(VENV)/.installed-dev-* && touch $@
