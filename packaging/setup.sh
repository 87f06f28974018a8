#!/usr/bin/env bash
# Install the dependencies of pydsr on Debian or Ubuntu, and create .venv. `make setup` covers the
# command and its lab; `make setup-dev` (setup.sh dev) adds tests, linters, documentation and
# benchmarks. The script installs only missing packages, and starts no service.
set -euo pipefail

for_developers=${1:-}

python=/usr/bin/python3 # bcc is built for the distribution's Python
packages=(
	python3-bpfcc  # compiles the XDP program; it is not on PyPI
	python3-venv   # creates .venv
	linux-libc-dev # headers that the XDP program includes
	gcc            # builds pydsr/hashing/*.c
	curl iproute2 procps # for users of the lab
)
lock=requirements.lock
if [[ $for_developers ]]; then
	packages+=(
		bind9-dnsutils dnsmasq-base ethtool iperf3 iputils-arping iputils-ping iputils-tracepath ndisc6
		nftables nginx-light openssl tcpdump traceroute tshark
		bash-completion fish man-db zsh          # tests of completion and manual pages
		debhelper dh-python dpkg-dev lintian mmdebstrap # the Debian package and its tests
		prometheus                               # promtool checks metrics and alerts
		chromium                                 # tests of the status page
		bird2 keepalived                         # BGP and VRRP between two balancers
		shellcheck
	)
	lock=requirements-dev.lock
fi

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

# Debian asks policy-rc.d before it starts the service of a new package; status 101 forbids it. This
# covers the installation, `update-rc.d disable` the next boot. Neither affects services that were
# installed before.
install_packages() {
	local policy=/usr/sbin/policy-rc.d package
	if [[ ! -e $policy ]]; then
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
	fi
	as_root apt-get -qq update
	local available=()
	for package in "$@"; do
		# Ubuntu has Chromium only as a snap; tests that need it are skipped there.
		[[ $package == chromium && -z $(apt-cache search --names-only '^chromium$') ]] ||
			available+=("$package")
	done
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends "${available[@]}" >/dev/null
	local -A services=(
		[bird2]=bird [keepalived]=keepalived [nginx-light]=nginx [prometheus]=prometheus
	)
	for package in "$@"; do
		if [[ ${services[$package]:-} ]]; then
			as_root update-rc.d "${services[$package]}" disable
		fi
	done
}

missing=()
for package in "${packages[@]}"; do
	if [[ $package == nginx-light ]] && command -v nginx >/dev/null; then
		continue
	fi
	is_installed "$package" || missing+=("$package")
done
if [[ ${#missing[@]} -gt 0 ]]; then
	command -v apt-get >/dev/null || fail "apt-get is missing; install yourself: ${missing[*]}"
	[[ $EUID -eq 0 ]] || command -v sudo >/dev/null ||
		fail "run as root or install sudo, to install: ${missing[*]}"
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
pip install --require-hashes --requirement "$lock"
pip install --no-deps --no-build-isolation --editable .
.venv/bin/python -c 'import bcc' || fail "$python cannot import bcc; see the error above"
echo "Ready: .venv/bin/pydsr"
