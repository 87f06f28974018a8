#!/usr/bin/env bash
# Print the test coverage of pydsr/, with the given arguments for pytest: `make coverage`.
# pyproject.toml has the settings. Commands that the tests start are measured as well.
set -euo pipefail

cd "$(dirname "$0")/.."
directory=$(mktemp -d)
chmod 1777 "$directory" # some tests run commands as an ordinary user
trap 'rm -rf "$directory"' EXIT
export COVERAGE_FILE=$directory/data
status=0
.venv/bin/coverage run -m pytest "$@" || status=$?
.venv/bin/coverage combine --quiet
.venv/bin/coverage report
exit "$status"
