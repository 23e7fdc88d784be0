# make run    sets everything up, then opens napari with a sample image and the SegLoop dock
# make test   sets everything up, then runs every check that CI runs
#
# Both are complete on a fresh Debian or Ubuntu machine with Python 3.11 or later; a second call installs nothing again.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUTPUT ?= demo-output
# two tests at a time; PYTEST_ARGS="tests/io -x" for some of them, one after the other
PYTEST_ARGS ?= --numprocesses 2 --dist worksteal

# what Qt needs for a window, a virtual screen for tests, software OpenGL, and a font to write with
DEBIAN := xvfb xauth fontconfig fonts-dejavu-core libgl1 libgl1-mesa-dri libegl1 libopengl0 libglib2.0-0 libdbus-1-3 \
	libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 \
	libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1

SCREEN = xvfb-run --auto-servernum --server-args="-screen 0 1600x1200x24"

.PHONY: help run test lint system clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: system $(VENV)/.run
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then \
		$(BIN)/python examples/open_sample.py; \
	else \
		echo "No screen here: running the same loop headless, into $(OUTPUT)"; \
		$(BIN)/segloop demo --output $(OUTPUT) || exit 1; \
		command -v xvfb-run >/dev/null || exit 0; \
		$(SCREEN) $(BIN)/python examples/open_sample.py --screenshot $(OUTPUT)/window.png || exit 1; \
		echo "Screenshot of the window: $(OUTPUT)/window.png"; \
	fi

test: system lint
	@if command -v xvfb-run >/dev/null; then \
		$(SCREEN) $(BIN)/python -m pytest $(PYTEST_ARGS); \
	else \
		$(BIN)/python -m pytest $(PYTEST_ARGS); \
	fi

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate --imports napari-segloop

$(BIN)/python: | system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "SegLoop needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[all]"
	@touch $@

# the tests' environment holds all that running needs
$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/.run

# Debian's packages: installed by root, asked for otherwise. Other systems bring their own.
system:
	@command -v dpkg-query >/dev/null || exit 0; \
	wanted="$(DEBIAN)"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || wanted="$$wanted python3 python3-venv"; \
	missing=$$(for package in $$wanted; do \
		dpkg-query --show --showformat='$${Status}\n' $$package $${package}t64 2>/dev/null \
			| grep -q 'ok installed' || echo $$package; \
	done | tr '\n' ' '); \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then \
		echo "Installing system libraries: $$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else \
		echo "SegLoop needs some system libraries. Please run this once, then call make again:"; \
		echo; echo "    sudo apt-get install --no-install-recommends $$missing"; echo; exit 1; \
	fi

clean:
	rm -rf $(VENV) $(OUTPUT) build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
