"""``pydsr realserver`` on a real backend: announcements, accepted packets, and what remains."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP, Ether

from pydsr.lab.network import enter_namespace
from tests.support.netns.command import AS_NOBODY, AS_ROOT_WITHOUT_CAPABILITIES, Pydsr
from tests.support.netns.kills import ends
from tests.support.netns.namespaces import connect
from tests.support.netns.realserver_host import CLIENT, VIP4, VIP6, VIPS, Backend, made_backend

both = pytest.mark.parametrize("vip", VIPS, ids=["IPv4", "IPv6"])

STEPS = {"_write_setting", "run_ip", "save"}
"""The functions of ``pydsr/realserver/`` before which a kill is placed."""

SYSCTLS = ["net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce"]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A host that is not set up yet."""
    with made_backend(tmp_path / "records") as made:
        yield made


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A host that is not set up, shared by tests that change nothing."""
    with made_backend(tmp_path_factory.mktemp("untouched") / "records") as made:
        yield made


def test_the_wire_hears_of_an_ipv4_vip_only_where_the_sysctls_are_undone(backend: Backend) -> None:
    backend.did("setup", *VIPS)
    assert not backend.claims(VIP4)
    backend.host.run("sysctl", "-w", f"{SYSCTLS[0]}=0")
    assert backend.claims(VIP4)


def test_the_wire_hears_of_an_ipv6_vip_only_where_it_is_on_the_nic(backend: Backend) -> None:
    backend.did("setup", *VIPS)
    assert not backend.claims(VIP6)
    backend.host.run("ip", "address", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
    assert backend.claims(VIP6)


def test_a_vip_is_the_source_of_the_hosts_own_arp_only_where_the_sysctl_is_undone(
    backend: Backend,
) -> None:
    def source() -> str:
        """Return the source of the ARP request that precedes a ping from the VIP."""
        backend.host.run("ip", "neigh", "flush", "all")
        with backend.client.listen() as listener:
            backend.host.attempt("ping", "-c1", "-W0.1", "-I", VIP4, CLIENT[4])
            *_, raw = listener.until(lambda raw: ARP in Ether(raw) and Ether(raw)[ARP].op == 1)
        return str(Ether(raw)[ARP].psrc)

    backend.did("setup", VIP4)
    assert "10.66.0.11" == source()
    backend.host.run("sysctl", "-w", f"{SYSCTLS[1]}=0")
    assert VIP4 == source()


@both
def test_packets_for_the_vip_are_taken_and_answered_from_it(backend: Backend, vip: str) -> None:
    backend.did("setup", *VIPS)
    backend.steer(vip)
    with backend.host.serving("backend"):
        assert "backend" == backend.client.asks_for_page(f"[{vip}]" if ":" in vip else vip)


def test_an_ipv6_vip_is_no_source_of_the_hosts_own_where_it_has_another(backend: Backend) -> None:
    """Not even where the interface has no address, and the VIP is the most similar one."""

    def source() -> str:
        (route,) = json.loads(backend.host.run("ip", "-json", "route", "get", "fd66::81"))
        return str(route["prefsrc"])

    backend.did("setup", VIP6)
    backend.host.run("ip", "address", "delete", "fd66::11/64", "dev", "eth0")
    backend.host.run("ip", "-6", "route", "add", "fd66::/64", "dev", "eth0")
    backend.host.run("ip", "address", "add", "fd00::11/128", "dev", "lo")
    assert "fd00::11" == source()
    backend.host.run("ip", "address", "change", f"{VIP6}/128", "dev", "lo")
    assert VIP6 == source()


def test_setup_and_undo_leave_the_host_exactly_as_it_was(backend: Backend) -> None:
    backend.host.run("sysctl", "-w", f"{SYSCTLS[0]}=3", "net.ipv4.conf.eth0.arp_announce=1")
    before = backend.snapshot()
    backend.did("setup", *VIPS)
    assert before != backend.snapshot()
    backend.did("undo", *VIPS)
    assert before == backend.snapshot()
    assert [] == list(backend.records.iterdir())


def test_setup_twice_is_as_once_and_says_so(backend: Backend) -> None:
    backend.did("setup", *VIPS)
    once = backend.snapshot()
    again = backend.did("setup", *VIPS)
    assert ("", "nothing to change\n") == (again.stdout, again.stderr)
    assert once == backend.snapshot()


def test_vips_come_and_go_one_by_one(backend: Backend) -> None:
    before = backend.snapshot()
    for vip in VIPS:
        backend.did("setup", vip)
    for vip in VIPS:
        backend.did("check", vip)
        backend.did("undo", vip)
        assert 5 == backend.does("check", vip).status
    assert before == backend.snapshot()


def test_a_plan_is_what_is_done_then_and_changes_nothing(backend: Backend) -> None:
    before = backend.snapshot()
    for verb in ("setup", "undo"):
        planned = backend.did(verb, *VIPS, "--plan")
        document = json.loads(backend.did(verb, *VIPS, "--plan", "--json").stdout)
        assert before == backend.snapshot()
        done = backend.did(verb, *VIPS)
        assert planned.stdout == done.stderr
        assert planned.stdout.splitlines() == document["commands"]
        before = backend.snapshot()


def test_the_commands_of_a_plan_do_the_same_by_hand(backend: Backend) -> None:
    for verb in ("setup", "undo"):
        plan = backend.did(verb, *VIPS, "--plan").stdout
        before = backend.snapshot()
        backend.did(verb, *VIPS)
        wanted = backend.snapshot()
        if verb == "setup":
            backend.did("undo", *VIPS)
            assert before == backend.snapshot()
            backend.host.run("sh", "-e", "-c", plan)
            assert wanted == backend.snapshot()
            backend.host.run("ip", "address", "delete", f"{VIP4}/32", "dev", "lo")
            backend.host.run("ip", "address", "delete", f"{VIP6}/128", "dev", "lo")
            backend.host.run("sysctl", "-w", *(f"{name}=0" for name in SYSCTLS))
            backend.did("setup", *VIPS)


@pytest.mark.parametrize("mended_by", ["undo", "setup"])
def test_setup_killed_at_any_step_is_mended_by(backend: Backend, mended_by: str) -> None:
    """Killed before every write and every command, on a host whose loopback is down."""
    backend.host.run("ip", "link", "set", "lo", "down")
    before = backend.snapshot()
    command = ("realserver", *backend.arguments("setup", *VIPS))
    for nth in itertools.count(1):
        ended = ends(backend.pydsr, *command, functions=STEPS, nth=nth, within="/pydsr/realserver/")
        if mended_by == "setup":
            backend.did("setup", *VIPS)  # which checks as well
        backend.did("undo", "--all")
        assert before == backend.snapshot(), nth
        if ended:
            break
    assert nth == 9  # two of reading, one of the record, five steps, and then none


def test_undo_killed_at_any_step_is_mended_by_undo(backend: Backend) -> None:
    backend.host.run("ip", "link", "set", "lo", "down")
    before = backend.snapshot()
    command = ("realserver", *backend.arguments("undo", "--all"))
    for nth in itertools.count(1):
        backend.did("setup", *VIPS)
        ended = ends(backend.pydsr, *command, functions=STEPS, nth=nth, within="/pydsr/realserver/")
        backend.did("undo", "--all")
        assert before == backend.snapshot(), nth
        if ended:
            break
    assert nth == 8


def test_a_step_that_fails_leaves_the_host_as_it_was(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of all steps fails, by an ``ip`` that refuses it."""
    shim = tmp_path / "bin" / "ip"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\ncase "$*" in *"add {VIP6}"*) echo no >&2; exit 2;; esac\n')
    with shim.open("a") as file:
        file.write('exec /usr/sbin/ip "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
    before = backend.snapshot()
    done = backend.does("setup", *VIPS)
    assert 4 == done.status
    assert "nodad noprefixroute preferred_lft 0` fails: no" in done.stderr
    assert before == backend.snapshot()
    assert [] == list(backend.records.iterdir())


MISSES = {
    "no address": (
        ["ip address delete 10.66.0.80/32 dev lo"],
        f"{VIP4}: this host does not have the VIP",
    ),
    "no IPv6 address": (
        ["ip address delete fd66::80/128 dev lo"],
        f"{VIP6}: this host does not have the VIP",
    ),
    "answers ARP": ([f"sysctl -w {SYSCTLS[0]}=0"], "eth0, eth1: arp_ignore is 0, but 1 is"),
    "claims the VIP": ([f"sysctl -w {SYSCTLS[1]}=0"], "eth0, eth1: arp_announce is 0, but 2 is"),
    "answers ARP by its own setting": (
        ["sysctl -w net.ipv4.conf.eth0.arp_ignore=3"],
        "eth0: arp_ignore is 3, but 1 is needed",
    ),
    "own setting of a name with a dot": (
        [
            "ip link add eth0.5 type veth peer name eth0.6",
            "sysctl -w net/ipv4/conf/eth0.5/arp_announce=3",
        ],
        "eth0.5: arp_announce is 3, but 2 is needed",
    ),
    "VIP on the NIC": (
        ["ip address delete 10.66.0.80/32 dev lo", "ip address add 10.66.0.80/24 dev eth0"],
        f"{VIP4}: the VIP is on eth0, and belongs on lo",
    ),
    "IPv6 VIP on the NIC as well": (
        ["ip address add fd66::80/64 dev eth0 nodad"],
        f"{VIP6}: the VIP is on eth0, and belongs on lo",
    ),
    "a network on the loopback": (
        ["ip address delete 10.66.0.80/32 dev lo", "ip address add 10.66.0.80/24 dev lo"],
        f"{VIP4}: its prefix length is 24 on lo, but 32 is needed",
    ),
    "loopback down": (["ip link set lo down"], f"{VIP4}: its device lo is down"),
    "IPv6 disabled": (
        ["sysctl -w net.ipv6.conf.lo.disable_ipv6=1"],
        "lo: IPv6 is disabled",
    ),
    "strict filter": (
        ["sysctl -w net.ipv4.conf.eth1.rp_filter=1"],
        "eth1: rp_filter is 1, but 2 is needed",
    ),
}
"""What causes each miss, and the text that check prints."""


@pytest.mark.parametrize(("causes", "finding"), MISSES.values(), ids=MISSES.keys())
def test_check_finds_a_miss_and_names_the_commands_that_mend_it(
    backend: Backend, causes: Sequence[str], finding: str
) -> None:
    connect(backend.client, backend.host, "eth1", [("10.67.0.1/24", "10.67.0.11/24")])
    backend.host.run("ip", "route", "add", "default", "via", CLIENT[4], "dev", "eth0")
    arguments = (*VIPS, "--interface", "eth1")
    backend.did("setup", *arguments)
    assert f"this host is set up for {VIP4}, {VIP6}\n" == backend.did("check", *arguments).stdout
    for cause in causes:
        backend.host.run(*cause.split())
    found = backend.does("check", *arguments)
    document = json.loads(backend.does("check", *arguments, "--json").stdout)
    assert 5 == found.status
    assert finding in found.stdout
    assert not document["as_desired"]
    for each in document["findings"]:
        assert each["level"] == "miss"
        assert each["why"]
        for command in each["commands"]:
            backend.host.run(*command.split())
    backend.did("check", *arguments)


def test_reverse_path_filtering_drops_clients_until_setup_knows_where_packets_come_in(
    backend: Backend,
) -> None:
    """Clients behind the default route, a balancer on another network: the classic black hole."""
    connect(backend.client, backend.host, "eth1", [("10.67.0.1/24", "10.67.0.11/24")])
    backend.host.run("ip", "route", "add", "default", "via", CLIENT[4], "dev", "eth0")
    backend.client.run("ip", "address", "add", "192.0.2.9/32", "dev", "lo")
    backend.client.run("ip", "route", "add", f"{VIP4}/32", "dev", "eth1")
    backend.steer(VIP4, "eth1")
    backend.host.run("sysctl", "-w", "net.ipv4.conf.eth1.rp_filter=1")
    before = backend.snapshot()
    backend.did("setup", VIP4)
    assert not backend.client.pings(VIP4, "-I", "192.0.2.9", "-W1")
    found = backend.did("check", VIP4).stdout
    assert "warning: eth1: rp_filter is 1, but 2 is needed if the balancer's" in found
    backend.did("setup", VIP4, "--interface", "eth1")
    assert backend.client.pings(VIP4, "-I", "192.0.2.9")
    backend.did("undo", VIP4)
    assert before == backend.snapshot()


def test_a_firewall_that_drops_is_hinted_at(backend: Backend) -> None:
    backend.did("setup", VIP4)
    rules = (
        "add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }"
    )
    backend.host.run("nft", rules)
    found = backend.did("check", VIP4).stdout
    assert "warning: inet f in: this nftables chain drops packets by default" in found


@pytest.mark.parametrize("wrapper", [AS_NOBODY, AS_ROOT_WITHOUT_CAPABILITIES])
def test_without_privilege_nothing_is_done_and_check_works(
    backend: Backend, wrapper: Sequence[str]
) -> None:
    backend.records.parent.chmod(0o755)
    before = backend.snapshot()
    pydsr = Pydsr(backend.host, Path("/nonexistent"), wrapper)
    for verb in ("setup", "undo"):
        done = pydsr("realserver", *backend.arguments(verb, VIP4))
        if verb == "setup" or wrapper == AS_NOBODY:
            assert 4 == done.status, done
            assert "hint: run as root (sudo)" in done.stderr
    assert 5 == pydsr("realserver", "check", VIP4).status
    assert before == backend.snapshot()


def test_two_at_once_is_one_too_many(backend: Backend) -> None:
    backend.did("setup", VIP4)
    holder = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)"
    script = f"{holder}; print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(backend.records)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = backend.does("undo", VIP4)
        assert process.stdin is not None
        process.stdin.close()
    assert 1 == done.status
    assert "another realserver command is changing this host" in done.stderr


def test_records_that_others_could_have_written_are_not_believed(backend: Backend) -> None:
    backend.did("setup", VIP4)
    backend.records.chmod(0o777)
    done = backend.does("undo", VIP4)
    assert 4 == done.status
    assert f"others than you can write to {backend.records}" in done.stderr


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"boot": 1}', '{"boot": "BOOT", "vips": ["x"]}']
)
def test_a_record_that_setup_did_not_write_is_named(backend: Backend, text: str) -> None:
    backend.did("setup", VIP4)
    (record,) = backend.records.iterdir()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    record.write_text(text.replace("BOOT", boot))
    done = backend.does("undo", VIP4)
    if text == '{"boot": 1}':  # of another life of the host: nothing to undo
        assert (0, "note: 10.66.0.80: was not set up here") == (
            done.status,
            done.stderr.splitlines()[0],
        )
    else:
        assert 4 == done.status
        assert f"{record} is not a record of what setup has changed" in done.stderr


def test_namespaces_do_not_see_each_others_records(backend: Backend) -> None:
    backend.did("setup", VIP4)
    with enter_namespace(backend.client.name):
        other = Backend(backend.client, backend.host, backend.records)
    assert "was not set up here" in other.did("undo", VIP4).stderr
    assert 0 == backend.does("check", VIP4).status


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["setup"], 2, "Missing argument 'VIP...'"),
        (["setup", "web"], 3, "'web' is not an IP address"),
        (["setup", VIP4, "web"], 3, "'web' is not an IP address"),
        (["setup", VIP4, "--device", "eth0"], 3, "eth0 cannot have a VIP"),
        (["setup", VIP4, "--device", "a/b"], 3, "'a/b' is not the name of an interface"),
        (["setup", VIP4, "--interface", "eth9"], 3, "there is no interface 'eth9'"),
        (["setup", "10.66.0.11"], 4, "10.66.0.11 is an address of eth0, which answers ARP"),
        (["setup", "fd66::11"], 4, "fd66::11 is an address of eth0, which answers neighbour"),
        (["setup", VIP4, "--script", "perl"], 2, "Invalid value for '--script'"),
        (["setup", VIP4, "--output", "files"], 3, "--output takes --script"),
        (["undo"], 3, "undo takes VIPs, or --all"),
        (["undo", VIP4, "--all"], 3, "undo takes VIPs, or --all"),
        (["undo", "web"], 3, "'web' is not an IP address"),
        (["check"], 2, "Missing argument 'VIP...'"),
        (["check", VIP4, "--device", "eth0"], 3, "eth0 cannot have a VIP"),
        (["check", VIP4, "--interface", "eth9"], 3, "there is no interface 'eth9'"),
        (["check", "127.0.0.1"], 3, "'127.0.0.1' is a loopback address"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    untouched: Backend, arguments: Sequence[str], status: int, message: str
) -> None:
    before = untouched.snapshot()
    done = untouched.pydsr("realserver", *arguments)
    assert (status, before) == (done.status, untouched.snapshot())
    assert message in done.stderr
