"""The plans of setup and undo, on any host and after any kill."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydsr.model.errors import EnvironmentCannotError, InputError, PydsrError
from pydsr.realserver.plan import Plan, plan_setup, plan_undo
from pydsr.realserver.record import Record
from pydsr.realserver.steps import SetSysctl
from pydsr.realserver.values import BackendSpec, Facts, Interface, Setting, parse_vip
from tests.support.simulated_host import SimulatedHost, facts, interface, loopback

ETH0 = interface("eth0", "10.0.0.11/24", "fd00::11/64")
BOTH = BackendSpec.parse(["10.0.0.80", "fd00::80"])
FOUR = BackendSpec.parse(["10.0.0.80"])

SYSCTLS = ["sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_announce=2"]
ADD4 = "ip address add 10.0.0.80/32 dev lo"
ADD6 = "ip address add fd00::80/128 dev lo nodad noprefixroute preferred_lft 0"


def commands(plan: Plan) -> list[str]:
    return [step.command for step in plan.steps]


def set_up(spec: BackendSpec, found: Facts) -> list[str]:
    return commands(plan_setup(spec, found, Record()))


def test_sysctls_are_set_before_the_addresses_are_added() -> None:
    assert [*SYSCTLS, ADD4, ADD6] == set_up(BOTH, facts(ETH0))


def test_they_are_set_for_interfaces_to_come_where_there_is_none_yet() -> None:
    assert [*SYSCTLS, ADD4] == set_up(FOUR, facts())


def test_ipv6_needs_no_sysctl() -> None:
    assert [ADD6] == set_up(BackendSpec.parse(["fd00::80"]), facts(ETH0))


def test_what_is_as_wished_is_left_alone() -> None:
    lo = loopback("127.0.0.1/8", "10.0.0.80/32")
    found = facts(ETH0, lo, settings={"all.arp_ignore": 2, "all.arp_announce": 2})
    assert [] == set_up(FOUR, found)


def test_interfaces_that_keep_quiet_by_their_own_settings_are_left_alone() -> None:
    found = facts(ETH0, settings={"eth0.arp_ignore": 1, "eth0.arp_announce": 2})
    assert [ADD4] == set_up(FOUR, found)


@pytest.mark.parametrize("value", [3, 4, 9])
def test_an_own_setting_that_undoes_the_one_for_all_is_set_too(value: int) -> None:
    found = facts(ETH0, interface("eth0.5"), settings={"eth0.5.arp_ignore": value})
    assert [
        SYSCTLS[0],
        "sysctl -w net/ipv4/conf/eth0.5/arp_ignore=1",
        *SYSCTLS[1:],
        ADD4,
    ] == set_up(FOUR, found)


def test_a_loopback_that_is_down_is_set_up() -> None:
    assert [*SYSCTLS, "ip link set lo up", ADD4] == set_up(FOUR, facts(ETH0, loopback(is_up=False)))


def test_a_dummy_is_made_where_one_is_wished_and_none_is_there() -> None:
    spec = BackendSpec.parse(["10.0.0.80"], device="vip0")
    made = ["ip link add vip0 type dummy", "ip link set vip0 up"]
    add = "ip address add 10.0.0.80/32 dev vip0"
    assert [*SYSCTLS, *made, add] == set_up(spec, facts(ETH0))
    there = interface("vip0", announces=False, is_up=False)
    assert [*SYSCTLS, made[1], add] == set_up(spec, facts(ETH0, there))


def test_a_vip_on_another_quiet_device_stays_there() -> None:
    vip0 = interface("vip0", "10.0.0.80/32", announces=False)
    plan = plan_setup(FOUR, facts(ETH0, vip0), Record())
    assert SYSCTLS == commands(plan)
    assert ("10.0.0.80: is already on vip0, and stays there",) == plan.notes


def test_reverse_path_filtering_is_loosened_where_packets_come_in() -> None:
    spec = BackendSpec.parse(["10.0.0.80"], interfaces=["eth1"])
    found = facts(ETH0, interface("eth1"), filtering=["eth0", "eth1"])
    assert [*SYSCTLS, "sysctl -w net.ipv4.conf.eth1.rp_filter=2", ADD4] == set_up(spec, found)


@pytest.mark.parametrize(
    ("spec", "found", "message", "hint"),
    [
        (
            FOUR,
            facts(interface("eth0", "10.0.0.80/24")),
            "10.0.0.80 is an address of eth0, which answers ARP for it",
            "ip address delete 10.0.0.80/24 dev eth0",
        ),
        (
            BOTH,
            facts(interface("eth0", "fd00::80/64")),
            "fd00::80 is an address of eth0, which answers neighbour discovery for it",
            "ip address delete fd00::80/64 dev eth0",
        ),
        (
            FOUR,
            facts(loopback("10.0.0.80/24")),
            "lo has 10.0.0.80/24: this host treats that whole network as its own",
            "ip address delete 10.0.0.80/24 dev lo",
        ),
        (
            BOTH,
            facts(ETH0, settings={"lo.disable_ipv6": 1}),
            "IPv6 is disabled on lo",
            "sysctl -w net.ipv6.conf.lo.disable_ipv6=0",
        ),
        (
            replace(BOTH, device="vip0"),
            facts(ETH0, settings={"default.disable_ipv6": 1}),
            "IPv6 is disabled on vip0",
            "sysctl -w net.ipv6.conf.default.disable_ipv6=0",
        ),
        (
            BOTH,
            replace(facts(ETH0), settings={}),
            "this kernel has no IPv6",
            "boot it without ipv6.disable=1",
        ),
    ],
)
def test_a_host_that_cannot_be_a_backend_as_it_is_is_refused_with_what_mends_it(
    spec: BackendSpec, found: Facts, message: str, hint: str
) -> None:
    with pytest.raises(EnvironmentCannotError) as error:
        set_up(spec, found)
    assert (message, hint) == (error.value.message, error.value.hint)


def test_a_device_that_announces_its_addresses_is_refused() -> None:
    with pytest.raises(InputError, match="eth0 cannot have a VIP"):
        set_up(replace(FOUR, device="eth0"), facts(ETH0))


def test_an_interface_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="there is no interface 'eth9'"):
        set_up(replace(FOUR, interfaces=("eth9",)), facts(ETH0))


def test_undo_takes_the_addresses_away_before_the_host_answers_again() -> None:
    host = SimulatedHost(facts(ETH0))
    plan = plan_setup(BOTH, host.facts, Record())
    host.execute(plan.steps)
    assert [
        "ip address delete 10.0.0.80/32 dev lo",
        "ip address delete fd00::80/128 dev lo",
        "sysctl -w net.ipv4.conf.all.arp_announce=0",
        "sysctl -w net.ipv4.conf.all.arp_ignore=0",
    ] == commands(plan_undo(BOTH.vips, host.facts, plan.record))


def test_what_vips_share_is_put_back_with_the_last_of_them() -> None:
    host = SimulatedHost(facts(ETH0))
    plan = plan_setup(BOTH, host.facts, Record())
    host.execute(plan.steps)
    undo = plan_undo(BOTH.vips[:1], host.facts, plan.record)
    assert ["ip address delete 10.0.0.80/32 dev lo"] == commands(undo)
    assert BOTH.vips[1:] == undo.record.vips


def test_a_vip_that_was_not_set_up_is_left_alone_and_named() -> None:
    host = facts(ETH0, loopback("127.0.0.1/8", "10.0.0.80/32"))
    plan = plan_undo(FOUR.vips, host, Record())
    assert ([], ("10.0.0.80: was not set up here",)) == (commands(plan), plan.notes)


def test_an_address_that_was_there_before_setup_stays_with_undo() -> None:
    host = SimulatedHost(facts(ETH0, loopback("127.0.0.1/8", "10.0.0.80/32")))
    before = host.facts
    plan = plan_setup(FOUR, host.facts, Record())
    host.execute(plan.steps)
    host.execute(plan_undo(FOUR.vips, host.facts, plan.record).steps)
    assert before == host.facts


def test_what_somebody_changed_after_setup_is_left_alone_and_named() -> None:
    host = SimulatedHost(facts(ETH0))
    plan = plan_setup(FOUR, host.facts, Record())
    host.execute(plan.steps)
    changed = {**host.facts.settings, plan.steps[0].setting: 8}  # type: ignore[union-attr]
    undo = plan_undo(FOUR.vips, replace(host.facts, settings=changed), plan.record)
    assert ("net.ipv4.conf.all.arp_ignore stays 8: setup had set it to 1",) == undo.notes
    assert [
        "ip address delete 10.0.0.80/32 dev lo",
        "sysctl -w net.ipv4.conf.all.arp_announce=0",
    ] == commands(undo)


def test_undo_puts_back_what_the_last_setup_found_that_changed_it() -> None:
    host, record = SimulatedHost(facts(ETH0)), Record()
    for somebodys in (None, 3):
        if somebodys is not None:
            host.execute([SetSysctl(Setting(4, "all", "arp_ignore"), somebodys)])
        plan = plan_setup(FOUR, host.facts, record)
        host.execute(plan.steps)
        record = plan.record
    host.execute(plan_undo(FOUR.vips, host.facts, record).steps)
    assert facts(ETH0, settings={"all.arp_ignore": 3}) == host.facts


def test_a_dummy_with_an_address_of_somebody_else_stays() -> None:
    host = SimulatedHost(facts(ETH0))
    plan = plan_setup(BackendSpec.parse(["fd00::80"], device="vip0"), host.facts, Record())
    host.execute(plan.steps)
    there = interface("vip0", "fd00::80/128", "fe80::1/64", "10.9.9.9/32", announces=False)
    undo = plan_undo(plan.record.vips, facts(ETH0, there), plan.record)
    assert ("vip0 stays: it has 10.9.9.9/32, which setup did not add",) == undo.notes
    assert ["ip address delete fd00::80/128 dev vip0"] == commands(undo)


_VALUES = st.integers(0, 9)
_SETTINGS = st.dictionaries(
    st.sampled_from(
        [
            f"{name}.arp_{what}"
            for name in ("all", "eth0", "eth1")
            for what in ("ignore", "announce")
        ]
    ),
    _VALUES,
)
_VIPS = st.lists(
    st.sampled_from(["10.0.0.80", "10.0.0.81", "fd00::80"]), min_size=1, max_size=3, unique=True
)
_DEVICES = st.sampled_from(["lo", "vip0", "vip1"])
_HISTORIES = st.lists(
    st.tuples(st.sampled_from(["setup", "undo"]), _VIPS, _DEVICES, st.integers(0, 12)), max_size=6
)


@given(
    settings=_SETTINGS,
    lo=st.sampled_from([loopback("127.0.0.1/8", "::1/128"), loopback(is_up=False)]),
    history=_HISTORIES,
)
def test_undo_puts_back_what_was_there_whatever_was_killed_and_nothing_leaks_meanwhile(
    settings: dict[str, int], lo: Interface, history: list[tuple[str, list[str], str, int]]
) -> None:
    host = SimulatedHost(facts(ETH0, interface("eth1"), lo, settings=settings))
    before, record = host.facts, Record()
    for verb, vips, device, steps_done in history:
        if verb == "setup":
            plan = plan_setup(BackendSpec.parse(vips, device), host.facts, record)
            record = plan.record
            host.execute(plan.steps[:steps_done])
        else:
            plan = plan_undo([parse_vip(vip) for vip in vips], host.facts, record)
            host.execute(plan.steps[:steps_done])
            if steps_done > len(plan.steps):
                record = plan.record
    host.execute(plan_undo(record.vips, host.facts, record).steps)
    assert before == host.facts
    assert [] == host.leaks


@given(settings=_SETTINGS, vips=_VIPS, device=_DEVICES)
def test_setup_a_second_time_changes_nothing(
    settings: dict[str, int], vips: list[str], device: str
) -> None:
    host = SimulatedHost(facts(ETH0, interface("eth1"), settings=settings))
    plan = plan_setup(BackendSpec.parse(vips, device), host.facts, Record())
    host.execute(plan.steps)
    again = plan_setup(BackendSpec.parse(vips, device), host.facts, plan.record)
    assert ([], plan.record) == (commands(again), again.record)


@given(settings=_SETTINGS, vips=_VIPS, device=_DEVICES)
def test_a_record_is_read_as_it_was_written(
    settings: dict[str, int], vips: list[str], device: str
) -> None:
    record = plan_setup(
        BackendSpec.parse(vips, device), facts(ETH0, settings=settings), Record()
    ).record
    assert record == Record.from_document(record.to_document())


@pytest.mark.parametrize(
    ("vip", "reason"),
    [
        ("", "'' is not an IP address"),
        ("web", "'web' is not an IP address"),
        ("10.0.0.80/32", "'10.0.0.80/32' is not an IP address"),
        ("10.0.0.080", "'10.0.0.080' is not an IP address"),
        ("10.0.0.80:80", "'10.0.0.80:80' is not an IP address"),
        ("0.0.0.0", "'0.0.0.0' is the unspecified address"),
        ("::", "'::' is the unspecified address"),
        ("127.0.0.1", "'127.0.0.1' is a loopback address"),
        ("::1", "'::1' is a loopback address"),
        ("224.0.0.1", "'224.0.0.1' is a multicast address"),
        ("ff02::1", "'ff02::1' is a multicast address"),
        ("255.255.255.255", "'255.255.255.255' is the broadcast address"),
        ("169.254.1.1", "'169.254.1.1' is a link-local address"),
        ("fe80::1", "'fe80::1' is a link-local address"),
        ("fe80::1%eth0", "'fe80::1%eth0' is a link-local address"),
        ("fd00::1%eth0", "'fd00::1%eth0' is an address with a zone"),
        ("::ffff:10.0.0.80", "'::ffff:10.0.0.80' is an IPv4-mapped address of 10.0.0.80"),
    ],
)
def test_a_vip_that_no_service_can_have_is_refused(vip: str, reason: str) -> None:
    with pytest.raises(InputError) as error:
        BackendSpec.parse([vip])
    assert reason == error.value.message


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-x", "a/b", "a b", "sixteen-letters.", "all", "default", "x;y", "x:1", "ü"],
)
def test_a_name_that_no_interface_can_have_is_refused(name: str) -> None:
    for arguments in ({"device": name}, {"interfaces": [name]}):
        with pytest.raises(PydsrError, match="is not the name of an interface"):
            BackendSpec.parse(["10.0.0.80"], **arguments)


def test_what_is_said_twice_counts_once() -> None:
    spec = BackendSpec.parse(["fd00::80", "FD00:0::80"], interfaces=["eth0", "eth0"])
    assert (1, ("eth0",)) == (len(spec.vips), spec.interfaces)
