#!/usr/bin/env bash
# Install what pydsr needs on Debian or Ubuntu, and make .venv with pydsr in it.
# Called by `make setup`. It installs only what is missing, and starts no service.
set -euo pipefail

python=/usr/bin/python3 # the distribution's: bcc is built for it
packages=(
	python3-bpfcc  # compiles the XDP program; it is not on PyPI
	python3-venv   # makes .venv
	linux-libc-dev # the headers that the program includes
	gcc            # builds pydsr/maglev.c

	# For the tests, the lab, the benchmarks and the linters:
	bind9-dnsutils curl dnsmasq-base ethtool iperf3 iproute2 iputils-arping iputils-ping
	iputils-tracepath ndisc6 nftables nginx-light openssl procps shellcheck tcpdump traceroute tshark
)

cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

fail() {
	echo "make setup: $1" >&2
	exit 1
}

as_root() {
	if [[ $EUID -eq 0 ]]; then
		"$@"
	else
		sudo -- "$@"
	fi
}

is_installed() {
	[[ $(dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null) == *" installed" ]]
}

# Debian asks policy-rc.d before it starts the service of a package it installs; status 101 says
# no. That is for now; `update-rc.d disable` is for the next boot. Neither touches an nginx that
# was here before.
install_packages() {
	local policy=/usr/sbin/policy-rc.d
	if [[ ! -e $policy ]]; then
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
	fi
	as_root apt-get -qq update
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >/dev/null
	if [[ " $* " == *" nginx-light "* ]]; then
		as_root update-rc.d nginx disable
	fi
}

missing=()
for package in "${packages[@]}"; do
	if [[ $package == nginx-light ]] && command -v nginx >/dev/null; then
		continue
	fi
	is_installed "$package" || missing+=("$package")
done
if [[ ${#missing[@]} -gt 0 ]]; then
	command -v apt-get >/dev/null || fail "no apt-get here; install by hand: ${missing[*]}"
	[[ $EUID -eq 0 ]] || command -v sudo >/dev/null ||
		fail "run it as root, or install sudo, to install: ${missing[*]}"
	echo "Installing ${missing[*]}"
	install_packages "${missing[@]}"
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$python is $("$python" --version); pydsr needs 3.11 or newer"
if [[ $(readlink -f .venv/bin/python) != "$(readlink -f "$python")" ]]; then
	rm -rf .venv
fi
echo "Installing pydsr into .venv"
"$python" -m venv --system-site-packages .venv
pip() {
	.venv/bin/python -m pip --quiet --disable-pip-version-check "$@"
}
pip install --require-hashes --requirement requirements-dev.lock
pip install --no-deps --no-build-isolation --editable .
.venv/bin/python -c 'import bcc' || fail "$python cannot import bcc; see the error above"
echo "Ready: .venv/bin/pydsr"
