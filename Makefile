# Two commands on a fresh machine (Python 3.10+, pip, no GPU needed):
#   make quickstart   installs into .venv, distils a transformer into a CNN on real digits, prints a table, draws curves
#   make test         installs into .venv, lints and runs the tests

# One torch and its torchvision, resolved together; set TORCH= to nothing to keep what is in .venv already.
TORCH ?= torch==2.13.0 torchvision==0.28.0
PYTHON ?= python3
BIN := .venv/bin
MMCV_WHEELS ?= wheels
RUNS := work_dirs/quickstart
FASHION := data/fashion_mnist
# Small models run faster on one thread than on two.
export OMP_NUM_THREADS ?= 1
# Files of tests side by side, one a core.
PARALLEL ?= -n auto --dist loadfile

.PHONY: install quickstart test test-all test-upstream test-kill test-detection mmcv-operators soak benchmark-smoke benchmark-data
.PHONY: lint format doctor clean

install: .venv/installed

.venv/installed: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar on $(TORCH) -e .[mm,quickstart,test]
	$(BIN)/python -m tas_mm.doctor
	touch $@

quickstart: install
	rm -rf $(RUNS)
	@echo '[1/3] teacher: a small vision transformer on 1,297 digits'
	$(BIN)/python tools/train.py configs/quickstart/teacher.py --work-dir $(RUNS)/teacher
	@echo '[2/3] student alone: a small CNN on 50 digits'
	$(BIN)/python tools/train.py configs/quickstart/student.py --work-dir $(RUNS)/student_alone
	@echo '[3/3] the same student distilled by TAS: same 50 digits, same steps'
	$(BIN)/python tools/train.py configs/quickstart/tas.py --work-dir $(RUNS)/tas
	$(BIN)/python tools/compare_runs.py $(RUNS)/teacher $(RUNS)/student_alone $(RUNS)/tas --out $(RUNS)/curves.png

test: install lint
	$(BIN)/python -m pytest -q $(PARALLEL) --durations=10

# Builds every config that is shipped, not just one of each kind; kills runs as often as test-kill.
test-all: install lint
	$(BIN)/python -m pytest -q $(PARALLEL) --durations=10 -m 'not detection'

# The same tests with the packages that the maintained forks began from, in an environment of their own.
test-upstream:
	test -x .venv-upstream/bin/python || $(PYTHON) -m venv .venv-upstream
	.venv-upstream/bin/python -m pip install --quiet --progress-bar on $(TORCH) -e .[upstream,test]
	.venv-upstream/bin/python -m tas_mm.doctor
	.venv-upstream/bin/python -m pytest -q $(PARALLEL) --durations=10

# Kills small runs at more than twenty moments and resumes them: minutes.
test-kill: install
	$(BIN)/python -m pytest -q tests/integration/test_kill.py -m ''

# Shows that the benchmark works, not who is best: two minutes.
benchmark-smoke: install
	$(BIN)/python tools/benchmark.py configs/benchmark/suites/smoke.py

# Fashion-MNIST as Debian packages it: needs apt-get and dpkg-deb, but no root.
benchmark-data: $(FASHION)/train-labels-idx1-ubyte

$(FASHION)/train-labels-idx1-ubyte:
	@command -v apt-get dpkg-deb > /dev/null || \
		{ echo 'No Debian: gunzip the four files of Fashion-MNIST into $(FASHION)/ yourself'; exit 1; }
	mkdir -p $(FASHION)/package
	cd $(FASHION)/package && apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb .
	for file in $(FASHION)/package/usr/share/datasets/fashion-mnist/*.gz; do \
		gunzip -c $$file > $(FASHION)/$$(basename $$file .gz) || exit 1; done
	rm -r $(FASHION)/package
	ls -l $(FASHION)

# Trains random pairs with random options for an hour: nothing may leak, hang or go to infinity. See docs/reliability.md.
soak: install
	$(BIN)/python tools/soak.py --minutes 60

# Detectors on distilled students. MMDetection needs mmcv's compiled operators.
test-detection: install
	$(BIN)/python -m pip install --quiet --progress-bar on $(TORCH) -e .[mm,test,detection]
	$(BIN)/python -c 'import mmcv.ops' 2> /dev/null || $(MAKE) mmcv-operators
	$(BIN)/python -m pytest -q --durations=10 tests/detection -m detection

# From a wheel in MMCV_WHEELS, which is built there if there is none.
mmcv-operators: install
	ls $(MMCV_WHEELS)/onedl_mmcv-*.whl 2> /dev/null || { \
	    echo 'compiling the operators of mmcv, which takes about 25 minutes on two cores'; \
	    $(BIN)/python -m pip install --quiet setuptools wheel ninja psutil; \
	    MMCV_WITH_OPS=1 $(BIN)/python -m pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation \
	        --wheel-dir $(MMCV_WHEELS) onedl-mmcv; }
	$(BIN)/python -m pip install --quiet --no-deps --no-index --force-reinstall --find-links $(MMCV_WHEELS) onedl-mmcv

# The documentation as a site, build/site/index.html; any warning is an error.
.PHONY: docs
docs: install
	$(BIN)/python -m pip install --quiet --progress-bar on -e .[docs]
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: install
	$(BIN)/python -m tas_mm.doctor

clean:
	rm -rf .venv build dist *.egg-info tas_mm/.mim work_dirs
