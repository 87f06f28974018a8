"""The program agrees with the reference on random frames; ``make fuzz`` compares millions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.packets.fuzz_compare import Comparison
from tests.support.packets.fuzz_frames import Mutator, datagrams, seeds
from tests.support.packets.fuzz_services import build
from tests.support.packets.reference import Reference

_SEEDS = seeds()
_FRAMES = 12_000


@pytest.fixture(scope="module")
def comparison() -> Iterator[Comparison]:
    rig, known = build()
    with rig:
        yield Comparison(rig, Reference(known))


def test_every_seed_frame_is_seen_alike_whole_and_cut(comparison: Comparison) -> None:
    chance = random.Random(1)
    for frame in _SEEDS:
        sizes = {len(frame), *(chance.randrange(14, len(frame) + 1) for _ in range(6))}
        for size in sizes:
            found = comparison.compare(frame[:size])
            assert found is None, str(found)


def test_changed_frames_are_seen_alike(comparison: Comparison) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    mutator = Mutator(random.Random(seed), _SEEDS)
    for _ in range(_FRAMES):
        found = comparison.compare(mutator.frame())
        assert found is None, str(found)


@settings(
    max_examples=examples(200),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.sampled_from(_SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 40),
)
def test_bytes_that_hypothesis_chooses_are_seen_alike(
    comparison: Comparison, seed: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    frame = bytearray(seed)
    for at, value in changes:
        frame[at % len(frame)] = value
    found = comparison.compare(bytes(frame[: max(14, len(frame) - cut)]))
    assert found is None, str(found)


def test_fragments_in_any_order_are_seen_alike(comparison: Comparison) -> None:
    chance = random.Random(2)
    fragments = [bytes(one) for datagram in datagrams() for one in datagram]
    for _ in range(2_000):
        found = comparison.compare(chance.choice(fragments))
        assert found is None, str(found)


def test_the_frames_come_to_many_ends(comparison: Comparison) -> None:
    """A comparison of nothing but frames that are for nobody would agree as well."""
    mutator = Mutator(random.Random(3), _SEEDS)
    reference = Reference(comparison.reference.network)
    reasons = Counter(reference.decide(mutator.frame()).reason for _ in range(6_000))
    often = {reason for reason, number in reasons.items() if number >= 5}
    assert often >= {
        "arp_answered", "bounced", "denied", "echo_answered", "forwarded", "forwarded_error",
        "forwarded_fragment", "fragment", "icmp_other", "malformed", "nd_answered", "no_mac",
        "no_service", "not_ip", "not_our_mac", "not_vip", "other_interface", "unserved_dropped",
        "unserved_passed",
    }  # fmt: skip


def test_a_reference_that_knows_something_else_disagrees() -> None:
    """The comparison would find a difference, were there one."""
    other, known = build()
    with other:
        vip, port, protocol = next(key for key in known.services if known.services[key])
        backend = known.services.pop((vip, port, protocol))
        assert backend is not None
        wrong = Comparison(other, Reference(known))
        found = [one for frame in _SEEDS if (one := wrong.compare(frame)) is not None]
    assert {one.reference.reason for one in found} >= {"no_service"}
    assert all(one.program.reason != one.reference.reason for one in found)
