#!/usr/bin/env bash
# Write requirements.lock and requirements-dev.lock from pyproject.toml. `make lock` calls this;
# --upgrade takes the newest versions.
#
# requirements-dev.lock includes requirements.lock and adds the development tools, so every package
# is locked in one place.
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

mapfile -t locked < <(sed -n 's/^\([a-z0-9_.-]*\)==.*/--no-emit-package=\1/p' requirements.lock)
compile "$@" --extra build --extra dev --constraint requirements.lock "${locked[@]}" \
	--output-file requirements-dev.lock
sed -i '0,/^[^#]/s//--requirement requirements.lock\n&/' requirements-dev.lock
