# Start with `make demo` and `make test`. Both run the set-up first.
PYTHON ?= python3
EXTRAS ?= cpu,train,dev
GPU := $(findstring gpu,$(EXTRAS))

BIN := .venv/bin
# Pass pip's find-links on to uv, which does not read pip's configuration.
FIND_LINKS := $(shell $(PYTHON) -m pip config list 2>/dev/null | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)
# On GPUs take PyPI's torch: vLLM's wheel is built for its CUDA. On CPUs take the CPU build.
UV_ENV := $(if $(FIND_LINKS),UV_FIND_LINKS="$(FIND_LINKS)",$(if $(GPU),,UV_TORCH_BACKEND=cpu))
OVERRIDES := $(if $(GPU),,--override requirements/cpu-overrides.txt)

.PHONY: demo test test-rest test-all test-unit lint format setup miniature bench soak-short soak clean

setup: .venv/.ready-$(EXTRAS)

# Compile bytecode once: where Python does not write bytecode, each process that imports vLLM spends
# half of its start on compiling.
.venv/.ready-$(EXTRAS): pyproject.toml requirements/cpu-overrides.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "uv>=0.5"
	$(UV_ENV) $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python $(OVERRIDES) --editable ".[$(EXTRAS)]"
	$(if $(GPU),$(BIN)/python -m actors.import_check)
	touch "$@"

demo: setup ## compare pruning with self-consistency, live, on this machine
	$(BIN)/deepprune demo

# Two processes: a starting system leaves half of two cores idle.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadgroup --durations 20
THOROUGH := --hypothesis-profile thorough

test: setup ## unit tests, and a live core: an answer, the demo, a sweep, the endpoint, kills
	$(PYTEST) -m "core or not (live or faults)"

test-rest: setup ## all tests outside `make test`, and more examples of each property
	$(PYTEST) $(THOROUGH) -m "hypothesis or ((live or faults) and not core)"

test-all: setup ## all tests; tests/nodes needs root and is skipped without
	$(PYTEST) $(THOROUGH)
	$(BIN)/pytest --durations 20 tests/nodes

test-unit: setup ## unit tests only
	$(BIN)/pytest tests/unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

miniature: setup ## rebuild the miniature models from scratch (about half an hour)
	$(BIN)/python -m miniature.build

bench: setup ## throughput against the bare engine; cancel lag
	$(BIN)/python -m benchmarks.generator_path

soak: setup ## inject mixed faults on several nodes for ten minutes, as root
	$(BIN)/python -m tests.support.nodes.soak --seconds 600

soak-short: setup ## inject faults for one minute
	$(BIN)/pytest tests/nodes -k short_soak

clean:
	rm -rf .venv runs build *.egg-info
