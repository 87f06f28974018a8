"""Servers as they are found in the field: nginx behind a TCP service, dnsmasq behind UDP ones."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from pydsr.lab.lab import Lab
from tests.support.lab.requests import VIP4, VIP6, answers, eventually

NAMES = {"backend1", "backend2", "backend3"}
NGINX = """
daemon off;
user root;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 8080;
        listen [::]:8080;
        location / {{ return 200 "{name}\\n"; }}
        location /file {{ alias {prefix}/file; }}
    }}
}}
"""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def start_nginx(lab: Lab, name: str, prefix: Path) -> None:
    """Serve the host's name, and a file of a megabyte, on port 8080."""
    (prefix / "file").write_bytes(bytes(1_000_000))
    (prefix / "nginx.conf").write_text(NGINX.format(prefix=prefix, name=name))
    lab.popen(name, ["nginx", "-p", str(prefix), "-c", str(prefix / "nginx.conf")])
    curl = ["curl", "--silent", "--max-time", "30", "http://127.0.0.1:8080/"]
    assert eventually(lambda: lab.run(name, curl).stdout == f"{name}\n")


@needs("nginx", "curl")
@pytest.mark.parametrize(
    ("vip", "backends"),
    [
        (VIP4, ("10.77.0.11", "10.77.0.12", "10.77.0.13")),
        (f"[{VIP6}]", ("10.77.0.11", "fd77::12", "10.77.0.13")),
    ],
    ids=["IPv4", "IPv6, of backends named by both"],
)
def test_nginx_serves_behind_a_vip(
    shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory, vip: str, backends: tuple[str, ...]
) -> None:
    """Pages and files of every nginx arrive whole; it outlives a test, as the lab does."""
    for name in NAMES:
        if shared_lab.run(name, ["curl", "--silent", "http://127.0.0.1:8080/"]).returncode:
            start_nginx(shared_lab, name, tmp_path_factory.mktemp(name))
    service = f"{vip}:8080"
    shared_lab.pydsr("backends", "set", service, *backends)
    try:
        assert set(answers(shared_lab, service, 60)) == NAMES
        curl = ["curl", "--silent", "--globoff", "--fail", "--output", "/dev/null"]
        url = f"http://{service}/file"
        sizes = shared_lab.run("client1", [*curl, "--write-out", "%{size_download}", url])
        assert sizes.stdout == "1000000"
    finally:
        shared_lab.pydsr("services", "remove", service)


def start_dnsmasq(lab: Lab, name: str, directory: Path) -> None:
    """Answer ``whoami.test`` with the host's name."""
    lab.popen(
        name,
        [
            "dnsmasq",
            "--no-daemon",
            "--conf-file=/dev/null",
            f"--pid-file={directory / name}.pid",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            f"--txt-record=whoami.test,{name}",
        ],
    )
    dig = ["dig", "+short", "+tries=1", "+time=1", "@127.0.0.1", "whoami.test", "TXT"]
    assert eventually(lambda: lab.run(name, dig).stdout == f'"{name}"\n')


def resolvers(lab: Lab, vip: str, number: int) -> Counter[str]:
    """Ask a VIP for ``whoami.test`` from that many ports, and count who answered."""
    asked = ["whoami.test", "TXT"] * number
    dig = ["dig", "+short", "+tries=1", "+time=20", f"@{vip}", *asked]
    done = lab.run("client1", dig)
    assert done.returncode == 0, done.stdout
    return Counter(done.stdout.replace('"', "").split())


@needs("dnsmasq", "dig")
def test_dns_is_balanced_over_udp_and_tcp(shared_lab: Lab, tmp_path: Path) -> None:
    """Every resolver answers, by both IP versions, and a change takes effect at once."""
    for name in NAMES:
        start_dnsmasq(shared_lab, name, tmp_path)
    places = {
        VIP4: (f"{VIP4}:53", ("10.77.0.11", "10.77.0.12", "10.77.0.13")),
        VIP6: (f"[{VIP6}]:53", ("fd77::11", "fd77::12", "fd77::13")),
    }
    for vip, (place, backends) in places.items():
        service = f"{place}/udp"
        shared_lab.pydsr("services", "add", service, "--one-packet")
        shared_lab.pydsr("backends", "set", service, *backends)
        shared_lab.pydsr("backends", "set", place, *backends)
        assert set(resolvers(shared_lab, vip, 60)) == NAMES

        shared_lab.pydsr("backends", "remove", service, backends[0])
        assert set(resolvers(shared_lab, vip, 60)) == NAMES - {"backend1"}

        over_tcp = ["dig", "+tcp", "+short", "+tries=1", f"@{vip}", "whoami.test", "TXT"]
        assert shared_lab.run("client1", over_tcp).stdout.strip().strip('"') in NAMES
        for endpoint in (service, place):
            shared_lab.pydsr("services", "remove", endpoint)
