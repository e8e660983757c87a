# Two commands: `make demo` shows what poised does, `make test` checks all of it.
PYTHON ?= python3
# where torch comes from: its own index of CPU builds, as PyPI's build for Linux brings gigabytes of
# CUDA. Without a way there, from pip's own index: `make test TORCH_INDEX=`.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := .venv/bin
# two processes, a file of tests each: more threads than cores would make torch many times slower; where
# one of them crashes the run ends at once, and does not wait for it for ever
TWO := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-long docs fuzz licences sbom format clean

demo: .venv/core.stamp
	$(BIN)/poised predict data/samples --out demo --restart
	@echo "Look at the pictures in demo/pictures; the numbers are in demo/poses.json."

test: .venv/full.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TWO) -q

test-long: .venv/full.stamp
	$(TWO) -q -m "long or not long"

docs: .venv/docs.stamp
	$(BIN)/python docs/build_site.py
	@echo "Open build/site/index.html."

# each reader, or those of TARGETS="boxes coco", fed with damaged files for FUZZ_SECONDS (600); what
# is found is kept in fuzz-findings/ and tried first the next time
fuzz: .venv/full.stamp
	PYTHONPATH=tests $(BIN)/python -m fuzz $(TARGETS)

licences: .venv/core.stamp
	$(BIN)/python tests/licences.py

# what `pip install poised` brings into an empty environment, as CycloneDX
sbom:
	rm -rf .venv-sbom
	$(PYTHON) -m venv .venv-sbom/tool
	$(PYTHON) -m venv .venv-sbom/core
	.venv-sbom/tool/bin/python -m pip --disable-pip-version-check --quiet install cyclonedx-bom==7.5.0
	.venv-sbom/core/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint constraints.txt .
	.venv-sbom/core/bin/python -m pip --disable-pip-version-check --quiet uninstall --yes pip
	.venv-sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml \
		--output-file sbom.json .venv-sbom/core/bin/python

format: .venv/full.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-sbom sbom.json build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/core.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

# torch first and alone: pip asks no other index for it but those and folders of your own pip.conf.
# rtmlib, which tests compare with, comes without what it depends on: its opencv-python would overwrite
# the headless one's cv2; tqdm is all that it lacks then.
.venv/full.stamp: .venv/core.stamp
	$(PIP) install --constraint constraints.txt --no-deps --timeout 15 --retries 1 \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0 || { \
		echo "no torch from $(TORCH_INDEX). From PyPI, on Linux with gigabytes of CUDA:" \
			"make $(MAKECMDGOALS) TORCH_INDEX="; exit 1; }
	$(PIP) install --constraint constraints.txt --editable '.[train,onnx,int8,serve,dev]'
	$(PIP) install --constraint constraints.txt --no-deps rtmlib tqdm
	@touch $@

.venv/docs.stamp: .venv/full.stamp
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@
