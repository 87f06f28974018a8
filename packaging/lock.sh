#!/usr/bin/env bash
# Regenerate requirements.lock and requirements-dev.lock from pyproject.toml.
# Called by `make lock`, which passes --upgrade to take the newest versions.
set -euo pipefail

cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
/usr/bin/python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check uv

compile() {
	"$tools/bin/uv" pip compile pyproject.toml --quiet \
		--universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" "$@"
}

compile "$@" --extra build --output-file requirements.lock
compile "$@" --extra build --extra dev --constraint requirements.lock --output-file requirements-dev.lock
