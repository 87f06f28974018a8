#!/usr/bin/env bash
# Build the sdist from this checkout, and the wheel from the sdist, into a directory: `make dist`
# passes dist. The build is reproducible.
set -euo pipefail

mkdir -p "$1"
output=$(realpath "$1")
cd "$(dirname "$0")/.."
rm -f "$output"/pydsr-*
.venv/bin/python -m hatchling build --target sdist --directory "$output" >/dev/null 2>&1
.venv/bin/python -m pip --quiet --disable-pip-version-check wheel --no-cache-dir --no-deps \
	--no-build-isolation --wheel-dir "$output" "$output"/pydsr-*.tar.gz
ls "$output"/pydsr-*
