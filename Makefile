# Everything there is to do with this repository. From any directory: make -C /path/to/haltproof TARGET.
#
#   make run          the scenario library over a few seeds each, and a report      (needs nothing but Python 3.11+; SEEDS=20: more of
#                     them; with fewer than 8 some scenarios do not reach what they are about, which makes them unknown)
#   make test         everything that has to hold before a change goes in
#   make bench        speed, as ratios taken in one run
#   make live-deps    the real Toxiproxy server that live runs go through
#   make schema       scenarios/schema.json from the model
#   make map          what the docs say of modules, faults and facts, from the modules and tables themselves
#   make constraints  newer pins
#   make clean        generated output; make distclean: the environment as well

PYTHON ?= python3
SEEDS ?= 8
export PYTHON
# Set on some machines; it makes every import compile its source again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test bench live-deps schema map constraints venv venv-dev clean distclean

help:
	@sed -n 's/^#   //p' Makefile

venv:
	@scripts/make-venv run

venv-dev:
	@scripts/make-venv dev

run: venv
	.venv/bin/haltproof run --seeds $(SEEDS) --out out/run

test: venv-dev
	@.venv/bin/python scripts/check.py

bench: venv
	.venv/bin/python -m benchmarks

live-deps: venv
	.venv/bin/python -m harness.live.server

schema: venv
	.venv/bin/haltproof schema > .schema.json
	mv .schema.json scenarios/schema.json

map: venv
	.venv/bin/python scripts/module_map.py
	.venv/bin/python -m scenarios.reference

constraints:
	scripts/pin

clean:
	rm -rf out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* .schema.json
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
