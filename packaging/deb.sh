#!/usr/bin/env bash
# Build the Debian package of this checkout into a directory: `make deb` passes dist. pip downloads
# Python packages with the hashes of requirements.lock; packaging/debian has the rest.
set -euo pipefail

mkdir -p "$1"
output=$(realpath "$1")
cd "$(dirname "$0")/.."
python=.venv/bin/python
version=$("$python" -c 'import pydsr; print(pydsr.__version__)')
# A reproducible build: the same commit gives the same package.
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
# `make setup-dev` has installed the build dependencies, so dpkg need not check them.
if ! PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --build=binary --no-sign \
	--no-check-builddeps >"$work/log" 2>&1; then
	cat "$work/log" >&2
	exit 1
fi
cp "$work"/pydsr_*.deb "$output"
ls "$output"/pydsr_*.deb
