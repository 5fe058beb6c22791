# A fresh clone needs no step before any of these. Each installs what it needs once, into .venv.
.PHONY: demo compare lab test notebooks slides badges lint bench
.DEFAULT_GOAL := demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Exact versions are for CI and Binder; everybody else gets the newest.
CONSTRAINTS := $(if $(CI),-c constraints.txt,)
NOTEBOOKS := $(wildcard lectures/*.ipynb labs/*.ipynb)
SEED ?= 0
OUT ?= out

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The course needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about 5 GB, a few minutes, once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[course,test]'
	@touch $@

# Phantom patients as NIfTI, a CycleGAN trained on them, synthetic CT of patients it never saw, a table and a figure.
demo: $(STAMP)
	$(BIN)/mrct phantom $(OUT)/cohort --cases 40 --seed $(SEED) --shape tier --force
	$(BIN)/mrct train $(OUT)/cohort --model cyclegan --seed $(SEED) --out $(OUT)
	$(BIN)/mrct synthesize $(OUT) $(OUT)/cohort --out $(OUT)/sct --force
	$(BIN)/mrct evaluate $(OUT)/cohort $(OUT)/sct --out $(OUT) --force
	@echo
	@echo "Look at $(OUT)/figure.png and $(OUT)/metrics.csv. To open the labs: make lab"

# Every method on one cohort of phantom patients with T2-weighted MR. Hours on a CPU; goes on where it stopped.
compare: $(STAMP)
	$(BIN)/mrct phantom $(OUT)/comparison/cohort --cases 40 --seed $(SEED) --shape tier --contrast t2w --force
	$(BIN)/mrct compare $(OUT)/comparison/cohort --out $(OUT)/comparison
	@echo "To show it in lab 8: cd $(OUT)/comparison && cp comparison.json figure.png progression.png ../../mrctlib/results/"

lab: $(STAMP)
	$(BIN)/jupyter lab labs/08_mr_to_ct_cyclegan.ipynb

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

test: lint
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest

# Execute every notebook as the cpu tier and store its outputs, normalised.
notebooks: $(STAMP)
	$(BIN)/python tools/notebooks.py $(NOTEBOOKS)

slides: $(STAMP)
	@mkdir -p $(OUT)/slides
	$(BIN)/jupyter nbconvert --to slides --output-dir $(OUT)/slides $(NOTEBOOKS)

# make badges REPO=owner/name: make every badge and link point at your fork.
badges: $(STAMP)
	$(BIN)/python tools/badges.py $(REPO)

bench: $(STAMP)
	$(BIN)/python benchmarks/segmentation.py
	$(BIN)/python benchmarks/translation_step.py
	$(BIN)/python benchmarks/translation_quality.py
