# Needs Python 3.11 or newer, make and a C compiler; the rest is fetched into .venv on the first call.
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help demo demo-engines test kubernetes test-kubernetes lint ruff imports types docs pytest computing waiting alone bench bench-gateway bench-console soak lock format clean

PY := .venv/bin/python
SEEDS ?= 500
PYTEST_ARGS ?=

help:
	@echo 'make demo    five factories in five countries: real work, a cut cable, a killed one, and nothing lost or run twice'
	@echo 'make demo-engines  the same on a Slurm and a Ray cluster as well, which it installs'
	@echo 'make test    lint, types, import contracts, docs, and every test (SEEDS=$(SEEDS) simulated histories)'
	@echo 'make kubernetes       build Kubernetes from its Go modules, for tests (needs Go; once, ten minutes on two cores)'
	@echo 'make test-kubernetes  what is tested on Kubernetes; with KUBECONFIG=..., on a cluster of your own (docs/how-to/kubernetes.md)'
	@echo 'make bench   measure, beside what others reach, and write docs/benchmarks.md'
	@echo 'make bench-gateway  what a request for a model costs the gateway, beside nginx, LiteLLM and vllm-router'
	@echo 'make bench-console  what a page costs a reader on a slow line, beside the dashboards of SkyPilot and GPUStack'
	@echo 'make soak    the simulation and the crash tests for long (SOAK_SEEDS=$(SOAK_SEEDS) of one factory, SOAK_NETWORK_SEEDS=$(SOAK_NETWORK_SEEDS) of several)'
	@echo 'make lint    ruff, basedpyright, import-linter'
	@echo 'make docs    the documentation, as HTML, warnings are errors'
	@echo 'make format  let ruff mend what it can'
	@echo 'make lock    resolve the dependencies again'
	@echo 'make clean   remove what builds and tests left; .venv stays'

.make/python: uv.lock pyproject.toml tools/bootstrap.sh
	@sh tools/bootstrap.sh python
	@touch $@

.make/system-%: tools/bootstrap.sh
	@sh tools/bootstrap.sh system $*
	@touch $@

.make/%-tried: uv.lock tools/bootstrap.sh .make/python
	@sh tools/bootstrap.sh $*
	@touch $@

.make/provider-tried: tests/console/provider/package-lock.json
.make/console-tried: $(wildcard frontend/* frontend/.npmrc frontend/src/* frontend/src/*/*)

demo: .make/python .make/system-demo .make/console-tried
	@$(PY) -m demo

# The same, with what it takes to put Nairobi on Slurm and Lagos on Ray.
demo-engines: .make/python .make/system-engines .make/ray-tried .make/console-tried
	@$(PY) -m demo

# Every part runs even if one before it failed; the tests come last, so that their closing line is the last word.
test: .make/python .make/system-test .make/ray-tried .make/jax-tried .make/jupyter-tried .make/console-tried .make/provider-tried .make/kubernetes
	@$(MAKE) --no-print-directory --keep-going lint docs computing waiting alone

# Outside of the checkout, so that it is built once for all of them; without Go, or with TAWTIN_NO_KUBERNETES=1, left out.
.make/kubernetes: tools/kubernetes/go.mod tools/kubernetes/main.go | .make/python
	@[ -n "$(TAWTIN_NO_KUBERNETES)" ] || $(PY) -m tools.kubernetes_build --if-possible
	@touch $@

kubernetes: .make/python
	@$(PY) -m tools.kubernetes_build

test-kubernetes: .make/python .make/system-test
	@$(PY) -m pytest $(if $(KUBECONFIG),tests/engines/test_conformance.py -k kubernetes,-m kubernetes) $(PYTEST_ARGS)

lint: ruff imports types

ruff: .make/python
	@echo '== ruff'; .venv/bin/ruff check --quiet --output-format=concise
	@.venv/bin/ruff format --check --quiet

imports: .make/python
	@echo '== import contracts'; .venv/bin/lint-imports --no-logo --cache-dir .cache/import-linter

types: .make/python
	@echo '== types'; .venv/bin/basedpyright

docs: .make/python
	@echo '== docs'; $(PY) -m sphinx -b html -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

# Two files at a time, three where tests wait for others; those that look at all processes of the machine, or promise a time,
# come last and have it to themselves. In this order, so that short files come last and no worker waits long for another one.
WAITING := tests/console tests/engines tests/network tests/workspaces tests/deploy tests/cli
ALONE := tests/faults tests/demo
TWO := -n 2 --dist loadfile
THREE := -n 3 --dist loadfile --no-loadscope-reorder
# with PYTEST_ARGS a group may have none that is asked for, which pytest answers with 5
ASKED = $(PYTEST_ARGS)$(if $(PYTEST_ARGS), || [ $$? -eq 5 ])
pytest: computing waiting alone

computing: .make/python
	@echo '== tests that compute'; $(PY) -m pytest $(TWO) --seeds=$(SEEDS) tests $(WAITING:%=--ignore=%) $(ALONE:%=--ignore=%) $(ASKED)

waiting: .make/python
	@echo '== tests that wait: for clusters, engines, peers'; $(PY) -m pytest $(THREE) $(WAITING) $(ASKED)

alone: .make/python
	@echo '== tests that have the machine to themselves'; $(PY) -m pytest $(ALONE) $(ASKED)

bench: .make/python .make/system-bench .make/console-tried
	@$(PY) -m bench

# Beside nginx, LiteLLM and vllm-router, as far as they can be installed.
bench-gateway: .make/python .make/system-gateway .make/peers-tried
	@$(PY) -m bench.gateway; $(PY) -m bench.affinity; $(PY) -m bench.autoscale

# Beside the dashboards of SkyPilot and GPUStack, as far as they can be installed: two environments of 600 MB each.
bench-console: .make/python .make/system-bench .make/console-tried .make/dashboards-tried
	@$(PY) -m bench.console

SOAK_SEEDS ?= 25000
SOAK_NETWORK_SEEDS ?= 75000
soak: .make/python .make/system-test .make/ray-tried
	@$(PY) -m tools.soak --seeds $(SOAK_SEEDS)
	@$(PY) -m tools.soak --network --seeds $(SOAK_NETWORK_SEEDS)
	@$(PY) -m pytest --timeout=0 -m soak $(PYTEST_ARGS)

format: .make/python
	@.venv/bin/ruff check --fix --quiet || true
	@.venv/bin/ruff format --quiet

# Resolved against the public index whatever this machine is set to, so that the lockfile serves everybody.
lock:
	@env -u UV_INDEX -u UV_INDEX_URL -u UV_DEFAULT_INDEX -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
	    uv lock --no-config
	@! grep -oE 'https?://[^/"]+' uv.lock | sort -u | grep -vE '^https://(pypi\.org|files\.pythonhosted\.org)$$' \
	    || { echo 'uv.lock names a host that is not the public index'; exit 1; }

clean:
	rm -rf .make .cache .ruff_cache .hypothesis .schemathesis docs/_build docs/reference/generated dist build \
	    frontend/node_modules src/tawtin/web/console/static/built
	find src tests bench demo tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
