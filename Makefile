# `make` alone lists the targets. Everything but the first creation of .venv works without a network.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard data_prep rl multimodal recipes tests)
BENCH ?= $(basename $(notdir $(filter-out %/__init__.py,$(filter-out %/common.py %/test_smoke.py,$(wildcard tests/bench/[a-z]*.py)))))

# Tests, benchmarks and the quickstart use only what is in the repository: never ask the Hub.
OFFLINE := HF_HUB_OFFLINE=1
# Every test worker (and every process that it launches) computes on one core; more would only compete.
PYTEST := $(OFFLINE) OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help quickstart study-difficulty study-search study-ppm study-rl study-geometry test test-all lint format bench clean

help:  ## list the targets
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

.venv: $(VENV)/installed  ## create or update the virtual environment (the other targets do it themselves)

SETTING ?= decide
study-difficulty: $(VENV)/installed  ## how many samples, how hard: the study of the small world (SETTING=smoke: minutes)
	$(OFFLINE) $(BIN)/python -m data_prep.small_world.study --output_dir outputs/study
	$(OFFLINE) $(BIN)/python recipes/ablate.py \
		--config recipes/configs/tiny/ablate_difficulty$(if $(filter smoke,$(SETTING)),_smoke).yaml

study-search: $(VENV)/installed  ## does search find more than samples of as many tokens? (SETTING=smoke: minutes)
	$(OFFLINE) $(BIN)/python -m data_prep.small_world.search_study --setting $(SETTING) \
		$(if $(filter decide,$(SETTING)),--report_dir reports/search) \
		$(if $(filter headroom,$(SETTING)),--report_dir reports/search_headroom)

study-ppm: $(VENV)/installed  ## what does a process preference model bring, at what cost? (SETTING=smoke: minutes)
	$(OFFLINE) $(BIN)/python -m rl.ppm.study --setting $(SETTING) $(if $(filter decide,$(SETTING)),--report_dir reports/ppm)

study-rl: $(VENV)/installed  ## ways of paying rollouts: which help, which are exploited? (SETTING=smoke: minutes)
	$(OFFLINE) $(BIN)/python -m rl.study --setting $(SETTING) $(if $(filter decide,$(SETTING)),--report_dir reports/rl)

study-geometry: $(VENV)/installed  ## Long-CoT for figures, and are they looked at? (SETTING=smoke: minutes)
	$(OFFLINE) $(BIN)/python -m multimodal.study --setting $(SETTING) \
		$(if $(filter decide,$(SETTING)),--report_dir reports/geometry)

quickstart: $(VENV)/installed  ## from problems to a reasoner on the small world, on a CPU
	$(OFFLINE) $(BIN)/python recipes/quickstart.py

test: $(VENV)/installed  ## the default tests (CPU, under 20 minutes on 2 cores)
	$(PYTEST) -m "not slow and not gpu and not vllm and not real_data and not real_model"

test-all: $(VENV)/installed  ## all tests; those that lack a GPU, data or a model skip themselves and say so
	$(PYTEST)

lint: $(VENV)/installed  ## ruff and mypy, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)

format: $(VENV)/installed  ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed  ## all benchmarks, or one: make bench BENCH=sft
	@for name in $(BENCH); do echo "== tests.bench.$$name"; $(OFFLINE) $(BIN)/python -m tests.bench.$$name || exit 1; done

clean:  ## remove caches and build products (outputs/ and .venv stay)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
