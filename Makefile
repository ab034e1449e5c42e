# `make demo` and `make test` work on a fresh clone: each first builds .venv and installs what it needs there.

# The first of these that runs, is new enough and can build a virtual environment, anywhere on the PATH: a
# version manager's stand-in may be there and fail. `make PYTHON=/path/to/python` names one instead.
NAMES := python3.14 python3.13 python3.12 python3 python
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))
PYTHON = $(shell IFS=:; for name in $(NAMES); do for dir in $$PATH; do \
	"$$dir/$$name" -c '$(USABLE)' >/dev/null 2>&1 && { echo "$$dir/$$name"; exit; }; done; done)

PIP := .venv/bin/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
# Two installations at once into one environment would break it.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-cluster test-gpu test-oldest test-wheel lint docs bench bench-gpu clean

help:
	@echo 'make demo    invert the bundled AIA sample; the picture and the DEM cube go to demo-output/'
	@echo 'make test    check style and types and run the tests; PYTEST_ARGS="-k NAME" passes options to pytest'
	@echo 'make test-gpu, make bench-gpu   test and measure the GPU engine, where CuPy and a GPU are'
	@echo 'make test-cluster   test batches on a SLURM that is started on this machine; root, Debian: slurm-wlm, munge'
	@echo 'make test-oldest   run a part of the tests on the oldest versions that pyproject.toml admits'
	@echo 'make test-wheel    build a wheel and run the demo from what is in it'
	@echo 'make lint    check style and types only'
	@echo 'make docs    build the documentation in docs/_build/html (without network)'
	@echo 'make bench   measure the speed of the inversion, next to its peers, for the performance page; minutes on a quiet'
	@echo '             machine; BENCH_ARGS="--baseline DIR" passes options to python -m benchmarks'
	@echo 'make clean   remove what these commands made, but for .venv'
	@echo 'Each builds .venv first where it is missing or out of date; PYTHON=... chooses its Python (>= 3.12).'

demo: .venv/.installed
	.venv/bin/sunpy-demreg demo --output demo-output --overwrite

test: lint
	.venv/bin/python -m pytest --mpl --numprocesses auto --maxprocesses 4 $(PYTEST_ARGS)

# CuPy must be there: .venv/bin/python -m pip install ".[cuda12]", or ".[cuda13]".
test-gpu: .venv/.installed-tests
	.venv/bin/python -m pytest -m gpu $(PYTEST_ARGS)

# dask-jobqueue is no dependency; its workers are tested too.
test-cluster: .venv/.installed-tests
	@$(PIP) install 'dask-jobqueue>=0.9' || echo 'dask-jobqueue could not be installed: it is not tested'
	.venv/bin/python -m pytest -m cluster -rs $(PYTEST_ARGS)

# The environment is described in setup.cfg.
test-oldest: .venv/.installed
	@$(PIP) install 'tox>=4.24' 'tox-uv>=1.25'
	.venv/bin/python -m tox run -e oldest

# Beside the packages of .venv, and from another folder, so that nothing of the checkout can be found.
test-wheel: .venv/.installed
	@rm -rf build/wheel build/bdist* build/lib
	$(PIP) wheel --no-deps --wheel-dir build/wheel .
	$(PIP) install --no-deps --target build/wheel/installed build/wheel/*.whl
	cd build/wheel && PYTHONPATH=$(CURDIR)/build/wheel/installed $(CURDIR)/.venv/bin/python -P -c \
		'import sunpy_demreg; assert "build/wheel/installed" in sunpy_demreg.__file__, sunpy_demreg.__file__'
	cd build/wheel && PYTHONPATH=$(CURDIR)/build/wheel/installed $(CURDIR)/.venv/bin/python -P -m sunpy_demreg demo --output demo

lint: .venv/.installed-tests
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

docs: .venv/.installed-docs
	@rm -rf docs/_build docs/api docs/gallery docs/tutorial
	.venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	@echo 'The documentation is in docs/_build/html/index.html'

bench: .venv/.installed-bench
	.venv/bin/python -m benchmarks --output benchmarks/results $(BENCH_ARGS)

bench-gpu: .venv/.installed-tests
	.venv/bin/python benchmarks/gpu.py

clean:
	rm -rf build dist .tox bench-output demo-output docs/_build docs/api docs/gallery docs/tutorial docs/sg_execution_times.rst htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find sunpy_demreg tests benchmarks tools examples tutorial docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# An environment knows where it was built and with which Python: after a move, or without that Python, it is
# built again. One that was made by hand and works is taken as it is.
ifneq ($(shell .venv/bin/python -c '$(USABLE)' 2>/dev/null && cat .venv/.created 2>/dev/null),$(CURDIR))
.PHONY: .venv/.created
endif

.venv/.created:
	@if [ -e $@ ] || ! .venv/bin/python -c '$(USABLE)' 2>/dev/null; then \
		python='$(PYTHON)'; \
		if ! "$${python:-false}" -c '$(USABLE)' 2>/dev/null; then \
			echo "No usable Python$${python:+ in $$python}: install Python 3.12 or later, with its venv module," \
				"or name one: make PYTHON=/path/to/python" >&2; exit 1; fi; \
		echo "Building .venv with $$python ($$("$$python" --version))"; \
		"$$python" -m venv --clear .venv; \
	fi
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip
	@echo '$(CURDIR)' > $@

# What is installed, one stamp per extra; editable, so only a change of pyproject.toml calls for it again.
.venv/.installed: .venv/.created pyproject.toml
	@echo 'Installing sunpy-demreg into .venv (a minute or two the first time)'
	@$(PIP) install --editable .
	@touch $@

.venv/.installed-%: .venv/.created pyproject.toml
	@echo 'Installing sunpy-demreg[$*] into .venv (a minute or two the first time)'
	@$(PIP) install --editable '.[$*]'
	@touch .venv/.installed $@
