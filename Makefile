PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.installed
RUNS ?= runs

.PHONY: demo test test-deep lint unit browser readme bench format clean

demo: $(SETUP)  ## Install, then run the offline A/B test of the delivery market.
	$(BIN)/marketplace compare scenarios/delivery.toml --runs $(RUNS)

test: lint unit readme  ## Everything that a change must pass.

test-deep: $(SETUP) browser  ## Longer runs of the same laws.
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest -n 2 --dist loadfile -m "deep or not deep"

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: $(SETUP) browser
	$(BIN)/pytest -n 2 --dist loadfile -m "not deep" --ignore tests/test_readme.py

browser:  ## Chromium, for the tests that look at the dashboard; without it they are skipped and say so.
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| (apt-get update -q && apt-get install -y -q chromium) || echo "No Chromium, and it could not be installed: its tests are skipped"

readme: $(SETUP)  ## The README's own commands, on a small market.
	$(BIN)/pytest tests/test_readme.py

bench: $(SETUP)
	$(BIN)/python benchmarks/auction.py
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/world.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/queueing.py
	$(BIN)/python benchmarks/fitting.py

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0]) if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	@# LightGBM needs the OpenMP runtime, which slim images lack
	@ldconfig -p 2>/dev/null | grep -q libgomp.so.1 || test "$$(uname -s)" != Linux || (apt-get update -q && apt-get install -y -q libgomp1)
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
