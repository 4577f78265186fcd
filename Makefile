# make repro: the whole pipeline on the built-in sample.   make test: the whole test suite.
# The venv is made again only when pyproject.toml or constraints.txt changed.
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON ?= python3
export PATH := $(BIN):$(PATH)

# uv installs in a quarter of pip's time. It does not read pip.conf: where only that names a package index, pip installs.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL = $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --compile-bytecode $(1) || $(PIP) $(1)

.PHONY: repro test lint bench recipes pictures clean

repro: $(VENV)/.run
	vitrine check
	dvc repro
	vitrine headline

# One process more than the two cores of CI: some tests wait for servers, browsers and other processes.
test: $(VENV)/.test
	python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	ruff check .
	ruff format --check .
	mypy
	cd data/sample && mypy --strict shop

bench: $(VENV)/.bench
	python bench/evaluation.py
	python bench/large_fold.py
	python bench/search.py
	test ! -d data/work/train/0 || python bench/text_query.py
	test ! -d data/work/index || python bench/search_quality.py
	test ! -d data/work/index || python bench/serve.py
	python bench/comparison.py
	python bench/crowned.py
	python bench/formats.py
	python bench/loads.py
	python bench/shards.py
	python bench/frames.py
	python bench/extraction.py
	python bench/precisions.py
	python bench/frozen.py
	python bench/stored_epoch.py
	python bench/training.py
	python bench/distillation.py
	python bench/video_distillation.py
	python bench/pipeline.py
	test ! -f dvc.lock || python bench/noop.py
	OMP_NUM_THREADS=1 python bench/growth.py
	test ! -d ../shared/data/grocery || python bench/catalogue_and_shards.py --data ../shared/data/grocery --label label
	python bench/duplicates.py --data $(wildcard ../shared/data/grocery ../shared/data/freeex)

# Every recipe with tiny towers through DVC, and reports/recipes.md.
recipes: $(VENV)/.run
	vitrine recipe run-all

# The pictures of README.md and docs/, from the last run; needs Chromium.
pictures: $(VENV)/.test
	python docs/pictures.py

$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(PIP) --constraint constraints.txt uv
	$(call INSTALL,--constraint constraints.txt --editable .)
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(call INSTALL,--constraint constraints.txt --editable ".[test]")
	touch $@

# img2dataset asks for other versions than ours of what we share, and for another OpenCV than is measured with clips: two
# places of their own.
$(VENV)/.bench: $(VENV)/.test bench/peers.txt bench/clip_peers.txt
	$(call INSTALL,--constraint constraints.txt --editable ".[bench]")
	$(PYTHON) -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/peers.txt
	$(PYTHON) -m venv $(VENV)/clip-peers
	$(VENV)/clip-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/clip_peers.txt
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
