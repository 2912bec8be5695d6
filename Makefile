# Two commands: `make figures` builds every figure and its verdicts, `make test` checks everything.
# Both build the environment .venv first if it is missing or no longer what pyproject.toml and constraints.txt say.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CORES ?= all#        cores of `make figures`
ARGS ?=#             more arguments for Snakemake (figures) or pytest (test)
JOBS ?= 2#           tests side by side
PYTHON ?=#           the Python, 3.11 or newer, that .venv is made of; found if not named
WHEELHOUSE ?=#       folder of wheels to install from, without internet
SCALE ?=#            the results that `make clean` removes

BIN := .venv/bin
STAMP := .venv/installed.txt
PINS := cat pyproject.toml constraints.txt
SOURCE = $(if $(WHEELHOUSE),--no-index --find-links "$(WHEELHOUSE)")

.PHONY: help figures test lint bench venv install interpreter wheelhouse clean

help:
	@echo "make figures     .venv if it is missing (1 to 4 min, 2 GB; more where pip takes the CUDA build of torch),"
	@echo "                 then data, models, tables, figures and verdicts into results/laptop (about half an hour on 2 cores)"
	@echo "                   CORES=4                            how many cores (default: all)"
	@echo "                   ARGS='accumulation_figure_2'       one figure, from its own cells alone"
	@echo "                   ARGS='--configfile config/paper.yaml -- all'   another scale"
	@echo "make test        .venv if it is missing, then lint and all tests, end-to-end ones included (about 6 min on 2 cores)"
	@echo "                   ARGS='-k policies'                 some of them; JOBS=4 more side by side (default: 2)"
	@echo "make lint        ruff and snakefmt alone (seconds)"
	@echo "make bench       speed of training and sampling on this machine"
	@echo "make venv        the environment alone; PYTHON=python3.12 names the Python to make it of"
	@echo "make wheelhouse  save every wheel that an installation needs in wheelhouse/. Then, without internet, on the same"
	@echo "                 platform and Python:  make figures WHEELHOUSE=wheelhouse"
	@echo "make clean       remove caches; name the results that can go. SCALE=smoke removes results/smoke"

figures:
	@echo "Figures: data -> generations -> tables -> figures -> verdicts, into results/laptop unless ARGS name another scale."
	@echo "About half an hour on 2 cores at laptop scale, less where some of it is built already."
	@$(MAKE) venv
	@$(BIN)/python -m collapse build --cores $(strip $(CORES)) $(ARGS)

test:
	@echo "Tests: lint, then unit, workflow and end-to-end tests; about 6 minutes on 2 cores."
	@$(MAKE) venv
	@$(MAKE) lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(strip $(JOBS)) --dist loadfile $(ARGS)

# snakefmt finds shfmt, its formatter of shell lines, on the PATH
lint: venv
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m snakefmt --check Snakefile workflow

bench: venv
	@$(BIN)/python -m collapse bench

# Compared by content: a checkout that only touches the files installs nothing.
venv:
	@$(PINS) | cmp -s - $(STAMP) || $(MAKE) install

install: interpreter
	@echo "Installing into .venv: 1 to 4 minutes, 2 GB (more where pip takes the CUDA build of torch)."
	@$(BIN)/python -m pip install --disable-pip-version-check $(SOURCE) -c constraints.txt -e '.[dev]' \
	  || { echo "Installing failed: see above. It needs internet once, or WHEELHOUSE=<folder> made by 'make wheelhouse'" \
	            "on a machine of the same platform and Python." >&2; exit 1; }
	@$(PINS) > $(STAMP)

interpreter:
	@if $(BIN)/python -m pip --version > /dev/null 2>&1; then exit 0; fi; \
	for python in $(or $(strip $(PYTHON)),python3 python3.13 python3.12 python3.11 python3.14 python); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
	    if "$$python" -c 'import ensurepip, venv' 2> /dev/null; then \
	      echo "Making .venv with $$("$$python" --version) ($$(command -v "$$python"))."; \
	      exec "$$python" -m venv --clear .venv; \
	    fi; \
	    bare="$$python"; \
	  fi; \
	done; \
	if [ -n "$${bare:-}" ]; then \
	  echo "$$bare cannot make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; \
	else \
	  echo "No Python 3.11 or newer found. Install one (python.org, your system, conda, pyenv)," \
	       "or name it: make figures PYTHON=<path of python3.11>" >&2; \
	fi; \
	exit 1

# Wheels, not source archives, so that installing needs no compiler; with the build backend, which pip asks for too.
wheelhouse: interpreter
	@echo "Saving wheels in wheelhouse/: about 1 minute, 0.4 GB (more where pip takes the CUDA build of torch)."
	@$(BIN)/python -m pip wheel --disable-pip-version-check -w wheelhouse -c constraints.txt '.[dev]' 'setuptools>=77' wheel
	@rm -f wheelhouse/collapse-*.whl
	@echo "Saved. Without internet, on this platform and Python: make figures WHEELHOUSE=wheelhouse"

clean:
	@rm -rf .pytest_cache .ruff_cache .hypothesis .coverage
	@find src tests figures workflow -name __pycache__ -type d -prune -exec rm -rf {} + 2> /dev/null || true
	@echo "Removed caches."
	@scale="$(strip $(SCALE))"; \
	if [ -z "$$scale" ]; then \
	  for folder in results/*/; do \
	    if [ -d "$$folder" ]; then \
	      echo "Kept $$folder ($$(du -sh "$$folder" | cut -f1)): make clean SCALE=$$(basename "$$folder") removes it."; \
	    fi; \
	  done; \
	elif [[ "$$scale" =~ ^[A-Za-z0-9_]+$$ && -d "results/$$scale" ]]; then \
	  rm -rf "results/$$scale" && echo "Removed results/$$scale."; \
	else \
	  echo "There is no results/$$scale." >&2; exit 1; \
	fi
