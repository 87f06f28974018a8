"""Who may send: ``pydsr acl`` and ``pydsr vips`` as a user meets them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import AS_NOBODY, Pydsr
from tests.support.netns.namespaces import BACKENDS, made_directory, made_wire

WEB, SSH, WEB6 = "10.66.0.80:80", "10.66.0.80:22", "[fd66::80]:80"
VIP = "10.66.0.80"
CLIENT = "10.66.0.101:40000"


@pytest.fixture
def served(quick: Pydsr) -> Pydsr:
    """A balancer with two services of one VIP; its program may have any feature already."""
    return _with_services(quick)


@pytest.fixture
def fresh(balancer: Pydsr) -> Pydsr:
    """The same with a program that has no feature yet."""
    return _with_services(balancer)


def _with_services(pydsr: Pydsr) -> Pydsr:
    for service in (WEB, SSH):
        pydsr.ok("backends", "set", service, BACKENDS[0])
    return pydsr


def explained(pydsr: Pydsr, endpoint: str, *options: str) -> Any:
    """Return what becomes of a client's packet."""
    return pydsr.json("explain", endpoint, "--from", CLIENT, *options)


def test_an_allow_list_keeps_others_out(served: Pydsr) -> None:
    served.ok("acl", "allow", SSH, "192.0.2.0/24")
    served.ok("acl", "deny", SSH, "any")
    assert explained(served, SSH)["reason"] == "denied"
    assert explained(served, WEB)["reason"] == "forwarded"
    inside = served.json("explain", SSH, "--from", "192.0.2.7:1")
    assert inside["reason"] == "forwarded"


def test_rules_are_listed_and_removed(served: Pydsr) -> None:
    served.ok("acl", "deny", "all", "203.0.113.0/24", "2001:db8::/32")
    served.ok("acl", "allow", WEB, "192.0.2.7")
    everyone = {
        "scope": "all",
        "rules": [
            {"source": "203.0.113.0/24", "action": "deny"},
            {"source": "2001:db8::/32", "action": "deny"},
        ],
    }
    web = {"scope": f"{WEB}/tcp", "rules": [{"source": "192.0.2.7/32", "action": "allow"}]}
    assert served.json("acl", "list") == [everyone, web]
    assert served.json("acl", "list", WEB) == [web]
    assert served.json("acl", "list", "all") == [everyone]
    assert served.json("acl", "list", SSH) == [{"scope": f"{SSH}/tcp", "rules": []}]
    served.ok("acl", "remove", "all", "203.0.113.0/24", "2001:db8::/32")
    served.ok("acl", "remove", WEB, "192.0.2.7")
    assert served.json("acl", "list") == []


def test_a_plan_changes_no_rule(fresh: Pydsr) -> None:
    plan = fresh.json("acl", "deny", WEB, "any", "--plan")
    assert plan["changes"] == [
        {
            "action": "set rule",
            "object": f"{WEB}/tcp from 0.0.0.0/0",
            "from": None,
            "to": "deny",
        }
    ]
    assert fresh.json("acl", "list") == []
    assert "acl" not in fresh.json("status")["features"]


def test_the_first_rule_compiles_them_in_and_the_next_attach_leaves_them_out(
    fresh: Pydsr,
) -> None:
    before = fresh.json("status")["interfaces"][0]["program_id"]
    fresh.ok("acl", "deny", "all", "203.0.113.0/24")
    status = fresh.json("status")
    assert "acl" in status["features"]
    assert status["interfaces"][0]["program_id"] != before
    fresh.ok("acl", "deny", "all", "203.0.114.0/24")
    assert fresh.json("status")["interfaces"] == status["interfaces"]
    fresh.ok("acl", "remove", "all", "203.0.113.0/24", "203.0.114.0/24")
    assert fresh.json("status")["unused_features"] == ["acl"]
    fresh.ok("attach", "eth0")
    assert "acl" not in fresh.json("status")["features"]


def test_rules_go_with_their_service(served: Pydsr) -> None:
    served.ok("acl", "deny", SSH, "any")
    served.ok("services", "remove", SSH)
    assert served.json("acl", "list") == []
    served.ok("backends", "set", SSH, BACKENDS[0])
    assert explained(served, SSH)["reason"] == "forwarded"


def test_a_program_attached_without_rules_takes_none(fresh: Pydsr) -> None:
    fresh.ok("attach", "eth0", "--without", "acl")
    refused = fresh("acl", "deny", "all", "any")
    assert refused.status == ExitStatus.BAD_INPUT
    assert "acl" in refused.stderr
    assert "--with acl" in refused.stderr
    assert fresh.json("acl", "list") == []
    fresh.ok("attach", "eth0", "--with", "acl")
    fresh.ok("acl", "deny", "all", "any")
    assert explained(fresh, WEB)["reason"] == "denied"


BAD_INPUT = {
    "no scope": (("acl", "deny", "everyone", "any"), "is not an endpoint"),
    "unknown service": (("acl", "deny", "10.66.0.80:81", "any"), "there is no service"),
    "no source": (("acl", "deny", "all", "nobody"), "is no source"),
    "host bits": (("acl", "deny", "all", "192.0.2.7/24"), "did you mean 192.0.2.0/24"),
    "other version": (("acl", "deny", WEB, "2001:db8::/32"), "cannot send to"),
    "no such rule": (("acl", "remove", "all", "192.0.2.0/24"), "no rule of all"),
    "rules of no service": (("acl", "list", "10.66.0.80:81"), "there is no service"),
    "no VIP": (("vips", "set", "10.66.0.81", "--unserved", "drop"), "VIP of no service"),
    "every port of a packet": (("explain", f"{VIP}:*", "--from", CLIENT), "has one port"),
    "not attached": (("explain", WEB, "--from", CLIENT, "--in", "eth9"), "not attached to eth9"),
    "limit of datagrams": (
        ("services", "add", f"{VIP}:53/udp", "--max-new-flows", "5"),
        "do not mark new flows",
    ),
    "limit": (("services", "add", f"{VIP}:81", "--max-new-flows", "-1"), "out of range"),
    "no feature": (("attach", "eth0", "--with", "speed"), "no feature 'speed'"),
    "both": (("attach", "eth0", "--with", "acl", "--without", "acl"), "name it once"),
}


@pytest.fixture(scope="module")
def untouched() -> Iterator[Pydsr]:
    """A balancer that every test leaves as it is."""
    with made_wire() as (lb, _), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0")
        pydsr.ok("backends", "set", WEB, BACKENDS[0])
        yield pydsr


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused_and_changes_nothing(untouched: Pydsr, name: str) -> None:
    arguments, message = BAD_INPUT[name]
    before = untouched.json("status")
    done = untouched(*arguments)
    assert done.status == ExitStatus.BAD_INPUT, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert untouched.json("acl", "list") == []
    assert untouched.json("status") == before


def test_a_vip_says_what_becomes_of_other_ports(served: Pydsr) -> None:
    other = f"{VIP}:9"
    assert explained(served, other)["reason"] == "no_service"
    for policy, reason in (("pass", "unserved_passed"), ("drop", "unserved_dropped")):
        served.ok("vips", "set", VIP, "--unserved", policy)
        assert explained(served, other)["reason"] == reason
    assert served.json("vips", "list") == [
        {"vip": VIP, "unserved": "drop", "services": [f"{SSH}/tcp", f"{WEB}/tcp"]}
    ]
    assert explained(served, WEB)["reason"] == "forwarded"


def test_a_policy_goes_with_the_vip_s_last_service(served: Pydsr) -> None:
    served.ok("vips", "set", VIP, "--unserved", "pass")
    served.ok("services", "remove", SSH)
    assert served.json("vips", "list")[0]["unserved"] == "pass"
    served.ok("services", "remove", WEB)
    assert served.json("vips", "list") == []
    served.ok("backends", "set", WEB, BACKENDS[0])
    assert served.json("vips", "list")[0]["unserved"] == "count"


def test_a_service_of_every_port_takes_the_ports_that_are_left(fresh: Pydsr) -> None:
    fresh.ok("backends", "set", f"{VIP}:*", BACKENDS[1])
    trace = explained(fresh, f"{VIP}:4711")
    assert (trace["service"], trace["backend"]) == (f"{VIP}:*/tcp", BACKENDS[1])
    trace = explained(fresh, WEB)
    assert (trace["service"], trace["backend"]) == (f"{WEB}/tcp", BACKENDS[0])
    assert "every-port" in fresh.json("status")["features"]


def test_a_limit_of_new_flows_is_listed(fresh: Pydsr) -> None:
    fresh.ok("services", "add", f"{VIP}:25", "--max-new-flows", "10", "--guard-netmask4", "24")
    listed = {one["service"]: one for one in fresh.json("services", "list")}
    assert listed[f"{VIP}:25/tcp"]["max_new_flows"] == 10
    assert listed[f"{VIP}:25/tcp"]["guard_netmask4"] == 24
    assert listed[f"{WEB}/tcp"]["max_new_flows"] is None
    assert "guard" in fresh.json("status")["features"]


def test_sctp_is_served(served: Pydsr) -> None:
    served.ok("backends", "set", f"{VIP}:5060/sctp", BACKENDS[1])
    trace = explained(served, f"{VIP}:5060/sctp", "--syn")
    assert (trace["reason"], trace["backend"]) == ("forwarded", BACKENDS[1])


def test_the_reasons_are_explained_without_a_balancer_or_privilege(served: Pydsr) -> None:
    nobody = Pydsr(served.host, served.bpffs, wrapper=AS_NOBODY)
    reasons = nobody.json("stats", "--explain")
    assert {"reason", "verdict", "text"} == set(reasons[0])
    assert "denied" in [one["reason"] for one in reasons]
    assert "pydsr acl" in nobody.ok("stats", "--explain")
