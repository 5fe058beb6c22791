# A fresh clone needs no step before any of these. Each installs what it needs once, into .venv.
.PHONY: demo compare lab test test-browser test-colab notebooks models slides site site-views badges lint bench gpu
.DEFAULT_GOAL := demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Exact versions are for CI and Binder; everybody else gets the newest.
CONSTRAINTS := $(if $(CI),-c constraints.txt,)
# Playwright drives the Chromium that is there; it brings none.
CHROMIUM := $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))
BROWSER := $(VENV)/installed-browser
NOTEBOOKS := $(wildcard lectures/*.ipynb labs/*.ipynb)
SEED ?= 0
OUT ?= out

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The course needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about 5 GB, a few minutes, once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[course,test,site,slides]'
	@touch $@

$(BROWSER): $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[browser]'
	@touch $@

# Phantom patients as NIfTI, a CycleGAN trained on them, synthetic CT of patients it never saw, a table and a figure.
demo: $(STAMP)
	$(BIN)/mrct phantom $(OUT)/cohort --cases 40 --seed $(SEED) --shape tier --force
	$(BIN)/mrct train $(OUT)/cohort --model cyclegan --seed $(SEED) --out $(OUT)
	$(BIN)/mrct synthesize $(OUT) $(OUT)/cohort --out $(OUT)/sct --force
	$(BIN)/mrct evaluate $(OUT)/cohort $(OUT)/sct --out $(OUT) --force
	@echo
	@echo "Look at $(OUT)/figure.png and $(OUT)/metrics.csv. To open the labs: make lab"

# Every method on one cohort of phantom patients, after its learning rates were tuned there. An hour or two on a CPU; goes
# on where it stopped.
compare: $(STAMP)
	$(BIN)/mrct phantom $(OUT)/comparison/cohort --cases 40 --seed $(SEED) --shape tier --force
	$(BIN)/python benchmarks/comparison_rates.py $(OUT)/comparison/cohort --out $(OUT)/comparison/rates
	$(BIN)/mrct compare $(OUT)/comparison/cohort --out $(OUT)/comparison
	@echo "To show it in lab 8: cp $(addprefix $(OUT)/comparison/,comparison.json figure.png parts.png progression.png) mrctlib/course/results/"

lab: $(STAMP)
	$(BIN)/jupyter lab labs/08_mr_to_ct_cyclegan.ipynb

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Two tests at a time with a thread each take little more than half as long as one with two threads. With a Chromium on
# the PATH, a student's hour at a real JupyterLab is among the tests.
test: lint $(if $(CHROMIUM),$(BROWSER))
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# The same hour, and every notebook from top to bottom in the browser. About 45 minutes; pictures in out/browser.
test-browser: $(BROWSER)
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -v -rs --durations=20 -o 'python_files=test_*.py every_notebook.py' tests/browser

# Every notebook with the package versions that Colab has, set up by its own first cell. Another 5 GB, and half an hour.
COLAB := $(VENV)/colab
test-colab:
	@test -x $(COLAB)/bin/python || $(PYTHON) -m venv $(COLAB)
	@$(COLAB)/bin/pip install --quiet --disable-pip-version-check -r tests/colab.txt nbval pytest pytest-timeout
	$(COLAB)/bin/python tools/colab.py
	OMP_NUM_THREADS=2 $(COLAB)/bin/python -m pytest -rs tests/test_notebooks.py

# Execute every notebook as the cpu tier and store its outputs, normalised.
notebooks: $(STAMP)
	$(BIN)/python tools/notebooks.py $(NOTEBOOKS)

# Train the shipped models anew, all or MODEL=NAME, and put them on the shelf. Hours on a CPU; goes on where it stopped.
# Digits want MNIST: see MRCT_DATA in TEACHING.md.
models: $(STAMP)
	$(BIN)/python -m mrctlib.course.models $(MODEL) --out $(OUT)/models

# A deck for each lecture, from its stored outputs: one file, no network. Press S for the notes and the time.
slides: $(STAMP)
	$(BIN)/python tools/slides.py $(OUT)/slides $(wildcard lectures/*.ipynb)

# All notebooks as static pages, from their stored outputs: no network, no training. Open them from the folder.
site: $(STAMP)
	$(BIN)/python -m sphinx -M html site $(OUT)/site -q
	@echo "Open $(OUT)/site/html/index.html"

# Draw what the views of the site show anew, with the library as it is. About half an hour on one core.
site-views: $(STAMP)
	$(BIN)/python tools/site_views.py

# make badges REPO=owner/name: make every badge and link point at your fork.
badges: $(STAMP)
	$(BIN)/python tools/badges.py $(REPO)

# What a GPU makes of it, in at most 8 minutes, into mrctlib/course/results/gpu/NAME-OF-CARD.json; lab 8 shows it.
gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu.py

bench: $(STAMP)
	$(BIN)/python benchmarks/memory_of_training.py
	$(BIN)/python benchmarks/segmentation.py
	$(BIN)/python benchmarks/translation_step.py
	$(BIN)/python benchmarks/translation_quality.py
