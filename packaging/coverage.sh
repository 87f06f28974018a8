#!/usr/bin/env bash
# Print the test coverage of pydsr/ for the given folders of tests: `make coverage`.
# pyproject.toml has the settings. Commands that the tests start are measured as well.
set -euo pipefail

cd "$(dirname "$0")/.."
directory=$(mktemp -d)
chmod 1777 "$directory" # some tests run commands as an ordinary user
trap 'rm -rf "$directory"' EXIT
export COVERAGE_FILE=$directory/data
status=0
.venv/bin/coverage run -m pytest -p no:cacheprovider --numprocesses auto --dist loadfile \
	--no-loadscope-reorder "$@" || status=$?
.venv/bin/coverage combine --quiet
.venv/bin/coverage report
exit "$status"
