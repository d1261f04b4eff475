# Everything that a person types. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
UV_VERSION := 0.13.9
TORCH_VERSION := 2.13.0
UV := .uv/bin/uv
RUN := .venv/bin/
BLUEPRINT ?= credit-risk

export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export PATH := $(CURDIR)/.uv/bin:$(PATH)

.PHONY: help install demo test lint format types check components component compile validate lock lock-upgrade alibi services services-down finetuning clean distclean

help:  ## List every target
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed  ## Make the environment (.venv) from the lock, with a uv of its own

demo: install  ## Train, register, deploy and explain on this machine (BLUEPRINT=sentiment, KEEP=1 leaves the cluster running, PORT=8080)
	@$(RUN)blueprints demo $(BLUEPRINT) $(if $(filter-out 0,$(KEEP)),--keep) $(if $(PORT),--port $(PORT))

test: install alibi  ## Run the whole test suite (tests of fine-tuning want make finetuning first)
	@$(RUN)pytest -n logical --maxprocesses 4 --dist loadfile -m "not alone" && result=0 || result=$$?; \
	$(RUN)pytest -m alone && exit $$result

lint: install  ## Check style
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .

format: install  ## Format the code
	@$(RUN)ruff check --fix .
	@$(RUN)ruff format .

types: install  ## Check types
	@$(RUN)mypy

check: lint types components compile validate  ## Everything that needs no test run

validate: install  ## Check every overlay: schemas, KServe's rules, policies (CRDS=folder with CustomResourceDefinitions)
	@$(RUN)blueprints validate $(if $(CRDS),--crds $(CRDS))

components: install  ## Check that components are complete and their READMEs true
	@$(RUN)python -m components.authoring check

component: install  ## Start a new component: make component CATEGORY=data NAME=my_component
	@$(RUN)python -m components.authoring new $(CATEGORY) $(NAME)

compile: install  ## Compile every pipeline to YAML in build/pipelines
	@$(RUN)blueprints compile --output build/pipelines

alibi: .venv-alibi/.installed  ## Make the environment of the anchor explainer (.venv-alibi)

services: install  ## Start PostgreSQL and Redis (Debian's packages) on loopback, for warehouse and feature store
	@$(RUN)python -m localcluster.services up

services-down: install  ## Stop them
	@$(RUN)python -m localcluster.services down

finetuning: .venv-finetuning/.installed  ## Make the environment of fine-tuning, with torch (.venv-finetuning)

lock: $(UV)  ## Write locks/*.txt from pyproject.toml, keeping versions that still fit
	@$(UV) pip compile $(LOCK_FLAGS) --extra data --extra training --extra feature-store --extra pipelines --extra serving --extra text-serving --extra cluster --extra dev -o locks/dev.txt
	@$(UV) pip compile $(LOCK_FLAGS) --extra serving -c locks/dev.txt -o locks/serving.txt
	@$(UV) pip compile $(LOCK_FLAGS) --extra data --extra training --extra feature-store --extra pipelines -c locks/dev.txt -o locks/jobs.txt
	@$(UV) pip compile $(LOCK_FLAGS) --extra pipelines --extra finetuning -c locks/dev.txt -o locks/finetuning.txt
	@$(UV) pip compile $(LOCK_OPTIONS) locks/text-serving.in --override locks/text-serving-overrides.in -c locks/dev.txt -o locks/text-serving.txt
	@$(UV) pip compile $(LOCK_OPTIONS) locks/segmentation.in --override locks/text-serving-overrides.in --override locks/segmentation-overrides.in -c locks/dev.txt -o locks/segmentation.txt
	@$(UV) pip compile $(LOCK_OPTIONS) locks/edge.in --override locks/text-serving-overrides.in --override locks/edge-overrides.in -c locks/dev.txt -o locks/edge.txt
	@$(UV) pip compile $(LOCK_OPTIONS) locks/alibi.in --override locks/alibi-overrides.in -o locks/alibi.txt

lock-upgrade:  ## Write the locks with the newest versions that fit
	@$(MAKE) lock LOCK_UPGRADE=--upgrade

clean:  ## Stop the laptop cluster and delete what runs made: data, models, registry, decisions
	@[ ! -x .venv/bin/blueprints ] || $(RUN)blueprints cluster down
	rm -rf .blueprints build

distclean: clean  ## Delete the environments too
	rm -rf .venv .venv-alibi .venv-finetuning .uv

LOCK_OPTIONS = -q --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	--python-version 3.11 $(LOCK_UPGRADE)
LOCK_FLAGS = $(LOCK_OPTIONS) pyproject.toml

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	  || { echo "Python 3.11 or 3.12 is needed: install it, or name one with PYTHON=/path/to/python"; exit 1; }
	@echo "Getting uv $(UV_VERSION)"
	@rm -rf .uv && $(PYTHON) -m venv .uv || { echo "Cannot make a virtual environment: on Debian, apt-get install python3.11-venv"; rm -rf .uv; exit 1; }
	@.uv/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION) || { rm -rf .uv; exit 1; }

# The stamp is written last, so an interrupted installation starts again.
.venv/.installed: locks/dev.txt pyproject.toml | $(UV)
	@echo "Installing the environment from locks/dev.txt (about 1.4 GB on a first run)"
	@[ -x .venv/bin/python ] || $(UV) venv -q --python $(PYTHON) .venv
	@$(UV) pip sync -q --compile-bytecode --require-hashes locks/dev.txt
	@$(UV) pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# The stamp is a copy of the lock; tests that need this environment compare the two.
.venv-alibi/.installed: locks/alibi.txt | $(UV)
	@echo "Installing the environment of the anchor explainer from locks/alibi.txt"
	@[ -x .venv-alibi/bin/python ] || $(UV) venv -q --python $(PYTHON) .venv-alibi
	@$(UV) pip sync -q --compile-bytecode --python .venv-alibi/bin/python --require-hashes locks/alibi.txt
	@cp locks/alibi.txt $@

# Torch comes by pip, which takes the wheel without CUDA where one is offered, and is in no lock. The project is put on
# the path by a file that names it. The stamp is a copy of the lock, as above.
.venv-finetuning/.installed: locks/finetuning.txt | $(UV)
	@echo "Installing the environment of fine-tuning from locks/finetuning.txt, and torch $(TORCH_VERSION)"
	@[ -x .venv-finetuning/bin/python ] || $(UV) venv -q --python $(PYTHON) .venv-finetuning
	@$(UV) pip install -q --compile-bytecode --python .venv-finetuning/bin/python --require-hashes -r locks/finetuning.txt
	@.venv-finetuning/bin/python -m pip install -q --disable-pip-version-check torch==$(TORCH_VERSION)
	@echo "$(CURDIR)" > "$$(.venv-finetuning/bin/python -c 'import site; print(site.getsitepackages()[0])')/blueprints.pth"
	@cp locks/finetuning.txt $@
