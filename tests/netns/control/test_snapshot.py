"""A balancer read again and again: what is shown is what is there, of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from pydsr.control.balancer import Balancer
from pydsr.kernel.bpf.counters import CounterStore
from pydsr.lab.network import enter_namespace
from pydsr.model.errors import NotAttachedError
from pydsr.model.service import Service
from pydsr.model.snapshot import Counters, Snapshot
from tests.support.netns.command import Pydsr

WEB, DNS = "10.66.0.80:80", "10.66.0.80:53/udp"
ONE, TWO, THREE = (f"10.66.0.{number}@02:00:00:00:00:{number}" for number in (11, 12, 13))
CHANGES = [
    ("backends", "set", WEB, ONE, TWO),
    ("backends", "set", DNS, THREE),
    ("backends", "set", WEB, f"{ONE.replace('@', '=3@')}", TWO),
    ("backends", "drain", WEB, "10.66.0.12"),
    ("backends", "set", WEB, "10.66.0.11@02:00:00:00:00:99", TWO),
    ("backends", "remove", WEB, "10.66.0.12"),
    ("backends", "add", WEB, TWO),
    ("services", "remove", DNS),
    ("services", "add", "10.66.0.80:81", "--name", "other"),
    ("attach", "eth0"),
]


@pytest.fixture
def reader(quick: Pydsr) -> Iterator[Balancer]:
    """The balancer, opened once, in its network namespace."""
    with enter_namespace(quick.host.name), Balancer(quick.bpffs) as balancer:
        yield balancer


def without_moment(snapshot: Snapshot) -> Snapshot:
    """Return what two readers of the same state agree about."""
    return replace(snapshot, time=0.0, programs=(), verdicts={})


def test_after_every_change_an_old_reader_sees_what_a_new_one_does(
    quick: Pydsr, reader: Balancer
) -> None:
    for change in CHANGES:
        quick.ok(*change)
        with Balancer(quick.bpffs) as fresh:
            assert without_moment(fresh.snapshot()) == without_moment(reader.snapshot()), change


def test_what_did_not_change_is_the_same_object(quick: Pydsr, reader: Balancer) -> None:
    quick.ok("backends", "set", WEB, ONE, TWO)
    quick.ok("backends", "set", DNS, THREE)
    dns, web = reader.snapshot().services
    quick.ok("backends", "drain", WEB, "10.66.0.12")
    dns_after, web_after = reader.snapshot().services
    assert dns_after is dns
    assert web_after != web
    assert reader.snapshot().services[1] is web_after


def test_a_change_in_the_middle_of_a_reading_has_it_read_again(
    quick: Pydsr, reader: Balancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backends and their counters are all of after the change."""
    quick.ok("backends", "set", WEB, ONE)
    count, readings = CounterStore.of_services, []

    def count_late(store: CounterStore, services: Iterable[Service]) -> dict[int, Counters]:
        readings.append(services)
        if len(readings) == 1:
            quick.ok("backends", "set", WEB, TWO)
        return count(store, services)

    monkeypatch.setattr(CounterStore, "of_services", count_late)
    snapshot = reader.snapshot()
    (service,) = snapshot.services
    assert ["10.66.0.12"] == [str(backend.address) for backend in service.backends]
    assert {backend.id for backend in service.backends} == snapshot.counters.keys()
    assert 2 == len(readings)


def test_a_reader_follows_through_a_purge_and_another_attach(pydsr: Pydsr) -> None:
    pydsr.ok("attach", "eth0")
    pydsr.ok("backends", "set", WEB, ONE)
    with enter_namespace(pydsr.host.name), Balancer(pydsr.bpffs) as reader:
        assert 1 == len(reader.snapshot().services)
        pydsr.ok("detach", "--all", "--purge")
        for _ in range(2):
            with pytest.raises(NotAttachedError):
                reader.snapshot()
        pydsr.ok("attach", "eth0")
        assert () == reader.snapshot().services
        pydsr.ok("backends", "set", DNS, TWO)
        assert [DNS] == [str(service.endpoint) for service in reader.snapshot().services]
