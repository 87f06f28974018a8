"""Load and export configuration files, and their JSON Schema."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pydsr.config.export import write_text
from pydsr.config.load import load_file, load_text
from pydsr.config.schema import ServiceShape, json_schema
from pydsr.config.yaml_source import read
from pydsr.model.addresses import EVERY_PORT, Endpoint, MacAddress, Protocol, Tag, parse_tags
from pydsr.model.checks import Check, CommandCheck, DnsCheck, HttpCheck, IcmpCheck, TcpCheck
from pydsr.model.desired_state import DesiredInterface, DesiredService, DesiredState
from pydsr.model.features import Feature
from pydsr.model.health_policy import HealthPolicy, Minimum
from pydsr.model.options import DEFAULT_LEARN_SECONDS, Affinity, ServiceOptions
from pydsr.model.service import BackendState, DesiredBackend, Unserved
from pydsr.model.source_rules import Action
from tests.support.paths import CHECKOUT

EXAMPLE = CHECKOUT / "docs" / "example.yaml"
MAC = MacAddress.parse("02:00:00:00:00:21")
UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN


def backends_of(*entries: str) -> tuple[DesiredBackend, ...]:
    """Load a service with these entries as its backends, and return those."""
    listed = "".join(f"      - {entry}\n" for entry in entries)
    text = f"services:\n  - endpoint: 198.51.100.10:80\n    backends:\n{listed}"
    return load_text("f", text).services[0].backends


A = ip_address("198.51.100.21")

FORMS = {
    "an address": ("198.51.100.21", DesiredBackend(A, 1, UP)),
    "a weight": ("198.51.100.21=3", DesiredBackend(A, 3, UP)),
    "weight 0 drains": ("198.51.100.21=0", DesiredBackend(A, 0, DRAIN)),
    "a MAC": (f"198.51.100.21@{MAC}", DesiredBackend(A, 1, UP, MAC)),
    "a VLAN": (f"198.51.100.21=2@{MAC}%100", DesiredBackend(A, 2, UP, MAC, parse_tags("100"))),
    "IPv6": ("2001:db8::21", DesiredBackend(ip_address("2001:db8::21"), 1, UP)),
    "a mapping": ("{address: 198.51.100.21, weight: 3}", DesiredBackend(A, 3, UP)),
    "a mapping, drained": ("{address: 198.51.100.21, state: drain}", DesiredBackend(A, 1, DRAIN)),
    "a mapping, down": (
        "{address: 198.51.100.21, weight: 0, state: down}",
        DesiredBackend(A, 0, DOWN),
    ),
    "a mapping, weight 0": ("{address: 198.51.100.21, weight: 0}", DesiredBackend(A, 0, DRAIN)),
    "a mapping with a place": (
        f"{{address: 198.51.100.21, mac: '{MAC}', vlan: 100.200}}",
        DesiredBackend(A, 1, UP, MAC, parse_tags("100.200")),
    ),
    "a MAC that YAML 1.1 takes for a time of day": (
        "{address: 198.51.100.21, mac: 12:34:56:12:34:56}",
        DesiredBackend(A, 1, UP, MacAddress.parse("12:34:56:12:34:56")),
    ),
}


@pytest.mark.parametrize(("entry", "expected"), list(FORMS.values()), ids=list(FORMS))
def test_every_form_of_a_backend_is_read(entry: str, expected: DesiredBackend) -> None:
    assert (expected,) == backends_of(entry)


def test_the_example_file_is_read() -> None:
    found = load_file(str(EXAMPLE))
    assert (DesiredInterface("eth0"), DesiredInterface("eth1")) == found.interfaces
    assert (65537, 0x5CA1AB1E0DDBA11) == (found.table_size, found.seed)
    assert {ip_address("198.51.100.10"): Unserved.DROP} == found.policies
    assert ip_address("198.51.100.2") == found.answer_while
    assert {
        IPv4Network("203.0.113.0/24"): Action.DENY,
        IPv6Network("2001:db8:bad::/48"): Action.DENY,
    } == found.rules
    assert [
        "198.51.100.10:80/tcp",
        "198.51.100.10:443/tcp",
        "[2001:db8::10]:443/tcp",
        "198.51.100.53:53/udp",
        "198.51.100.10:*/tcp",
    ] == [str(service.endpoint) for service in found.services]
    web, tls, web6, dns, every = found.services
    sorry = DesiredBackend(ip_address("198.51.100.29"), 1, UP)
    assert (*tls.backends, replace(sorry, state=DOWN)) == web.backends
    assert tls.backends == every.backends
    http = HttpCheck(type="http", path="/healthz", status=("2xx", 304), interval=2.0, timeout=0.5)
    assert HealthPolicy((http, TcpCheck(type="tcp"))) == tls.health
    assert web.health is not None
    assert replace(web.health, minimum=Minimum(50, True), sorry=sorry, slow_start=30.0) == (
        web.health
    )
    assert None is every.health
    assert (
        ServiceOptions(name="web6", affinity=Affinity.SOURCE, netmask6=64, max_new_flows=100)
        == web6.options
    )
    assert {IPv6Network("2001:db8:1::/48"): Action.ALLOW, IPv6Network("::/0"): Action.DENY} == (
        web6.rules
    )
    assert [UP, UP, DRAIN] == [item.state for item in web6.backends]
    assert dns.options.one_packet
    assert Feature.ACL | Feature.GUARD | Feature.VLAN | Feature.EVERY_PORT == found.features


def test_the_example_names_every_key_of_a_service() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    for field in ServiceShape.model_fields.values():
        assert f"{field.alias}:" in text


def test_a_service_takes_every_option_of_the_model() -> None:
    assert {field.name for field in fields(ServiceOptions)} < ServiceShape.model_fields.keys()


def test_a_default_written_out_is_the_same_as_one_left_out() -> None:
    text = "services:\n  - {endpoint: '198.51.100.10:80', learn: 900}\n"
    assert None is load_text("f", text).services[0].options.learn


def test_a_name_may_look_like_a_number() -> None:
    text = "services:\n  - {endpoint: '198.51.100.10:80', name: 80}\n"
    assert "80" == load_text("f", text).services[0].options.name


SCALARS = {
    "7": 7,
    "-7": -7,
    "'7'": "7",
    "007": "007",
    "1e3": "1e3",
    "1.5": "1.5",
    "true": True,
    "True": "True",
    "yes": "yes",
    "~": None,
    "'~'": "~",
    "12:30": "12:30",
    "2001:db8::1": "2001:db8::1",
    "2026-01-01": "2026-01-01",
}


@pytest.mark.parametrize(("text", "expected"), list(SCALARS.items()))
def test_scalars_follow_yaml_1_2(text: str, expected: Any) -> None:
    assert [expected] == read("f", f"- {text}\n").value


def test_the_schema_names_its_draft_and_refuses_unknown_keys() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert ["services"] == schema["required"]
    assert schema["additionalProperties"] is False
    keys = {"answer-while", "interfaces", "table-size", "seed", "rules", "vips", "services"}
    assert keys == set(schema["properties"])
    service = schema["$defs"]["ServiceShape"]
    assert service["additionalProperties"] is False
    assert all("description" in one or "$ref" in one for one in service["properties"].values())
    backend = service["properties"]["backends"]["items"]["anyOf"]
    assert "string" == backend[0]["type"]
    (name, mapping) = service["properties"]["checks"]["items"]["anyOf"]
    assert "string" == name["type"]
    assert {"$ref": "#/$defs/Check"} == mapping
    kinds = schema["$defs"]["Check"]["discriminator"]["mapping"]
    assert {"tcp", "http", "agent"} < kinds.keys()
    assert all(place.removeprefix("#/$defs/") in schema["$defs"] for place in kinds.values())
    check = schema["$defs"]["HttpCheck"]["properties"]
    assert "number" == check["interval"]["type"]
    assert all("description" in one for one in check.values())


def test_a_sorry_backend_is_down_and_the_last_backend() -> None:
    text = """\
services:
  - endpoint: 198.51.100.10:80
    checks: [tcp]
    health: {sorry: 198.51.100.29=2}
    backends: [198.51.100.21]
"""
    (service,) = load_text("f", text).services
    sorry = DesiredBackend(ip_address("198.51.100.29"), 2, DOWN)
    assert (DesiredBackend(A, 1, UP), sorry) == service.backends
    assert service.health is not None
    assert replace(sorry, state=UP) == service.health.sorry


addresses = st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=6, network="fd00::/8")
macs = st.binary(min_size=5, max_size=5).map(lambda octets: MacAddress(b"\x02" + octets))
vlans = st.integers(1, 4094).map(lambda vlan: parse_tags(str(vlan))) | st.tuples(
    st.integers(1, 4094), st.integers(1, 4094)
).map(lambda pair: parse_tags(f"{pair[0]}.{pair[1]}"))


@st.composite
def desired_backends(draw: st.DrawFn) -> DesiredBackend:
    weight = draw(st.integers(0, 65535))
    states = [UP, DRAIN, DOWN] if weight else [DRAIN, DOWN]
    mac = draw(st.none() | macs)
    tags: tuple[Tag, ...] = draw(st.just(()) | vlans) if mac else ()
    address = draw(addresses)
    return DesiredBackend(address, weight, draw(st.sampled_from(states)), mac, tags)


def rules_for(version: int) -> st.SearchStrategy[Any]:
    networks: dict[int, st.SearchStrategy[Any]] = {
        4: st.integers(0, 32).map(lambda n: IPv4Network((0xC0000200 & ~((1 << 32 - n) - 1), n))),
        6: st.integers(0, 64).map(
            lambda n: IPv6Network(((0xFD << 120) & ~((1 << 128 - n) - 1), n))
        ),
    }
    return st.dictionaries(networks[version], st.sampled_from(Action), max_size=4)


CHECKS: tuple[Check, ...] = (
    HttpCheck(type="http", port=8080, path="/yes", status=(200, "3xx"), interval=2.5),
    DnsCheck(type="dns", port=53, name="www.test", answers=("192.0.2.7",), jitter=0.0),
    CommandCheck(type="command", port=1, argv=("true", "0.5", "yes", "~")),
    IcmpCheck(type="icmp"),
)


@st.composite
def policies(draw: st.DrawFn) -> HealthPolicy:
    chosen = draw(st.lists(st.sampled_from(CHECKS), min_size=1, max_size=3))
    sorry = draw(
        st.none() | desired_backends().filter(lambda item: item.weight > 0 and item.state is UP)
    )
    return HealthPolicy(
        tuple(chosen),
        draw(st.none() | st.integers(1, len(chosen))),
        draw(st.builds(Minimum, st.integers(0, 100), st.booleans())),
        sorry,
        draw(st.sampled_from([0.0, 0.5, 30.0])),
        draw(st.sampled_from([DOWN, DRAIN])),
        draw(st.booleans()),
    )


@st.composite
def services(draw: st.DrawFn, endpoint: Endpoint) -> DesiredService:
    affinity = draw(st.sampled_from(Affinity))
    flow = affinity is Affinity.FLOW
    learn = draw(st.none() | st.integers(0, 604800))
    limited = endpoint.protocol.marks_new_flows
    options = ServiceOptions(
        name=draw(st.text("abc :#'\"-~[]{}*&!|>%@`ü0", max_size=20)),
        affinity=affinity,
        netmask4=32 if flow else draw(st.integers(1, 32)),
        netmask6=128 if flow else draw(st.integers(1, 128)),
        one_packet=draw(st.booleans()),
        learn=None if learn == DEFAULT_LEARN_SECONDS[endpoint.protocol] else learn,
        arp=draw(st.booleans()),
        max_new_flows=draw(st.integers(0, 10_000_000)) if limited else 0,
        guard_netmask4=draw(st.integers(1, 32)),
        guard_netmask6=draw(st.integers(1, 128)),
    )
    backends = draw(
        st.lists(desired_backends(), max_size=5, unique_by=lambda backend: backend.address)
    )
    rules = draw(rules_for(endpoint.address.version))
    health = draw(st.none() | policies())
    sorry = health.sorry if health else None
    if health and sorry:
        if sorry.address in {item.address for item in backends}:
            health = replace(health, sorry=None)
        else:
            backends.append(replace(sorry, state=DOWN))
    return DesiredService(endpoint, options, tuple(backends), rules, health)


vip_addresses = st.ip_addresses(v=4, network="192.0.2.0/24") | st.ip_addresses(
    v=6, network="2001:db8::/32"
)
endpoints = st.builds(
    Endpoint, vip_addresses, st.integers(EVERY_PORT, 65535), st.sampled_from(Protocol)
)


@st.composite
def configurations(draw: st.DrawFn) -> DesiredState:
    chosen = draw(st.lists(endpoints, max_size=4, unique=True))
    vips = sorted({endpoint.address for endpoint in chosen}, key=str)
    policies = {
        vip: draw(st.sampled_from([Unserved.PASS, Unserved.DROP]))
        for vip in vips
        if draw(st.booleans())
    }
    names = draw(st.lists(st.from_regex(r"[a-z0-9.]{1,15}", fullmatch=True), unique=True))
    modes = st.sampled_from(["auto", "native", "generic"])
    return DesiredState(
        interfaces=tuple(DesiredInterface(name, draw(modes)) for name in names),
        table_size=draw(st.none() | st.sampled_from([251, 65537])),
        seed=draw(st.none() | st.integers(0, (1 << 64) - 1)),
        policies=policies,
        services=tuple(draw(services(endpoint)) for endpoint in chosen),
        rules=draw(rules_for(4)) | draw(rules_for(6)),
        answer_while=draw(st.none() | addresses),
    )


@given(configurations())
def test_an_exported_state_loads_as_the_same_state(configuration: DesiredState) -> None:
    assert configuration == load_text("f", write_text(configuration))


@given(configurations())
def test_an_export_means_the_same_in_yaml_1_1(configuration: DesiredState) -> None:
    """Other tools read MAC addresses and names as text."""
    document = yaml.safe_load(write_text(configuration))
    for service, found in zip(configuration.services, document["services"], strict=True):
        assert service.options.name == found.get("name", "")
        # The sorry backend comes last, and is not named there.
        for item, entry in zip(service.backends, found["backends"], strict=False):
            if isinstance(entry, dict) and item.mac:
                assert str(item.mac) == entry["mac"]
