"""Parse what users write: addresses, endpoints, MACs, VLANs, backends and options."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.model import errors
from pydsr.model.addresses import EVERY_PORT, Endpoint, MacAddress, Protocol, Tag, parse_address
from pydsr.model.errors import ExitStatus, InputError, PydsrError
from pydsr.model.options import MAX_LEARN_SECONDS, Affinity, ServiceOptions
from pydsr.model.service import MAX_WEIGHT, Backend, BackendState, DesiredBackend, Service
from pydsr.model.snapshot import Counters

REFUSED_ADDRESSES = [
    ("", "not an IP address"),
    ("backend-1", "not an IP address"),
    ("192.0.2", "not an IP address"),
    ("192.0.2.256", "not an IP address"),
    ("192.0.2.1/24", "not an IP address"),
    ("192.0.2.01", "not an IP address"),
    (" 192.0.2.1", "not an IP address"),
    ("2001:db8:::1", "not an IP address"),
    ("0.0.0.0", "the unspecified address"),
    ("::", "the unspecified address"),
    ("127.0.0.1", "a loopback address"),
    ("127.255.0.9", "a loopback address"),
    ("::1", "a loopback address"),
    ("224.0.0.1", "a multicast address"),
    ("ff02::1", "a multicast address"),
    ("255.255.255.255", "the broadcast address"),
    ("fe80::1%eth0", "has a zone"),
    ("::ffff:192.0.2.1", "an IPv4-mapped address"),
]


@pytest.mark.parametrize(
    "text", ["192.0.2.1", "10.0.0.255", "169.254.1.1", "2001:db8::1", "fe80::1", "fd00::ff"]
)
def test_a_host_address_is_accepted(text: str) -> None:
    assert text == str(parse_address(text))


@pytest.mark.parametrize(("text", "message"), REFUSED_ADDRESSES)
def test_an_address_that_no_host_can_have_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_address(text)
    assert caught.value.message.startswith(repr(text))
    assert caught.value.hint


def test_the_hint_for_a_mapped_address_is_the_plain_one() -> None:
    with pytest.raises(InputError) as caught:
        parse_address("::ffff:192.0.2.1")
    assert "write 192.0.2.1" == caught.value.hint


@pytest.mark.parametrize(
    ("text", "address", "port", "protocol", "written"),
    [
        ("198.51.100.10:80", "198.51.100.10", 80, "tcp", "198.51.100.10:80/tcp"),
        ("198.51.100.10:80/tcp", "198.51.100.10", 80, "tcp", "198.51.100.10:80/tcp"),
        ("198.51.100.10:53/udp", "198.51.100.10", 53, "udp", "198.51.100.10:53/udp"),
        ("198.51.100.10:1", "198.51.100.10", 1, "tcp", "198.51.100.10:1/tcp"),
        ("198.51.100.10:65535", "198.51.100.10", 65535, "tcp", "198.51.100.10:65535/tcp"),
        ("198.51.100.10:00080", "198.51.100.10", 80, "tcp", "198.51.100.10:80/tcp"),
        ("[2001:db8::10]:443", "2001:db8::10", 443, "tcp", "[2001:db8::10]:443/tcp"),
        ("[2001:DB8:0::10]:53/udp", "2001:db8::10", 53, "udp", "[2001:db8::10]:53/udp"),
    ],
)
def test_an_endpoint_is_read_and_written(
    text: str, address: str, port: int, protocol: str, written: str
) -> None:
    endpoint = Endpoint.parse(text)
    assert Endpoint(ip_address(address), port, Protocol(protocol)) == endpoint
    assert written == str(endpoint)
    assert endpoint == Endpoint.parse(str(endpoint))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no port"),
        ("198.51.100.10", "no port"),
        (":80", "no port"),
        ("80", "no port"),
        ("198.51.100.10/tcp", "no port"),
        ("198.51.100.10:", "from 1 to 65535"),
        ("198.51.100.10:0", "from 1 to 65535"),
        ("198.51.100.10:65536", "from 1 to 65535"),
        ("198.51.100.10:999999", "from 1 to 65535"),
        ("198.51.100.10:-1", "from 1 to 65535"),
        ("198.51.100.10:+80", "from 1 to 65535"),
        ("198.51.100.10: 80", "from 1 to 65535"),
        ("198.51.100.10:http", "from 1 to 65535"),
        ("198.51.100.10:٨٠", "from 1 to 65535"),
        ("198.51.100.10:80/dccp", "unknown protocol 'dccp'"),
        ("198.51.100.10:**", "the port must be a number"),
        ("198.51.100.10:", "the port must be a number"),
        ("198.51.100.10:80/TCP", "unknown protocol 'TCP'"),
        ("198.51.100.10:80/", "unknown protocol ''"),
        ("198.51.100.10:80/tcp/udp", "unknown protocol 'tcp/udp'"),
        ("2001:db8::10:80", "needs brackets"),
        ("[198.51.100.10]:80", "brackets are for IPv6"),
        ("[]:80", "brackets are for IPv6"),
        ("[2001:db8::10]", "needs brackets"),
        ("[fe80::1%eth0]:80", "has a zone"),
        ("example.net:80", "not an IP address"),
    ],
)
def test_a_malformed_endpoint_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Endpoint.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("address", [address for address, _ in REFUSED_ADDRESSES])
def test_an_endpoint_needs_a_host_address(address: str) -> None:
    with pytest.raises(InputError):
        Endpoint.parse(f"[{address}]:80" if ":" in address else f"{address}:80")


def test_endpoints_sort_by_family_address_port_and_protocol() -> None:
    texts = [
        "192.0.2.9:80/tcp",
        "192.0.2.10:53/tcp",
        "192.0.2.10:53/udp",
        "192.0.2.10:443/tcp",
        "[2001:db8::1]:1/tcp",
    ]
    assert texts == [str(e) for e in sorted(Endpoint.parse(text) for text in reversed(texts))]
    assert all(one < other for one, other in pairwise(map(Endpoint.parse, texts)))


@given(st.ip_addresses(), st.integers(1, 65535), st.sampled_from(list(Protocol)))
def test_every_valid_endpoint_survives_writing_and_reading(
    address: Any, port: int, protocol: Protocol
) -> None:
    endpoint = Endpoint(address, port, protocol)
    try:
        again = Endpoint.parse(str(endpoint))
    except InputError:
        with pytest.raises(InputError):
            parse_address(str(address))
    else:
        assert endpoint == again


@given(st.text(max_size=40) | st.text("0123456789abf:.[]/=@%-", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_address, Endpoint.parse, DesiredBackend.parse, MacAddress.parse):
        with suppress(InputError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("02:00:00:00:00:01", "02:00:00:00:00:01"),
        ("02-00-00-00-00-0a", "02:00:00:00:00:0a"),
        ("AA:bb:CC:dd:EE:ff", "aa:bb:cc:dd:ee:ff"),
        ("00:00:00:00:00:01", "00:00:00:00:00:01"),
    ],
)
def test_a_mac_address_is_read_and_written(text: str, written: str) -> None:
    mac = MacAddress.parse(text)
    assert written == str(mac)
    assert mac == MacAddress(bytes.fromhex(written.replace(":", "")))
    assert mac.is_unicast


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a MAC address"),
        ("02:00:00:00:00", "not a MAC address"),
        ("02:00:00:00:00:01:02", "not a MAC address"),
        ("2:0:0:0:0:1", "not a MAC address"),
        ("02:00:00:00:00:0g", "not a MAC address"),
        ("020000000001", "not a MAC address"),
        ("02:00:00:00:00:01\n", "not a MAC address"),
        ("00:00:00:00:00:00", "a zero MAC address"),
        ("ff:ff:ff:ff:ff:ff", "a multicast MAC address"),
        ("01:00:5e:00:00:01", "a multicast MAC address"),
        ("33:33:00:00:00:01", "a multicast MAC address"),
    ],
)
def test_a_mac_that_no_backend_can_have_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MacAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "address", "weight", "mac"),
    [
        ("192.0.2.21", "192.0.2.21", 1, None),
        ("192.0.2.21=2", "192.0.2.21", 2, None),
        ("192.0.2.21=0", "192.0.2.21", 0, None),
        ("192.0.2.21=65535", "192.0.2.21", MAX_WEIGHT, None),
        ("192.0.2.21=007", "192.0.2.21", 7, None),
        ("192.0.2.21@02:00:00:00:00:01", "192.0.2.21", 1, "02:00:00:00:00:01"),
        ("192.0.2.21=3@02-00-00-00-00-01", "192.0.2.21", 3, "02:00:00:00:00:01"),
        ("2001:db8::21", "2001:db8::21", 1, None),
        ("[2001:db8::21]=4", "2001:db8::21", 4, None),
        ("2001:db8::21=4@02:00:00:00:00:01", "2001:db8::21", 4, "02:00:00:00:00:01"),
    ],
)
def test_a_backend_is_read(text: str, address: str, weight: int, mac: str | None) -> None:
    state = BackendState.UP if weight else BackendState.DRAIN
    by_hand = MacAddress.parse(mac) if mac else None
    expected = DesiredBackend(ip_address(address), weight, state, by_hand)
    assert expected == DesiredBackend.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.21=", "whole number from 0 to 65535"),
        ("192.0.2.21=-1", "whole number from 0 to 65535"),
        ("192.0.2.21=1.5", "whole number from 0 to 65535"),
        ("192.0.2.21=65536", "whole number from 0 to 65535"),
        ("192.0.2.21=1=2", "whole number from 0 to 65535"),
        ("192.0.2.21=heavy", "whole number from 0 to 65535"),
        ("192.0.2.21=٣", "whole number from 0 to 65535"),
        ("192.0.2.21@", "'' is not a MAC address"),
        ("192.0.2.21@02:00:00:00:00:01=2", "is not a MAC address"),
        ("192.0.2.21@00:00:00:00:00:00", "a zero MAC address"),
        ("192.0.2.21:80", "not an IP address"),
        ("=2", "'' is not an IP address"),
    ],
)
def test_a_malformed_backend_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        DesiredBackend.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "web"},
        {"name": "ünï 中"},
        {"name": "x" * 63},
        {"affinity": Affinity.SOURCE, "netmask4": 24, "netmask6": 64},
        {"affinity": Affinity.DESTINATION, "netmask4": 1, "netmask6": 1},
        {"affinity": Affinity.SOURCE},
        {"learn": 0},
        {"learn": MAX_LEARN_SECONDS},
        {"one_packet": True, "arp": False},
    ],
)
def test_valid_options_are_accepted(options: dict[str, Any]) -> None:
    taken = ServiceOptions(**options)
    assert options == {name: getattr(taken, name) for name in options}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "x" * 64}, "the name 'x+' cannot be used"),
        ({"name": "中" * 22}, "the name '中+' cannot be used"),
        ({"name": "two\nlines"}, "cannot be used"),
        ({"affinity": Affinity.SOURCE, "netmask4": 0}, "netmask4 0 is out of range"),
        ({"affinity": Affinity.SOURCE, "netmask4": 33}, "netmask4 33 is out of range"),
        ({"affinity": Affinity.SOURCE, "netmask6": 129}, "netmask6 129 is out of range"),
        ({"affinity": Affinity.SOURCE, "netmask6": -1}, "netmask6 -1 is out of range"),
        ({"netmask4": 24}, "no effect with affinity by flow"),
        ({"netmask6": 64}, "no effect with affinity by flow"),
        ({"learn": -1}, "learn -1 is out of range"),
        ({"learn": MAX_LEARN_SECONDS + 1}, "out of range"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ServiceOptions(**options)
    assert caught.value.hint


def make_service(text: str, learn: int | None = None) -> Service:
    """Return a service with two backends, 192.0.2.21 and 192.0.2.22."""
    backends = tuple(
        Backend(number, ip_address(f"192.0.2.2{number}"), 1, None, False, BackendState.UP, 0)
        for number in (1, 2)
    )
    return Service(1, Endpoint.parse(text), ServiceOptions(learn=learn), backends)


def test_a_service_finds_its_backend_by_address() -> None:
    service = make_service("198.51.100.10:80")
    assert service.backends[1] == service.backend(ip_address("192.0.2.22"))
    assert service.backend(ip_address("192.0.2.23")) is None


@pytest.mark.parametrize(
    ("endpoint", "learn", "expected"),
    [
        ("198.51.100.10:80", None, 900),
        ("198.51.100.10:53/udp", None, 120),
        ("198.51.100.10:80", 5, 5),
        ("198.51.100.10:80", 0, 0),
    ],
)
def test_a_service_learns_for_its_option_or_the_default(
    endpoint: str, learn: int | None, expected: int
) -> None:
    assert expected == make_service(endpoint, learn).learn_seconds


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Counters(), Counters(), Counters(0, 0, 0)),
        (Counters(1, 60, 1), Counters(2, 3000, 0), Counters(3, 3060, 1)),
        (Counters(1, 60, None), Counters(2, 3000, 5), Counters(3, 3060, None)),
        (Counters(1, 60, None), Counters(2, 3000, None), Counters(3, 3060, None)),
    ],
)
def test_counters_add_up_without_unknown_ones(
    one: Counters, other: Counters, expected: Counters
) -> None:
    assert expected == one + other
    assert expected == other + one


def test_the_exit_statuses_are_the_documented_ones() -> None:
    expected = {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "BAD_INPUT": 3,
        "CANNOT": 4,
        "NOT_AS_DESIRED": 5,
        "INTERRUPTED": 130,
    }
    assert expected == {status.name: status.value for status in ExitStatus}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.PydsrError, ExitStatus.FAILED),
        (errors.InputError, ExitStatus.BAD_INPUT),
        (errors.BackendUnresolvedError, ExitStatus.FAILED),
        (errors.PermissionDeniedError, ExitStatus.CANNOT),
        (errors.EnvironmentCannotError, ExitStatus.CANNOT),
        (errors.NotAttachedError, ExitStatus.FAILED),
        (errors.BusyError, ExitStatus.FAILED),
        (errors.InternalError, ExitStatus.FAILED),
    ],
)
def test_every_error_has_its_exit_status(error: type[PydsrError], status: ExitStatus) -> None:
    raised = error("what is wrong", "what to do")
    assert (status, "what is wrong", "what to do") == (raised.status, raised.message, raised.hint)
    assert "what is wrong" == str(raised)


@pytest.mark.parametrize("text", ["198.51.100.10:*/tcp", "[2001:db8::10]:*/udp", "10.0.0.1:*/sctp"])
def test_an_endpoint_of_every_port_is_read_and_written(text: str) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint.port == EVERY_PORT
    assert str(endpoint) == text


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("10.0.0.1@02:00:00:00:00:01%200", ((0x8100, 200),)),
        ("10.0.0.1=3@02:00:00:00:00:01%100.200", ((0x88A8, 100), (0x8100, 200))),
        ("10.0.0.1@02:00:00:00:00:01", ()),
    ],
)
def test_a_backend_s_mac_can_be_in_vlans(text: str, tags: tuple[tuple[int, int], ...]) -> None:
    assert DesiredBackend.parse(text).tags == tuple(Tag(*tag) for tag in tags)


@pytest.mark.parametrize("vlan", ["", "0", "4095", "x", "1.2.3", "1.", "-1", "99999"])
def test_an_invalid_vlan_is_refused(vlan: str) -> None:
    with pytest.raises(InputError, match="is not a VLAN"):
        DesiredBackend.parse(f"10.0.0.1@02:00:00:00:00:01%{vlan}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_flows": -1}, "max-new-flows -1"),
        ({"max_new_flows": 10_000_001}, "max-new-flows 10000001"),
        ({"guard_netmask4": 33}, "guard-netmask4 33"),
        ({"guard_netmask6": 0}, "guard-netmask6 0"),
    ],
)
def test_limits_of_new_flows_out_of_range_are_refused(
    options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ServiceOptions(**options)  # type: ignore[arg-type]
