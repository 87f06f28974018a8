"""The JSON output of every command matches its schema, without unknown keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from pydsr.model.errors import ExitStatus
from pydsr.views.json.schemas import KINDS, document_schema
from tests.support.netns.command import Pydsr
from tests.support.netns.daemon_process import Daemon
from tests.support.netns.namespaces import BACKENDS, Host, eventually, made_directory, made_wire

WEB = "10.66.0.80:80"
CONFIGURATION = f"""
interfaces: [eth0]
services:
  - endpoint: {WEB}
    name: web
    checks: [{{type: tcp, interval: 0.2, timeout: 0.1, rise: 1, fall: 1}}]
    health: {{minimum-healthy: 1}}
    rules: {{allow: [10.66.0.0/24]}}
    backends: [{BACKENDS[0]}, "{BACKENDS[1]}=2"]
  - {{endpoint: "10.66.0.80:53/udp", one-packet: true}}
  - {{endpoint: "[fd66::80]:80", max-new-flows: 10, backends: ["10.66.9.9@02:00:00:00:00:09%7"]}}
vips: {{10.66.0.80: {{unserved: drop}}}}
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """A balancer's host and its peer."""
    with made_wire() as made:
        yield made


@pytest.fixture(scope="module")
def peer(hosts: tuple[Host, Host]) -> Host:
    """The host at the other end of the balancer's wire."""
    return hosts[1]


@pytest.fixture(scope="module")
def daemon(hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A balancer with all kinds of services, whose daemon checks a failing backend."""
    folder = tmp_path_factory.mktemp("daemon")
    with made_directory() as bpffs:
        made = Daemon(Pydsr(hosts[0], bpffs), folder)
        made.write(CONFIGURATION)
        with made.running():
            made.until("backend-unhealthy")
            yield made


def closed(schema: Any) -> Any:
    """Return the schema without permission for unknown keys."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return inner | ({"additionalProperties": False} if "properties" in inner else {})


def prints(pydsr: Pydsr, name: str, *arguments: str) -> Any:
    """Return the output of a command, which must match its schema."""
    done = pydsr(*arguments, "--json")
    assert done.status in (ExitStatus.DONE, ExitStatus.NOT_AS_DESIRED), done.stderr
    document = json.loads(done.stdout)
    Draft202012Validator(closed(document_schema(name))).validate(document)
    return document


COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "status": [("status",)],
    "services": [("services", "list")],
    "backends": [("backends", "list"), ("backends", "list", WEB)],
    "vips": [("vips", "list")],
    "acl": [("acl", "list"), ("acl", "list", "all")],
    "stats": [("stats",)],
    "top": [("top", "--interval", "0.1"), ("top", "--interval", "0.1", "--service", WEB)],
    "reasons": [("stats", "--explain")],
    "explain": [
        ("explain", WEB, "--from", "10.66.0.2:1"),
        ("explain", "10.66.0.80:53/udp", "--from", "10.66.0.2:1"),
        ("explain", "10.66.0.80:9", "--from", "10.66.0.2:1"),
    ],
    "frame": [("explain", "--hex", "00" * 60), ("explain", "--hex", "00")],
    "plan": [
        ("backends", "add", WEB, f"{BACKENDS[2]}", "--plan"),
        ("backends", "remove", WEB, BACKENDS[0], "--plan"),
        ("backends", "drain", WEB, BACKENDS[0], "--plan"),
        ("services", "add", "10.66.0.80:81", "--plan"),
        ("services", "remove", WEB, "--plan"),
        ("acl", "deny", "all", "203.0.113.0/24", "--plan"),
        ("vips", "set", "10.66.0.80", "--unserved", "pass", "--plan"),
        ("attach", "eth0", "--with", "redirect", "--plan"),
        ("detach", "--all", "--purge", "--plan"),
        ("tidy", "--plan"),
        ("tidy",),
        ("acl", "deny", "all", "203.0.113.0/24"),
        ("acl", "remove", "all", "203.0.113.0/24"),
        ("attach", "eth0"),
    ],
    "doctor": [("doctor",), ("doctor", "eth0")],
    "realserver-check": [("realserver", "check", "10.66.0.90")],
    "realserver-change": [
        ("realserver", "setup", "10.66.0.90", "--plan"),
        ("realserver", "undo", "10.66.0.90", "--plan"),
    ],
    "realserver-files": [("realserver", "setup", "10.66.0.90", "--script", "sh")],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_document_matches_its_schema(daemon: Daemon, name: str) -> None:
    for arguments in COMMANDS[name]:
        assert prints(daemon.pydsr, name, *arguments) is not None


def test_plans_health_and_events_match_their_schemas(daemon: Daemon) -> None:
    path = str(daemon.file)
    prints(daemon.pydsr, "plan", "diff", path, *daemon.runtime)
    prints(daemon.pydsr, "plan", "apply", path, "--plan", *daemon.runtime)
    health = prints(daemon.pydsr, "health", "health", *daemon.runtime)
    assert any(one["failures"] for each in health["services"] for one in each["backends"])
    prints(daemon.pydsr, "top", "top", "--interval", "0.1", *daemon.runtime)
    schema = document_schema("event")
    for event in daemon.events():
        Draft202012Validator(schema).validate(event)


def test_each_line_of_a_capture_matches_the_schema(daemon: Daemon, tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    wrpcap(path, [Ether(bytes(60)), Ether(bytes(14))])
    schema = closed(document_schema("frame"))
    lines = daemon.pydsr.ok("explain", "--pcap", path, "--json").splitlines()
    assert 2 == len(lines)
    for line in lines:
        Draft202012Validator(schema).validate(json.loads(line))


def test_each_captured_packet_matches_the_schema(daemon: Daemon, peer: Host) -> None:
    with daemon.pydsr.start("tap", "--count", "2", "--json") as tap:

        def ended() -> bool:
            peer.attempt("ping", "-c", "1", "-W", "1", "-q", "10.66.0.80")
            return tap.poll() is not None

        assert eventually(ended)
        assert tap.stdout is not None
        packets = [json.loads(line) for line in tap.stdout]
    assert 2 == len(packets)
    for packet in packets:
        Draft202012Validator(closed(document_schema("packet"))).validate(packet)


def test_every_kind_of_document_is_tested() -> None:
    assert {*COMMANDS, "health", "event", "packet"} == set(KINDS)


def test_the_schema_of_each_document_is_printed(daemon: Daemon) -> None:
    for name in KINDS:
        assert document_schema(name) == json.loads(daemon.pydsr.ok("schema", "--of", name))


def test_an_unknown_document_is_refused_with_a_list(daemon: Daemon) -> None:
    done = daemon.pydsr("schema", "--of", "nothing")
    assert ExitStatus.BAD_INPUT == done.status
    assert "name one of config, status" in done.stderr


def test_garbage_collection_can_be_planned(daemon: Daemon) -> None:
    """A new backend leaves slots that are not at rest until they have learnt their flows."""
    pydsr, endpoint = daemon.pydsr, "10.66.0.84:80"
    pydsr.ok("services", "add", endpoint, "--learn", "1")
    pydsr.ok("backends", "add", endpoint, f"{BACKENDS[0]}@02:00:00:00:00:11")
    pydsr.ok("backends", "add", endpoint, f"{BACKENDS[1]}@02:00:00:00:00:12")

    def changing() -> int:
        services = pydsr.json("stats")["services"]
        found = next(each for each in services if each["service"].startswith(endpoint))
        return int(found["slots_changing"])

    before = changing()
    assert before > 0
    planned = eventually(lambda: pydsr.json("tidy", "--plan")["changes"])
    assert ("rest", f"{before} slots") == (planned[0]["action"], planned[0]["object"])
    assert before == changing()
    assert f"{before} slots brought to rest" in pydsr.ok("tidy")
    assert 0 == changing()
    pydsr.ok("services", "remove", endpoint)
