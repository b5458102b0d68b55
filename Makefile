# make lab            installs what is missing and opens the course
# make lab TORCH=cpu  the same; on Linux it installs the build of PyTorch for the CPU, which is 3 GB smaller. It is in
#                     PyTorch's own index. If pip does not know that one, add its address: make lab TORCH=cpu INDEX=…
# make test           installs what is missing and runs every test except the long trainings

PYTHON ?= python3
TORCH ?= any
INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
COURSE := $(VENV)/.course-installed
TOOLS := $(VENV)/.tools-installed

# The notebooks of learners and the solved ones run as they are; their outputs are compared with the stored ones.
NOTEBOOKS := $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb)
# As many processes as cores. The tests of a file stay together, and so do the cells of a notebook. The browser takes longest and starts first.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadscope --no-loadscope-reorder --nbval tests $(NOTEBOOKS)

.PHONY: install lab test test-all lessons bench lint clean

install: $(COURSE)

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "MetaFace needs Python 3.11 or newer, but '$(PYTHON)' is `$(PYTHON) --version 2>&1`."; \
	    echo "Install a newer one and name it: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)

$(COURSE): pyproject.toml | $(BIN)/pip
ifeq ($(TORCH),cpu)
	@$(BIN)/python -m pip install $(INDEX:%=--extra-index-url '%') \
	  $$(sed -n 's/^ *"\(torch[a-z]*==[0-9.]*\)".*/\1+cpu/p' pyproject.toml) || \
	  { echo "pip knows no index with PyTorch for the CPU. https://pytorch.org/get-started/locally names it (Linux, Pip, Python, CPU)."; \
	    echo "Add its address: make $(MAKECMDGOALS) TORCH=cpu INDEX=https://…"; exit 1; } >&2
else ifneq ($(TORCH),any)
	@echo "TORCH=$(TORCH) is unknown. Write make $(MAKECMDGOALS) TORCH=cpu, or leave TORCH out." >&2; exit 1
endif
	$(BIN)/python -m pip install --editable .
	$(BIN)/python -m metaface_lessons.doctor --fix
	@touch $@

# What authors and tests need beyond what learners have.
$(TOOLS): $(COURSE)
	$(BIN)/python -m pip install --editable '.[test,authors,hub]'
	@touch $@

lab: $(COURSE)
	$(BIN)/metaface lab

test: lint
	$(PYTEST) -m 'not slow'

test-all: lint
	$(PYTEST)

lessons: $(TOOLS)
	METAFACE_BUDGET=quick $(BIN)/python notebooks/build.py

bench: $(TOOLS)
	METAFACE_BUDGET=quick $(BIN)/python -m benchmarks

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.voice

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
