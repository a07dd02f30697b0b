# Needs make, a POSIX shell and Python 3.10 or newer; everything else goes into .venv.
#
#   make demo     train a LoHa on the shipped pictures and show what it learned
#   make test     the tests, measuring which lines they run
#   make check    style, types, import layers, the wheel, a clone inside ComfyUI, licences and known
#                 holes of the pinned packages, the documents
#   make slow     the tests that take minutes, and those for a GPU where there is one
#   make hosts    the tests inside sd-scripts, ComfyUI and AUTOMATIC1111 (says what to set)
#   make bench    time and memory of a training step, beside the peers
#   make docs     the documents as a site, in build/docs; a dead link is an error
#   make docs-tables   the tables of options and inputs in the documents, written anew
#   make clean    remove .venv, builds and caches
#
# Another build of torch:  make demo TORCH='torch==2.13.0 --index-url URL-OF-THE-INDEX'
# Another version:         make demo TORCH=torch==2.9.1 CONSTRAINTS=/dev/null
# One host alone:          make hosts HOSTS=sd_scripts   (or comfyui, webui, forge)

PYTHON = python3
TORCH = torch==2.13.0
CONSTRAINTS = constraints.txt
VENV = .venv
HOSTS = sd_scripts comfyui webui

BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --constraint $(CONSTRAINTS)

.PHONY: help venv demo test check docs docs-tables slow hosts bench clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(VENV)/test.stamp

# torch comes first and alone: with it in place nothing below chooses another build.
$(VENV)/torch.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "Python 3.10 or newer is needed; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "python -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(INSTALL) setuptools
	$(INSTALL) $(TORCH)
	@touch $@

$(VENV)/train.stamp: $(VENV)/torch.stamp pyproject.toml constraints.txt
	$(INSTALL) --no-build-isolation --editable '.[train]'
	@touch $@

# With hashes, so that a file that was changed on its way is refused; not where the versions differ.
$(VENV)/test.stamp: $(VENV)/torch.stamp pyproject.toml constraints.txt hashes.txt
ifeq ($(CONSTRAINTS),constraints.txt)
	$(INSTALL) --no-deps --no-build-isolation --require-hashes --requirement hashes.txt
endif
	$(INSTALL) --no-build-isolation --editable '.[train,optim,test,docs]'
	@touch $@

demo: $(VENV)/train.stamp
	$(BIN)/lycoris-ext demo

test: $(VENV)/test.stamp
	$(BIN)/pytest --numprocesses auto --dist worksteal --cov --cov-report=

check: $(VENV)/test.stamp docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/packaging/check_syntax.py
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python tests/packaging/check_install.py
	$(BIN)/python -m tests.packaging.audit
	$(BIN)/python -m tests.hosts.receipts
	@$(BIN)/coverage report || echo "coverage: not measured yet, make test does"

docs: $(VENV)/test.stamp
	$(BIN)/mkdocs build --strict

docs-tables: $(VENV)/test.stamp
	$(BIN)/python -m tests.config.documents
	$(BIN)/python -m tests.comfy_nodes.documents

slow: $(VENV)/test.stamp
	@if nvidia-smi >/dev/null 2>&1; then which='(slow or gpu) and not hosts'; \
	 else which='slow and not gpu and not hosts'; fi; \
	 echo "$(BIN)/pytest -m \"$$which\""; $(BIN)/pytest -m "$$which"

hosts: $(VENV)/test.stamp
	$(BIN)/pytest -m hosts tests/hosts --host $(HOSTS)

bench: $(VENV)/test.stamp
	$(BIN)/python benchmarks/step_time.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
