# Each target sets everything up by itself: python3 (3.11 or newer), make and a package index are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: quickstart test test-all check format bench gpu faults soak audit clean setup

quickstart: $(READY)
	$(BIN)/raycl run studies/quickstart.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)
	$(BIN)/python -m pytest -m "slow or not slow"

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

# A driver killed at 200 random moments, and started again.
soak: $(READY)
	$(BIN)/python -m tests.soak --kills 200

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

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
