# Everything on a machine that has Python 3.11, make and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo up test lint bench peers chaos clean

demo: $(VENV)/demo.installed
	$(BIN)/celery -A tasks up --demo

up: $(VENV)/demo.installed
	$(BIN)/celery -A tasks up

test: $(VENV)/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 --dist loadfile

lint: $(VENV)/test.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

bench: $(VENV)/test.installed
	$(BIN)/python -m bench

peers: $(VENV)/peers.installed
	$(BIN)/python -m bench.peers

# make chaos SIGNALS=10000 SEED=7 CHAOS="--policy hold --forgetting"; --help tells the rest.
chaos: $(VENV)/test.installed
	$(BIN)/python -m tests.chaos $(if $(SIGNALS),--signals $(SIGNALS)) $(if $(SEED),--seed $(SEED)) $(CHAOS)

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/peers.installed: $(VENV)/test.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[peers]'
	touch $@

$(VENV)/%.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(if $(filter demo,$*),demo,test,lint)]'
	touch $@
