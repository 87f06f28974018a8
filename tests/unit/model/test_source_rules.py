"""Source rules as values: how they are written, changed and compared."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from pydsr.model import source_rules
from pydsr.model.addresses import Endpoint
from pydsr.model.errors import InputError
from pydsr.model.source_rules import ANY4, ANY6, Action
from tests.support.source_rules import is_denied

WEB4, WEB6 = Endpoint.parse("198.51.100.10:80"), Endpoint.parse("[2001:db8::10]:80")
ALLOW, DENY = Action.ALLOW, Action.DENY


def test_sources_are_prefixes_addresses_or_any() -> None:
    assert source_rules.parse_networks(["192.0.2.0/24", "192.0.2.7"], WEB4) == (
        ip_network("192.0.2.0/24"),
        ip_network("192.0.2.7/32"),
    )
    assert source_rules.parse_networks(["any"], WEB4) == (ANY4,)
    assert source_rules.parse_networks(["any"], WEB6) == (ANY6,)
    assert source_rules.parse_networks(["any", "::/0"], None) == (ANY4, ANY6)


@pytest.mark.parametrize(
    ("text", "scope", "message"),
    [
        ("192.0.2.7/24", WEB4, "bits set behind its prefix"),
        ("2001:db8::1/32", WEB6, "bits set behind its prefix"),
        ("2001:db8::/32", WEB4, "cannot send to 198.51.100.10:80/tcp"),
        ("192.0.2.0/24", WEB6, "cannot send to"),
        ("192.0.2.0/33", None, "is no source"),
        ("everyone", None, "is no source"),
        ("", None, "is no source"),
        ("fe80::1%eth0", None, "is no source"),
        ("::ffff:192.0.2.7", None, "IPv4-mapped"),
    ],
)
def test_what_is_no_source_is_refused(text: str, scope: Endpoint | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        source_rules.parse_networks([text], scope)


def test_the_hint_for_host_bits_names_the_network() -> None:
    with pytest.raises(InputError) as caught:
        source_rules.parse_networks(["192.0.2.7/24"], None)
    assert "192.0.2.0/24" in caught.value.hint


def test_scopes_read_as_they_are_written() -> None:
    assert source_rules.parse_scope("all") is None
    assert (
        source_rules.scope_name(source_rules.parse_scope("198.51.100.10:80"))
        == "198.51.100.10:80/tcp"
    )
    with pytest.raises(InputError):
        source_rules.parse_scope("everything")


def test_a_rule_can_be_set_changed_and_removed() -> None:
    network, other = ip_network("192.0.2.0/24"), ip_network("203.0.113.0/24")
    rules = source_rules.with_rules({}, [network, other], DENY)
    changed = source_rules.with_rules(rules, [network], ALLOW)
    assert changed == {network: ALLOW, other: DENY}
    assert source_rules.without_rules(changed, [network]) == {other: DENY}
    with pytest.raises(InputError, match=r"no rule of 198.51.100.10:80/tcp for 192.0.2.0/24"):
        source_rules.without_rules({other: DENY}, [network], WEB4)


def test_changes_say_what_was_and_what_is() -> None:
    kept, new, gone = (ip_network(f"10.{n}.0.0/16") for n in (1, 2, 3))
    changes = source_rules.rule_changes(None, {kept: DENY, gone: DENY}, {kept: ALLOW, new: ALLOW})
    assert [(c.action, c.object, c.before, c.after) for c in changes] == [
        ("set rule", "all from 10.1.0.0/16", "deny", "allow"),
        ("set rule", "all from 10.2.0.0/16", None, "allow"),
        ("remove rule", "all from 10.3.0.0/16", "deny", None),
    ]


def test_the_longest_prefix_decides() -> None:
    rules = {ANY4: DENY, ip_network("192.0.2.0/24"): ALLOW, ip_network("192.0.2.7/32"): DENY}
    decided = {text: is_denied(rules, ip_address(text)) for text in ("192.0.2.7", "192.0.2.8")}
    assert decided == {"192.0.2.7": True, "192.0.2.8": False}
    assert is_denied(rules, ip_address("203.0.113.1"))
    assert not is_denied(rules, ip_address("2001:db8::1"))
