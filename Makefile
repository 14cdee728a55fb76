# make demo: set up, make a corpus and train Map-Mix on it.  make leaderboard: compare upstreams and variants on it.
# make test: set up and run the tests.
# Each can be repeated and then skips what is done.

PYTHON ?= python3
PIP_OPTIONS = --disable-pip-version-check --quiet
BIN = .venv/bin

.PHONY: setup demo leaderboard table test lint types imports docs matrix
.DELETE_ON_ERROR:

setup: .venv/complete

# Without the plain find-links of some machines a CPU-only torch would be taken; the constraints name versions
# that were tested together.
.venv/complete: setup.py constraints.txt
	@echo "setting up .venv: about 6 GB, a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_OPTIONS) -c constraints.txt --editable '.[bench,demo,test,lint]'
	touch $@

demo: setup
	$(BIN)/lid-mapmix prepare demo --out data/demo
	$(BIN)/python run_downstream.py -d lid_mapmix -u fbank --data data/demo \
	    -c downstream/lid_mapmix/config/demo.yaml -n demo -a

# The grid of bench/demo.yaml, with the corpus and the model that it needs: about 20 minutes on two cores. It can be
# stopped and repeated.
leaderboard: setup
	$(BIN)/lid-mapmix prepare demo --out data/demo
	$(BIN)/python bench/small_wav2vec2.py result/models/small_wav2vec2
	$(BIN)/lid-mapmix leaderboard bench/demo.yaml --jobs 2

# The registered experiment of docs/results.md: about 17 minutes on one core per regime and seed, 21 hours in all. It can be stopped and
# repeated: runs whose scores are in bench/demo_table.csv are not repeated.
table: setup
	$(BIN)/lid-mapmix prepare demo --out data/table --clusters english iberian slavic --utterances 320
	$(BIN)/python bench/table.py bench/demo_table.yaml --data data/table --out result/table --jobs 2 --write docs/results.md

test: setup
	$(BIN)/pytest -q -n auto --dist loadfile

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

# The site, in site/. Its generator is installed once; building takes no network, and a warning is an error.
docs: .venv/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs . site
	@echo "site/index.html"

.venv/docs: .venv/complete
	$(BIN)/pip install $(PIP_OPTIONS) -c constraints.txt --editable '.[docs]'
	touch $@

# The lowest, the pinned and the newest versions on each Python: hours, 5 GB at a time, not in CI. It needs uv.
matrix: setup
	$(BIN)/python bench/matrix.py
