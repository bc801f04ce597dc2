# `just` lists what there is; https://just.systems. Everything runs in .venv, as in .ci/run.

python := ".venv/bin/python"

# list the recipes
default:
    @just --list

# make .venv with everything that tests need
setup:
    python3 -m venv .venv
    .venv/bin/pip install -e '.[test]'

# the tests that .ci/run runs; `just test tests/network -x` for some
test *args:
    {{ python }} -m pytest -n 2 {{ args }}

# the slow tests as well
test-all *args:
    {{ python }} -m pytest -n 2 -m '' {{ args }}

# lint, format, types and the direction of imports
lint:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .
    .venv/bin/lint-imports
    .venv/bin/mypy

# write what is generated: the command reference, pages with counts, regions of documents
docs:
    {{ python }} -m effcalc.cli.reference
    {{ python }} docs/generate.py
    .venv/bin/effcalc embed README.md docs

# the docs checks of .ci/run
docs-check:
    {{ python }} -m effcalc.cli.reference --check
    {{ python }} docs/generate.py --check
    {{ python }} docs/check.py
    .venv/bin/effcalc embed --check README.md docs

# one benchmark: `just bench cold_start`
bench name *args:
    {{ python }} benchmarks/{{ name }}.py {{ args }}

# all that decides whether a change lands
ci:
    .ci/run

# build what a release uploads, and try the wheel in an environment of its own
release:
    {{ python }} -m pip install --quiet build
    rm -rf dist
    {{ python }} -m build
    python3 -m venv dist/try
    dist/try/bin/pip install --quiet dist/*.whl
    dist/try/bin/effcalc scale --phi 3
    rm -r dist/try
