"""A backend's host with servers, and single checks of it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from pydsr.health.investigation import Investigations
from pydsr.health.single_check import check_once
from pydsr.health.steering import Steering
from pydsr.health.targets import CheckTarget, Job, Route
from pydsr.lab.network import enter_namespace
from pydsr.model.addresses import Endpoint, MacAddress
from pydsr.model.check_result import Outcome, Result
from pydsr.model.checks import Check, port_of
from tests.support.netns.namespaces import Host, eventually

BACKEND = {4: "10.66.0.11", 6: "fd66::11"}
VIP = {4: "10.66.0.80", 6: "fd66::80"}

SHORT = 1.5
"""Seconds for a check that is to time out; within them, its failure is investigated."""

_ATTEMPTS = 50
"""How often checks are repeated on a machine that is too busy to make them."""

_CHECKS: TypeAdapter[Check] = TypeAdapter(Check)

_NGINX = """
daemon off;
master_process off;
user root;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 80;
        listen [::]:80;
        {tls}
        location / {{ return 200 "hello $host\\n"; }}
        location /broken {{ return 503; }}
        location /session {{ return 200 "$ssl_session_reused\\n"; }}
    }}
}}
"""


def made_check(kind: str, **settings: Any) -> Check:
    """Return a check as a file declares it; it has a minute, however busy this machine is."""
    settings = {key.replace("_", "-"): value for key, value in settings.items()}
    settings.setdefault("interval", 60)
    settings.setdefault("timeout", settings["interval"])
    return _CHECKS.validate_python({"type": kind, **settings})


@dataclass(frozen=True)
class Checked:
    """A balancer's host and a backend's, with a VIP of one IP version."""

    lb: Host
    backend: Host
    version: int = 4

    @property
    def vip(self) -> str:
        """The virtual IP."""
        return VIP[self.version]

    @property
    def address(self) -> str:
        """The backend's own address."""
        return BACKEND[self.version]

    def add_vip(self) -> None:
        """Add the VIP to the backend's loopback."""
        length = "/32" if self.version == 4 else "/128"
        nodad = ["nodad"] if self.version == 6 else []
        self.backend.run("ip", "address", "add", self.vip + length, "dev", "lo", *nodad)

    def remove_vip(self) -> None:
        """Delete the VIP from the backend."""
        length = "/32" if self.version == 4 else "/128"
        self.backend.run("ip", "address", "delete", self.vip + length, "dev", "lo")

    def job(self, check: Check, port: int = 80, mac: str | None = None, backend: str = "") -> Job:
        """Return a check of the backend."""
        vip = ip_address(self.vip)
        route = Route(
            ip_address(backend or self.address),
            int(self.lb.link("eth0")["ifindex"]),
            MacAddress.parse(mac) if mac else None,
        )
        return Job(check, CheckTarget(vip, port_of(check, Endpoint(vip, port)), route))

    def result(self, kind: str, of_port: int = 80, /, **settings: Any) -> Result:
        """Check a service at a port once, and return the result."""
        return self.results(self.job(made_check(kind, **settings), of_port))[0]

    def result_at_once(self, kind: str, of_port: int = 80, /, **settings: Any) -> Result:
        """Return the result of a check that must not begin an investigation."""
        check = made_check(kind, **settings)
        investigations = _Refused()
        with enter_namespace(self.lb.name):
            (result,) = asyncio.run(checked_once([self.job(check, of_port)], investigations))
        assert not investigations.asked, result
        return result

    def results(self, *jobs: Job) -> list[Result]:
        """Run checks concurrently; repeat those for which this machine was too busy."""
        results: dict[int, Result] = {}
        with enter_namespace(self.lb.name):
            for _ in range(_ATTEMPTS):
                left = [number for number in range(len(jobs)) if number not in results]
                made = asyncio.run(checked_once([jobs[number] for number in left]))
                results |= {
                    number: result
                    for number, result in zip(left, made, strict=True)
                    if result.outcome is not Outcome.UNCHECKED
                }
                if len(results) == len(jobs):
                    break
        return [results[number] for number in range(len(jobs))]

    @contextmanager
    def nginx(self, directory: Path, tls: str = "") -> Iterator[int]:
        """Run nginx on port 80, and with lines for TLS on 443; yield its pid."""
        needs("nginx", "curl")
        (directory / "nginx.conf").write_text(_NGINX.format(directory=directory, tls=tls))
        command = ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        with self.backend.running(*command) as process:
            assert eventually(lambda: self.backend.asks_for_page("127.0.0.1") is not None)
            yield process.pid

    @contextmanager
    def dnsmasq(self) -> Iterator[int]:
        """Run dnsmasq with the names ``www.test`` and ``text.test``; yield its pid."""
        needs("dnsmasq", "dig")
        command = [
            *("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file="),
            *("--no-resolv", "--no-hosts", "--user=root"),
            *("--address=/www.test/192.0.2.7", "--txt-record=text.test,hello"),
        ]
        dig = ["dig", "+short", "+tries=1", "+time=1", "@127.0.0.1", "www.test"]
        with self.backend.running(*command) as process:
            assert eventually(lambda: self.backend.attempt(*dig).stdout == "192.0.2.7\n")
            yield process.pid

    @contextmanager
    def taking(self, answer: Callable[[socket.socket], None], port: int = 80) -> Iterator[None]:
        """Run a TCP server on every address, with a handler for each connection."""
        family = socket.AF_INET6 if self.version == 6 else socket.AF_INET
        with enter_namespace(self.backend.name):
            server = socket.create_server(("", port), family=family)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        with _in_thread(serve, server):
            yield

    @contextmanager
    def echoing(self, address: str, port: int = 5353) -> Iterator[None]:
        """Run a UDP server that echoes on an address."""
        family = socket.AF_INET6 if self.version == 6 else socket.AF_INET
        with enter_namespace(self.backend.name):
            server = socket.socket(family, socket.SOCK_DGRAM)
            server.bind((address, port))

        def serve() -> None:
            while True:
                try:
                    data, source = server.recvfrom(1000)
                    if not source:
                        return
                    server.sendto(data, source)
                except OSError:
                    return

        with _in_thread(serve, server):
            yield


class _Refused(Investigations):
    """Allows no investigation; ``asked`` is whether a check wanted one."""

    asked = False

    def reserve(self, _: Route) -> bool:
        """Note the request."""
        self.asked = True
        return False


async def checked_once(
    jobs: Sequence[Job], investigations: Investigations | None = None
) -> list[Result]:
    """Run checks once, concurrently, in the network namespace of this thread."""
    async with Steering() as steering:
        await steering.steer(job.target for job in jobs)
        marks = [steering.mark(job.target.route) for job in jobs]
        shared = investigations or Investigations()
        return await asyncio.gather(*map(check_once, jobs, marks, repeat(shared)))


@contextmanager
def _in_thread(serve: Callable[[], None], server: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # A blocked call returns by shutdown, not by close; on a UDP socket it also raises.
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        server.close()


def needs(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
