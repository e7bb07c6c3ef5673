# One door to everything: `make` lists it. Needs git, make and python3 (3.11 or newer).

PY ?= python3
PORT ?= 5000
BIN := $(CURDIR)/.venv/bin
RUN := PATH="$(BIN):$$PATH"
REPORT := analysis/report.html

# The documented scale is an overlay over params.yaml: the same pipeline with other values.
FULL_EXPERIMENTS := ultra_10k_500M, ultra_10k_1B, high_100k_500M, high_100k_1B, \
  medium_1M_500M, medium_1M_1B, ultra_5k_500M, low_100k_500M, \
  matched_10k_500M, matched_100k_500M, random_10k_500M, random_100k_500M, longest_10k_500M

.DEFAULT_GOAL := help
.PHONY: help .venv demo full ui test test-all check format dvc licences clean \
  bench-score bench-dedup bench-data bench-decontaminate bench-extract bench-language \
  bench-graders bench-classifier bench-semantic bench-train bench-generate bench-reliability \
  bench-crashes bench-params bench-truth

help:  ## list what can be done here
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "make %-19s %s\n", $$1, $$2}' Makefile

.venv: .venv/project .dvc/tmp/site  ## set up the environment, at the versions of requirements.lock

.venv/lock: requirements.lock requirements-cuda.lock docker/install-lock
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "too old: make PY=python3.12")'
	@echo "Setting up .venv with $$($(PY) --version): once, for some minutes"
	@$(PY) -m venv --clear .venv
	@sh docker/install-lock .venv --no-compile
	@$(BIN)/python -m compileall -q -j 0 -x '/(tests?|_internal)/' .venv/lib
	@touch $@

.venv/project: .venv/lock pyproject.toml
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Of DVC's own, and for this user alone: it holds pickles, and DVC's default is in /var/tmp.
.dvc/tmp/site: | .venv/project
	@$(BIN)/dvc config -q --local core.site_cache_dir "$(CURDIR)/$@"
	@mkdir -p -m 700 $@

demo: .venv  ## answer the question on the sample: run what changed, then print it
	@$(RUN) dvc repro
	@$(BIN)/python -c 'import json; print("\n" + json.load(open("metrics.json"))["answer"])'
	@echo "Report: $(CURDIR)/$(REPORT)"

full: .venv  ## the documented scale, on GPUs: make full SOURCE=<corpus> [REVISION=<commit>]
	@test -n "$(SOURCE)" || { echo "which corpus? make full SOURCE=<file, folder or hub id>"; exit 2; }
	@$(RUN) dvc exp run -S 'ingest.source="$(SOURCE)"' \
	  $(if $(REVISION),-S 'ingest.revision="$(REVISION)"') \
	  -S 'experiments=[$(FULL_EXPERIMENTS)]' -S curate.tokenizer=gpt2 -S train.init=scratch -S train.max_hours=48 \
	  -S evaluate.tasks=null -S analyze.truth=null \
	  -S 'ingest.keep=[]' -S 'score.scorers=[{name: documented}]'

ui: .venv  ## look at the runs in MLflow, on this machine only: make ui [PORT=5000]
	@echo "http://127.0.0.1:$(PORT)   (Ctrl-C ends it)"
	@MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false exec $(BIN)/mlflow server \
	  --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" --host 127.0.0.1 --port $(PORT) --workers 1

# Several files of tests at a time, one a core; those with slow tests begin.
PYTEST := pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: .venv  ## run the tests that take seconds: make test [ARGS="tests/score -x"]
	@$(RUN) $(PYTEST) -m "not slow" $(ARGS)

test-all: .venv  ## run all tests, half an hour and more: make test-all [ARGS=tests/faults]
	@$(RUN) $(PYTEST) --durations 25 $(ARGS)

check: .venv  ## look for faults without running anything: style, types, workflows, images
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --offline .github
	@$(BIN)/hadolint docker/Dockerfile docker/mlflow.Dockerfile

format: .venv  ## put the code into its style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-score: .venv  ## measure the scorer beside the plain formulas: make bench-score WINNOW_DATA=<folder>
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.score $(ARGS)

bench-dedup: .venv  ## measure near duplicates beside other tools: [ARGS="20000 100000"]
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.dedup $(ARGS)

bench-data: .venv  ## measure the data half on a million rows, and how it grows
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.data --figure docs/growth.png $(ARGS)

bench-decontaminate: .venv  ## measure which real rows hold benchmarks' items
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.decontaminate $(ARGS)

bench-extract: .venv  ## measure extractors of pages' texts beside each other
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.extract $(ARGS)

bench-language: .venv  ## measure detectors of languages beside each other
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.language $(ARGS)

bench-semantic: .venv  ## measure what the semantic step drops of real rows: [ARGS="--pairs 30"]
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.semantic $(ARGS)

bench-graders: .venv  ## measure whether the score or a linear model agrees with graders, and beats length
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.graders $(ARGS)

bench-classifier: .venv  ## measure what a classifier of FineWeb-Edu's size costs
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.classifier $(ARGS)

bench-train: .venv  ## measure the training loop beside a plain Trainer: [ARGS="--trials"]
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.train $(ARGS)

bench-generate: .venv  ## measure sampling beside the plain loop of model.generate
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.generate $(ARGS)

bench-reliability: .venv  ## kill, fill and feed the data half, beside datasets and datatrove
	@WINNOW_DATA="$(WINNOW_DATA)" $(BIN)/python -m benchmarks.reliability $(ARGS)

bench-crashes: .venv  ## kill a training at all of its points: [ARGS="--points 40 --moments 10"]
	@$(BIN)/python -m benchmarks.crashes $(ARGS)

bench-params: .venv  ## try 2,000 random wrong params.yaml: [ARGS="--number 400"]
	@$(BIN)/python -m benchmarks.params $(ARGS)

bench-truth: .venv  ## hold the answers against corpora whose best share is known, an hour: [ARGS="--seeds 12"]
	@$(BIN)/python -m benchmarks.truth $(ARGS)

dvc: .venv  ## write what each stage depends on into dvc.yaml, as its imports say
	@$(BIN)/python -m winnow.core.sources dvc.yaml

licences: .venv  ## write docs/licences.md: what the locked packages' metadata say
	@$(BIN)/python docs/licences.py >docs/licences.md

clean:  ## remove caches; data, results, models and the record of runs stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src corpora tests -name __pycache__ -prune -exec rm -rf {} +
