#!/usr/bin/env bash
# Run the tests that need no root on the given versions of Python: `make test-python`. uv takes a
# Python of this machine, or downloads it. The outcome is written to build/compatibility.
set -euo pipefail

cd "$(dirname "$0")/.."
mkdir -p build/compatibility
status=0
for version in "$@"; do
	echo "=== Python $version"
	record=build/compatibility/python-$version.json
	environment=build/python-$version
	rm -f "$record"
	.venv/bin/uv venv --quiet --no-config --clear --python "$version" "$environment" &&
		.venv/bin/uv pip install --quiet --no-config --python "$environment" \
			--require-hashes --requirement requirements-dev.lock &&
		"$environment/bin/python" -m pytest -p no:cacheprovider --numprocesses auto \
			-p tests.support.record --record "$record" tests/unit || status=1
done
exit "$status"
