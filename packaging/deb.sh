#!/usr/bin/env bash
# Build the Debian package from this checkout into a directory: `make deb` says dist. Python
# packages come from PyPI, with the hashes of requirements.lock; the rest is in packaging/debian.
set -euo pipefail

mkdir -p "$1"
output=$(realpath "$1")
cd "$(dirname "$0")/.."
python=.venv/bin/python
version=$("$python" -c 'import pydsr; print(pydsr.__version__)')
# The same commit gives the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packaging/dist.sh "$work" >/dev/null
tar --extract --directory "$work" --file "$work/pydsr-$version.tar.gz"
cd "$work/pydsr-$version"
cp -r packaging/debian debian
maintainer=$(sed -n 's/^Maintainer: //p' debian/control)
/usr/bin/python3 packaging/debian_changelog.py pydsr "$version" "$maintainer" >debian/changelog
# `make setup-dev` has installed what it takes: no more than that is asked for.
if ! PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --build=binary --no-sign \
	--no-check-builddeps >"$work/log" 2>&1; then
	cat "$work/log" >&2
	exit 1
fi
cp "$work"/pydsr_*.deb "$output"
ls "$output"/pydsr_*.deb
