# Each target sets everything up by itself: python3 (3.11 or newer), make and a package index are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# `make test` leaves out tests that take long (tests/helpers/balance.py); pytest -n starts two processes, which take
# one file after another from the list that tests/conftest.py has put in order, the longest first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Where this is set, each process compiles torch, Ray and MLflow anew: 10 of 15 seconds of CPU.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart test test-slow test-release test-all check format bench gpu faults faults-in-code soak audit results docs notebook clean setup

quickstart: $(READY)
	$(BIN)/raycl run studies/quickstart.py

test: $(READY)
	$(PYTEST)

# What takes longer, or starts clusters, servers and drivers of its own.
test-slow: $(READY)
	$(PYTEST) -m "slow and not release"

# What CI leaves out as well: fresh environments, images, runs of many minutes.
test-release: $(READY)
	$(BIN)/python -m pytest -m release

test-all: test-release test-slow test

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_layers.py

# How fast raycl is on this machine; one benchmark alone: make bench NAME=scale.
bench: $(READY)
	$(BIN)/python -m bench $(NAME)

# The GPU tests and all figures that need a GPU, on one page, gpu.md; under eight minutes.
gpu: $(READY)
	$(BIN)/python -m bench.gpu --out gpu.md

# Every fault of docs/faults.md, on a cluster in network namespaces; needs root, iproute2 and PostgreSQL.
faults: $(READY)
	$(BIN)/python -m tests.cluster.faults --out docs/faults.md

# Forty wrong lines in a copy of the package, one at a time: which of them the quick tests notice.
faults-in-code: $(READY)
	$(BIN)/python -m tests.faults_in_code

# A driver killed at 200 random moments, and started again; and at 60 of a study whose search prunes trials.
soak: $(READY)
	$(BIN)/python -m tests.soak --kills 200
	$(BIN)/python -m tests.soak --kills 60 --prune

# The pages of docs/results; executes what is missing of the papers' small studies, which takes hours.
STORE ?= results
results: $(READY)
	$(BIN)/python -m studies.results --run --store $(STORE) $(PAPERS)

# The documentation, in site/; needs no network once .venv is there. Warnings are errors. The variable silences
# a notice about the successor of the theme, which is not a warning about the pages.
docs: $(VENV)/.docs
	$(BIN)/python -m sitepages.site build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --config-file build/mkdocs.yml
	$(BIN)/python -m sitepages.site --check site

# Executes docs/notebook.ipynb and writes its outputs into it.
notebook: $(READY)
	$(BIN)/python -m sitepages.notebook docs/notebook.ipynb

# Known vulnerabilities of what an image holds; needs the advisories of the package index. Strict: what could not
# be looked up is not taken for sound.
audit: $(READY)
	$(BIN)/uv tool run pip-audit --strict --no-deps --disable-pip -r docker/constraints.txt

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"raycl needs Python 3.11 or newer, and {sys.executable} is {v[0]}.{v[1]}; name another one: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (about 6 GB with torch; seconds where the packages are cached)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[tune,dev]'
	@touch $(READY)

$(VENV)/.docs: $(READY)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
