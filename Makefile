# Two commands for a newcomer: `make demo` and `make test`. Both do all the set-up themselves.
PYTHON ?= python3
EXTRAS ?= cpu,train,dev
# Where PyPI's default torch is a CUDA build, this asks uv for the CPU one.
TORCH_BACKEND ?= cpu

BIN := .venv/bin
# pip may have been told where wheels lie on this machine; uv has to be told again.
FIND_LINKS := $(shell $(PYTHON) -m pip config list 2>/dev/null | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)
UV_ENV := $(if $(FIND_LINKS),UV_FIND_LINKS="$(FIND_LINKS)",UV_TORCH_BACKEND=$(TORCH_BACKEND))
OVERRIDES := $(if $(findstring gpu,$(EXTRAS)),,--override requirements/cpu-overrides.txt)

.PHONY: demo test test-rest test-all test-unit lint format setup miniature bench soak-short soak clean

setup: .venv/.ready-$(EXTRAS)

# Compiled once here, not in each process that imports vLLM: half of an engine's start otherwise,
# wherever Python is told not to write bytecode.
.venv/.ready-$(EXTRAS): pyproject.toml requirements/cpu-overrides.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "uv>=0.5"
	$(UV_ENV) $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python $(OVERRIDES) --editable ".[$(EXTRAS)]"
	touch "$@"

demo: setup ## pruning beside self-consistency, live, on this machine
	$(BIN)/deepprune demo

# Two processes: a system that starts up leaves half of two cores idle.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadgroup --durations 20
THOROUGH := --hypothesis-profile thorough

test: setup ## the pure method, and a live core: an answer, the demo, a sweep, the endpoint, deaths
	$(PYTEST) -m "core or not (live or faults)"

test-rest: setup ## what `make test` leaves out, and many more examples of each property
	$(PYTEST) $(THOROUGH) -m "hypothesis or ((live or faults) and not core)"

test-all: setup ## everything; tests/nodes needs root, and is skipped without
	$(PYTEST) $(THOROUGH)
	$(BIN)/pytest --durations 20 tests/nodes

test-unit: setup ## the pure method, in seconds
	$(BIN)/pytest tests/unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

miniature: setup ## rebuild the miniature models from nothing (about half an hour)
	$(BIN)/python -m miniature.build

bench: setup ## our generator path beside the bare engine; cancel lag
	$(BIN)/python -m benchmarks.generator_path

soak: setup ## ten minutes of mixed faults on several nodes, as root
	$(BIN)/python -m tests.support.nodes.soak --seconds 600

soak-short: setup ## one minute of them
	$(BIN)/pytest tests/nodes -k short_soak

clean:
	rm -rf .venv runs build *.egg-info
