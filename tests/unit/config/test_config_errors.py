"""The message for each kind of error in a configuration file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pydsr.config.load import load_file, load_text
from pydsr.model.errors import ExitStatus, InputError

SERVICE = """\
services:
  - endpoint: 198.51.100.10:80
"""

ERRORS = {
    "an empty file": ("", "f:1: services: is missing"),
    "only comments": ("# nothing\n", "f:1: services: is missing"),
    "a list for the file": ("- a\n", "f:1: must be a mapping, not a list"),
    "invalid YAML": (
        "services: [\n",
        "f:2: is not valid YAML: while parsing a flow node, did not find expected node content",
    ),
    "a tab": (
        "services:\n\t- a\n",
        "f:2: is not valid YAML: while scanning for the next token, "
        "found character that cannot start any token",
    ),
    "two documents": (
        "services: []\n---\nservices: []\n",
        "f:2: has a second document: a file has only one",
    ),
    "a duplicate key": ("services: []\nservices: []\n", "f:2: services: is there twice"),
    "a duplicate key of a service": (
        SERVICE + "    name: a\n    name: b\n",
        "f:4: services[0].name: is there twice",
    ),
    "a list as a key": (
        "services: []\n? [a]\n: b\n",
        "f:2: a key must be a plain text",
    ),
    "two documents, the first without services": (
        "vips: {}\n---\nservices: []\n",
        "f has 2 errors\nf:1: services: is missing\n"
        "f:2: has a second document: a file has only one",
    ),
    "an anchor defined twice": (
        "services: [&a {endpoint: 198.51.100.10:80}]\nseed: &a x\n",
        "f:2: seed: the seed 'x' is not a hexadecimal number of up to 16 digits "
        "(make one: openssl rand -hex 8)",
    ),
    "an error behind an alias": (
        SERVICE + "    backends: &pool\n      - 192.0.2.1\n      - 192.0.2.2=x\n"
        "  - endpoint: 198.51.100.11:80\n    backends: *pool\n",
        "f has 2 errors\n"
        + "\n".join(
            f"f:5: services[{number}].backends[1]: '192.0.2.2=x': the weight must be a whole "
            "number from 0 to 65535 (weight 2 gets twice the flows of weight 1; 0 drains)"
            for number in (0, 1)
        ),
    ),
    "an alias without an anchor": (
        "services: *pool\n",
        "f:1: is not valid YAML: there is no &pool before this",
    ),
    "values nested too deeply": (
        "services: " + 2000 * "[",
        "f:1: is not valid YAML: more than 100 levels are nested",
    ),
    "keys nested too deeply": (
        "services: []\n" + 2000 * "? ",
        "f:2: is not valid YAML: more than 100 levels are nested",
    ),
    "aliases that stand for more values than fit in memory": (
        "a0: &a0 [x]\n"
        + "".join(f"a{n}: &a{n} [{','.join(9 * [f'*a{n - 1}'])}]\n" for n in range(1, 30))
        + "services: *a29\n",
        "f has 39 errors\n"
        + "\n".join(
            f"f:{n + 1}: a{n}: there is no such key; there are: answer-while, interfaces, rules, "
            "seed, services, table-size, vips"
            for n in range(30)
        )
        + "".join(f"\nf:30: services[{n}]: must be a mapping, not a list" for n in range(9)),
    ),
    "an alias inside its anchor": (
        "services: &all\n  - *all\n",
        "f:2: is not valid YAML: there is no &all before this",
    ),
    "an unknown key": (
        "services: []\nservies: []\n",
        "f:2: servies: there is no such key; did you mean 'services'?",
    ),
    "an unknown key without a similar one": (
        SERVICE + "    backends:\n      - {address: 198.51.100.21, xyz: 1}\n",
        "f:4: services[0].backends[0].xyz: there is no such key; "
        "there are: address, mac, state, vlan, weight",
    ),
    "an underscore for a dash": (
        SERVICE + "    one_packet: true\n",
        "f:3: services[0].one_packet: there is no such key; did you mean 'one-packet'?",
    ),
    "a check without a type": (
        SERVICE + "    checks:\n      - {interval: 1}\n",
        "f:4: services[0].checks[0].type: is missing",
    ),
    "a check of an unknown type": (
        SERVICE + "    checks:\n      - interval: 1\n        type: htp\n",
        "f:5: services[0].checks[0].type: there is no 'htp'; did you mean 'http'?",
    ),
    "a check by an unknown name": (
        SERVICE + "    checks: [tpc]\n",
        "f:3: services[0].checks[0].type: there is no 'tpc'; did you mean 'tcp'?",
    ),
    "an unknown key of a check": (
        SERVICE + "    checks:\n      - type: http\n        pth: /\n",
        "f:5: services[0].checks[0].pth: there is no such key; did you mean 'path'?",
    ),
    "a check that takes longer than its interval": (
        SERVICE + "    checks:\n      - {type: tcp, interval: 0.5}\n",
        "f:4: services[0].checks[0]: timeout 1 is above interval 0.5",
    ),
    "an invalid interval": (
        SERVICE + "    checks:\n      - type: tcp\n        interval: 2s\n",
        "f:5: services[0].checks[0].interval: must be a number, not '2s'",
    ),
    "an interval of zero": (
        SERVICE + "    checks:\n      - type: tcp\n        interval: 0\n",
        "f:5: services[0].checks[0].interval: must be above 0, not 0",
    ),
    "an invalid status": (
        SERVICE + "    checks:\n      - {type: http, status: [200, true]}\n",
        "f has 2 errors\n"
        "f:4: services[0].checks[0].status[1]: must be a whole number, not true\n"
        "f:4: services[0].checks[0].status[1]: must be text, not true",
    ),
    "a check without a port of a service of every port": (
        "services:\n  - endpoint: 198.51.100.10:*\n    checks: [icmp, tcp]\n",
        "f:3: services[0].checks[1]: needs a port: 198.51.100.10:*/tcp is a service of every port",
    ),
    "health without checks": (
        SERVICE + "    health: {slow-start: 5}\n",
        "f:3: services[0].health: has no effect without checks",
    ),
    "an unknown key of health": (
        SERVICE + "    checks: [tcp]\n    health: {slowstart: 5}\n",
        "f:4: services[0].health.slowstart: there is no such key; did you mean 'slow-start'?",
    ),
    "more checks needed than configured": (
        SERVICE + "    checks: [tcp]\n    health:\n      needed: 2\n",
        "f:5: services[0].health.needed: is 2, but there are 1 checks",
    ),
    "an invalid number of checks": (
        SERVICE + "    checks: [tcp]\n    health: {needed: some}\n",
        "f:4: services[0].health.needed: 'some' is not a number of checks "
        "(write all, any, or a number)",
    ),
    "an invalid minimum": (
        SERVICE + "    checks: [tcp]\n    health: {minimum-healthy: half}\n",
        "f:4: services[0].health.minimum-healthy: 'half' is not a minimum of healthy backends "
        "(write a number, or 0% to 100%)",
    ),
    "a sorry backend that is a backend": (
        SERVICE
        + "    checks: [tcp]\n    health:\n      sorry: 198.51.100.21\n"
        + "    backends: [198.51.100.21]\n",
        "f:5: services[0].health.sorry: backend 198.51.100.21 is named twice",
    ),
    "a sorry backend of weight 0": (
        SERVICE + "    checks: [tcp]\n    health: {sorry: 198.51.100.29=0}\n",
        "f:4: services[0].health.sorry: must have a weight and no state: "
        "the daemon sets it up when it is needed",
    ),
    "an unknown key of an interface": (
        "interfaces:\n  - {name: eth0, mod: native}\nservices: []\n",
        "f:2: interfaces[0].mod: there is no such key; did you mean 'mode'?",
    ),
    "an unknown key of rules": (
        "rules: {alow: []}\nservices: []\n",
        "f:1: rules.alow: there is no such key; did you mean 'allow'?",
    ),
    "an unknown key of a VIP": (
        "vips:\n  198.51.100.10: {unservd: drop}\n" + SERVICE,
        "f:2: vips[198.51.100.10].unservd: there is no such key; did you mean 'unserved'?",
    ),
    "a duplicate interface": (
        "interfaces: [eth0, eth1, eth0]\nservices: []\n",
        "f:1: interfaces[2]: eth0 is named twice",
    ),
    "an interface without a name": (
        "interfaces:\n  - mode: native\nservices: []\n",
        "f:2: interfaces[0].name: is missing",
    ),
    "an unknown mode": (
        "interfaces:\n  - {name: eth0, mode: fast}\nservices: []\n",
        "f:2: interfaces[0].mode: must be 'auto', 'native' or 'generic', not 'fast'",
    ),
    "a table size that is not a prime": (
        "table-size: 65536\nservices: []\n",
        "f:1: table-size: table size 65536 is not a prime from 251 to 1048573 "
        "(try 65537; a hundred slots or more for each backend balance well)",
    ),
    "an invalid seed": (
        "seed: xyz\nservices: []\n",
        "f:1: seed: the seed 'xyz' is not a hexadecimal number of up to 16 digits "
        "(make one: openssl rand -hex 8)",
    ),
    "an invalid VRRP address": (
        "answer-while: eth0\n" + SERVICE,
        "f:1: answer-while: 'eth0' is not an IP address (write it as 192.0.2.10 or 2001:db8::10)",
    ),
    "a VIP as the VRRP address": (
        "answer-while: 198.51.100.10\n" + SERVICE,
        "f:1: answer-while: 198.51.100.10 is a VIP: name the VRRP address instead",
    ),
    "a VIP without a service": (
        "vips:\n  198.51.100.99: {unserved: drop}\n" + SERVICE,
        "f:2: vips[198.51.100.99]: no service has the VIP 198.51.100.99",
    ),
    "a duplicate VIP": (
        "vips:\n  2001:db8::10: {}\n  2001:0db8::10: {}\n"
        "services:\n  - endpoint: '[2001:db8::10]:80'\n",
        "f:3: vips[2001:0db8::10]: 2001:db8::10 is there twice",
    ),
    "a VIP that is not an address": (
        "vips:\n  web: {}\nservices: []\n",
        "f:2: vips.web: 'web' is not an IP address (write it as 192.0.2.10 or 2001:db8::10)",
    ),
    "an unknown policy": (
        "vips:\n  198.51.100.10: {unserved: dorp}\n" + SERVICE,
        "f:2: vips[198.51.100.10].unserved: must be 'count', 'pass' or 'drop', not 'dorp'",
    ),
    "a number for services": ("services: 7\n", "f:1: services: must be a list, not 7"),
    "a service that is not a mapping": (
        "services:\n  - web\n",
        "f:2: services[0]: must be a mapping, not 'web'",
    ),
    "a service without an endpoint": (
        "services:\n  - name: web\n",
        "f:2: services[0].endpoint: is missing",
    ),
    "an endpoint without a port": (
        "services:\n  - endpoint: 198.51.100.10\n",
        "f:2: services[0].endpoint: '198.51.100.10' is not an endpoint: no port (write it as "
        "198.51.100.10:80, 198.51.100.10:53/udp or [2001:db8::10]:80)",
    ),
    "an endpoint that is a list": (
        "services:\n  - endpoint: []\n",
        "f:2: services[0].endpoint: must be an endpoint, as text",
    ),
    "two services with one endpoint": (
        SERVICE + "  - name: again\n    endpoint: 198.51.100.10:80/tcp\n",
        "f:4: services[1].endpoint: 198.51.100.10:80/tcp is the endpoint of services[0] already",
    ),
    "an unknown affinity": (
        SERVICE + "    affinity: sauce\n",
        "f:3: services[0].affinity: must be 'flow', 'source' or 'destination', not 'sauce'",
    ),
    "a netmask out of range": (
        SERVICE + "    affinity: source\n    netmask4: 33\n",
        "f:4: services[0].netmask4: netmask4 33 is out of range (use 1 to 32)",
    ),
    "a netmask with affinity by flow": (
        SERVICE + "    netmask6: 64\n",
        "f:3: services[0].netmask6: netmask6 has no effect with affinity by flow "
        "(set affinity to source or destination)",
    ),
    "a number that is text": (
        SERVICE + "    learn: soon\n",
        "f:3: services[0].learn: must be a whole number, not 'soon'",
    ),
    "a number out of range": (
        SERVICE + "    learn: 9999999\n",
        "f:3: services[0].learn: learn 9999999 is out of range (use 0 to 604800 seconds)",
    ),
    "a number where true or false belongs": (
        SERVICE + "    arp: 1\n",
        "f:3: services[0].arp: must be true or false, not 1",
    ),
    "yes for true": (
        SERVICE + "    one-packet: yes\n",
        "f:3: services[0].one-packet: must be true or false, not 'yes'",
    ),
    "a limit of new flows for UDP": (
        "services:\n  - endpoint: 198.51.100.10:53/udp\n    max-new-flows: 5\n",
        "f:3: services[0].max-new-flows: max-new-flows has no effect on 198.51.100.10:53/udp: UDP "
        "packets do not mark new flows (leave it out, or limit sources with pydsr acl)",
    ),
    "a name that is too long": (
        SERVICE + f"    name: {'x' * 64}\n",
        f"f:3: services[0].name: the name '{'x' * 64}' cannot be used "
        "(at most 63 bytes of printable text)",
    ),
    "an invalid source": (
        SERVICE + "    rules:\n      deny:\n        - 192.0.2.0/33\n",
        "f:5: services[0].rules.deny[0]: '192.0.2.0/33' is no source "
        "(write it as 192.0.2.0/24, 192.0.2.7, 2001:db8::/32 or any)",
    ),
    "a source of the other IP version": (
        SERVICE + "    rules: {deny: [any, '2001:db8::/32']}\n",
        "f:3: services[0].rules.deny[1]: '2001:db8::/32' cannot send to 198.51.100.10:80/tcp "
        "(name sources of IPv4, or any)",
    ),
    "a source allowed and denied": (
        "rules:\n  allow: [192.0.2.0/24]\n  deny: [192.0.2.0/24]\nservices: []\n",
        "f:3: rules.deny[0]: 192.0.2.0/24 is allowed as well",
    ),
    "an invalid weight": (
        SERVICE + "    backends:\n      - 198.51.100.21=x\n",
        "f:4: services[0].backends[0]: '198.51.100.21=x': the weight must be a whole number from "
        "0 to 65535 (weight 2 gets twice the flows of weight 1; 0 drains)",
    ),
    "a weight that is too large": (
        SERVICE + "    backends:\n      - address: 198.51.100.21\n        weight: 65536\n",
        "f:5: services[0].backends[0].weight: must be at most 65535, not 65536",
    ),
    "a negative weight": (
        SERVICE + "    backends:\n      - {address: 198.51.100.21, weight: -1}\n",
        "f:4: services[0].backends[0].weight: must be at least 0, not -1",
    ),
    "a backend that is a number": (
        SERVICE + "    backends: [7]\n",
        "f:3: services[0].backends[0]: must be ADDRESS[=WEIGHT][@MAC[%VLAN]] or a mapping",
    ),
    "a backend without an address": (
        SERVICE + "    backends:\n      - weight: 3\n",
        "f:4: services[0].backends[0].address: is missing",
    ),
    "a multicast MAC": (
        SERVICE + "    backends:\n      - {address: 198.51.100.21, mac: '01:00:00:00:00:01'}\n",
        "f:4: services[0].backends[0].mac: '01:00:00:00:00:01' is a multicast MAC address "
        "(a backend has a unicast one; `ip link` on the backend shows it)",
    ),
    "a VLAN out of range": (
        SERVICE
        + "    backends:\n      - {address: 198.51.100.21, mac: '02:00:00:00:00:01', vlan: 5000}\n",
        "f:4: services[0].backends[0].vlan: '5000' is not a VLAN "
        "(write it as 200, or as 100.200; each from 1 to 4094)",
    ),
    "a VLAN without a MAC": (
        SERVICE + "    backends:\n      - {address: 198.51.100.21, vlan: 100}\n",
        "f:4: services[0].backends[0]: a vlan needs a mac "
        "(name both, or neither: ARP/ND finds them)",
    ),
    "an unknown state": (
        SERVICE + "    backends:\n      - {address: 198.51.100.21, state: drained}\n",
        "f:4: services[0].backends[0].state: must be 'up', 'drain' or 'down', not 'drained'",
    ),
    "state up with weight 0": (
        SERVICE + "    backends:\n      - {address: 198.51.100.21, weight: 0, state: up}\n",
        "f:4: services[0].backends[0]: weight 0 takes no new flows, so state cannot be up "
        "(use drain)",
    ),
    "a duplicate backend": (
        SERVICE + "    backends:\n      - 198.51.100.21\n      - 198.51.100.21=2\n",
        "f:5: services[0].backends[1]: backend 198.51.100.21 is named twice",
    ),
    "a backend that is a VIP": (
        SERVICE + "  - endpoint: 198.51.100.11:80\n    backends: [198.51.100.10]\n",
        "f:4: services[1].backends[0]: backend 198.51.100.10 is a VIP: "
        "name it by an address of its own",
    ),
    "a loopback address as a backend": (
        SERVICE + "    backends: [127.0.0.1]\n",
        "f:3: services[0].backends[0]: '127.0.0.1' is a loopback address "
        "(a host's own unicast address is needed)",
    ),
}


@pytest.mark.parametrize(("text", "message"), list(ERRORS.values()), ids=list(ERRORS))
def test_an_error_names_line_path_and_remedy(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_text("f", text)
    assert message == raised.value.message
    assert ExitStatus.BAD_INPUT == raised.value.status


def test_all_errors_are_reported_at_once_in_the_order_of_lines() -> None:
    text = """\
services:
  - endpoint: 198.51.100.10:80
    nam: web
    learn: -1
    backends:
      - 198.51.100.21=x
      - {address: 198.51.100.22, weight: many}
  - endpoint: 198.51.100.10:80
    name: a
    name: b
interfaces: eth0
"""
    with pytest.raises(InputError) as raised:
        load_text("balancer.yaml", text)
    assert [
        "balancer.yaml has 7 errors",
        "balancer.yaml:3: services[0].nam: there is no such key; did you mean 'name'?",
        "balancer.yaml:4: services[0].learn: learn -1 is out of range (use 0 to 604800 seconds)",
        "balancer.yaml:6: services[0].backends[0]: '198.51.100.21=x': the weight must be a whole "
        "number from 0 to 65535 (weight 2 gets twice the flows of weight 1; 0 drains)",
        "balancer.yaml:7: services[0].backends[1].weight: must be a whole number, not 'many'",
        "balancer.yaml:8: services[1].endpoint: 198.51.100.10:80/tcp is the endpoint of "
        "services[0] already",
        "balancer.yaml:10: services[1].name: is there twice",
        "balancer.yaml:11: interfaces: must be a list, not 'eth0'",
    ] == raised.value.message.splitlines()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml cannot be read: No such file"):
        load_file(str(tmp_path / "nowhere.yaml"))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"services: \xff")
    with pytest.raises(InputError, match=r"is not text in UTF-8: invalid start byte at byte 10"):
        load_file(str(binary))


def test_stdin_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: \xff\n")))
    with pytest.raises(InputError) as raised:
        load_file("-")
    assert raised.value.message == "stdin is not text in UTF-8: invalid start byte at byte 3"
