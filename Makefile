# Every target sets up what it needs. PYTHON names the interpreter that makes .venv (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.PHONY: setup demo test slow check types parity ahead ahead-quick docs bench

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[test]'
	touch $@

demo: setup
	$(BIN)/python -m train mixture_2d --out runs/mixture_2d
	$(BIN)/python -m score runs/mixture_2d --data mixture_2d
	@echo 'The same world by an encoder that cannot fold, whose density is right in order and in scale:'
	$(BIN)/python -m train mixture_2d_triangular --out runs/mixture_2d_triangular

test: setup
	@echo 'The quick tests take 15 to 35 minutes on two cores. `.venv/bin/python -m pytest tests/unit/density` runs one folder.'
	$(BIN)/python -m pytest --ignore=tests/parity $(EXCEPT) --durations=25

# Every page of the docs, every config, all checks of scikit-learn, runs that are killed again and again.
slow: setup
	@echo 'Each of these tests takes ten seconds or more.'
	$(BIN)/python -m pytest --ignore=tests/parity -m slow --durations=25

check: types
	$(MAKE) test

types: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

.venv/torch: .venv/ready
	$(INSTALL) '.[test,torch]'
# Where pip finds a CPU build of torch and a CUDA build of torchvision, the two do not fit; then PyPI's torch does.
	$(BIN)/python -c 'import torchvision' 2>/dev/null || $(BIN)/python -m pip install --quiet 'torch===2.13.0'
	touch $@

# With the compiler as users have it, which `make test` replaces by a quicker one.
parity: export XLA_FLAGS = --xla_backend_optimization_level=3 --xla_cpu_use_fusion_emitters=true
parity: .venv/torch
	$(BIN)/python -m pytest tests/parity tests/unit/density --durations=10

# The plugin for GPUs must be of the release of jax; it would not be loaded otherwise.
.venv/ahead: .venv/ready
	version=$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("jax"))') && \
	$(INSTALL) '.[test,ahead]' "jax[tpu]==$$version" "jax-cuda12-plugin==$$version" "jax-cuda12-pjrt==$$version"
	touch $@

# The tests compile what benchmarks/ahead.py lists, and write its table.
ahead ahead-quick: export XLA_FLAGS = --xla_backend_optimization_level=3
ahead: export JEPA_JAX_AHEAD_RESULTS = benchmarks/results
ahead: .venv/ahead
	@echo 'This takes about half an hour on two cores. Nothing needs a TPU or a GPU.'
	$(BIN)/python -m pytest -m ahead -n 0 tests/ahead

# A training step, a scorer of vectors and one of a ViT, in a minute.
ahead-quick: .venv/ahead
	$(BIN)/python -m pytest -m ahead -n 0 -k 'mixture_2d or tangent or blocks or twice' tests/ahead

.venv/docs: .venv/ready
	$(INSTALL) '.[test,docs]'
	touch $@

docs: .venv/docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

bench: .venv/torch
	$(BIN)/python -m benchmarks.train_speed
	$(BIN)/python -m benchmarks.score_speed --quick
	$(BIN)/python -m benchmarks.load_speed
	$(BIN)/python -m benchmarks.fidelity --quick
