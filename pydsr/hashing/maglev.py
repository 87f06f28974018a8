"""Weighted Maglev hashing: which backend owns which slot of a service's table.

The algorithm is from Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
Balancer", NSDI 2016, section 3.4: every backend walks the slots in its own order, and the backends
take turns, each claiming the next free slot of its walk. The table depends on the backends alone,
so balancers with the same backends agree on every flow.

Weights decide how many turns a backend has, and when. As in Envoy, turn ``k`` of a backend
comes at time ``k / weight``. Unlike in Envoy, the number of turns is fixed beforehand, so shares
are exact to a slot or two for any weights.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from ctypes import c_uint32
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from math import isqrt

from pydsr.hashing import c_library, slots
from pydsr.hashing.c_library import at
from pydsr.hashing.slots import MAX_BACKEND_ID, NO_BACKEND
from pydsr.model.service import BackendState

DEFAULT_TABLE_SIZE = 65537
"""The smaller of the two table sizes the paper evaluates (its section 5.3)."""

MAX_TABLE_SIZE = 1_048_573
"""The largest prime below 2**20."""

_FREE = 0xFFFF
_PATTERNS_KEPT = 32
"""Some megabytes with the largest tables."""


@dataclass(frozen=True)
class Member:
    """A backend in a table.

    Attributes:
        key: the 16 bytes of its address, the same on every balancer; its walk depends on them.
        weight: its share of the slots, relative to the sum of all weights; 0 gets no slot.
        id: written into its slots, 1 to 65535; it does not influence which slots it gets.
        state: only a backend that is up has slots.
    """

    key: bytes
    weight: int
    id: int
    state: BackendState = BackendState.UP

    @property
    def keeps_flows(self) -> bool:
        """Whether flows it already has may stay: a backend that is down keeps none."""
        return self.state is not BackendState.DOWN


def is_prime(number: int) -> bool:
    """Return whether a number is prime, by trial division: meant for sizes of tables."""
    if number < 4:
        return number > 1
    return all(number % divisor for divisor in (2, *range(3, isqrt(number) + 1, 2)))


def next_prime(number: int) -> int:
    """Return the smallest prime that is not below a number."""
    while not is_prime(number):
        number += 1
    return number


def build_table(members: Iterable[Member], size: int = DEFAULT_TABLE_SIZE) -> array[int]:
    """Build the table of a service.

    Args:
        members: the backends, in any order.
        size: number of slots, a prime; a hundred slots or more per backend keep both shares
            and disruption within about a percent.

    Returns:
        The id of the owner of each slot, as unsigned 16-bit numbers; ``NO_BACKEND``
        everywhere if no backend has a weight.

    Raises:
        ValueError: the size is not a prime up to ``MAX_TABLE_SIZE``, a weight or id is out of
            range, two backends share a key, or there are more backends than slots.
    """
    if not 2 <= size <= MAX_TABLE_SIZE:
        raise ValueError(f"table size {size} is not between 2 and {MAX_TABLE_SIZE}")
    if not is_prime(size):
        raise ValueError(f"table size {size} is not prime; {next_prime(size)} is")
    owners = _owners(members)
    if not owners:
        return array("H", [NO_BACKEND]) * size
    if len(owners) > size:
        raise ValueError(f"{len(owners)} backends do not fit into {size} slots")
    pattern = _pattern(
        tuple(owner.key for owner in owners), tuple(owner.weight for owner in owners), size
    )
    return slots.name_owners(pattern, [owner.id for owner in owners])


def shares_of(members: Iterable[Member], size: int) -> dict[int, int]:
    """Return how many slots of a table each backend owns, by id."""
    owners = _owners(members)
    shares = _shares([owner.weight for owner in owners], size) if owners else []
    return {owner.id: share for owner, share in zip(owners, shares, strict=True)}


@lru_cache(maxsize=_PATTERNS_KEPT)
def _pattern(keys: tuple[bytes, ...], weights: tuple[int, ...], size: int) -> array[int]:
    """Return the owner of each slot, as its position among the keys.

    Services often have the same backends under other ids, and then share this work.
    """
    return _fill_table([_walk(key, size) for key in keys], _turns(weights, size), size)


def _fill_table(walks: list[tuple[int, int]], turns: array[int], size: int) -> array[int]:
    """Return the owner of each slot, with owners by their position in `walks`.

    Args:
        walks: the start and the step of each owner's walk over the slots.
        turns: for each slot, the owner whose turn it is.
        size: the number of slots.
    """
    library = c_library.library()
    if library is not None:
        starts = (c_uint32 * len(walks))(*(offset for offset, _ in walks))
        steps = (c_uint32 * len(walks))(*(skip for _, skip in walks))
        filled = array("H", [_FREE]) * size
        library.pydsr_maglev_fill(c_uint32(size), starts, steps, at(turns), at(filled))
        return filled
    positions = [offset for offset, _ in walks]
    skips = [skip for _, skip in walks]
    table = [_FREE] * size
    for owner in turns:
        slot = positions[owner]
        skip = skips[owner]
        while table[slot] != _FREE:
            slot += skip
            if slot >= size:
                slot -= size
        table[slot] = owner
        positions[owner] = slot
    return array("H", table)


def _owners(members: Iterable[Member]) -> list[Member]:
    """Return the members that get slots, in the order of their keys, after checking all."""
    ordered = sorted(members, key=lambda member: member.key)
    for member in ordered:
        if member.weight < 0:
            raise ValueError(f"weight {member.weight} of backend {member.id} is negative")
        if not NO_BACKEND < member.id <= MAX_BACKEND_ID:
            raise ValueError(f"backend id {member.id} is not between 1 and {MAX_BACKEND_ID}")
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise ValueError(f"backends {first.id} and {second.id} share the key {first.key.hex()}")
    return [m for m in ordered if m.weight and m.state is BackendState.UP]


def _walk(key: bytes, size: int) -> tuple[int, int]:
    """Return where a backend's walk over the slots starts and how far each step goes."""
    digest = blake2b(key, digest_size=16, person=b"pydsr maglev").digest()
    offset = int.from_bytes(digest[:8], "big") % size
    skip = int.from_bytes(digest[8:], "big") % (size - 1) + 1
    return offset, skip


def _shares(weights: Sequence[int], size: int) -> list[int]:
    """Share out the slots by largest remainder, at least one slot each.

    A backend too light for a whole slot gets one slot. The heavier backends share the rest.
    """
    shares = [1] * len(weights)
    slots, total = size, sum(weights)
    remainders: list[tuple[int, int]] = []
    for owner in sorted(range(len(weights)), key=weights.__getitem__):
        if weights[owner] * slots < total:
            slots -= 1
            total -= weights[owner]
        else:
            shares[owner], remainder = divmod(weights[owner] * slots, total)
            remainders.append((-remainder, owner))
    for _, owner in sorted(remainders)[: size - sum(shares)]:
        shares[owner] += 1
    return shares


@lru_cache(maxsize=_PATTERNS_KEPT)
def _turns(weights: tuple[int, ...], size: int) -> array[int]:
    """Return whose turn it is, once for each slot: turn k of a backend comes at k / weight.

    Turns at equal times follow the order of the backends. Comparing the quotients as floats is
    exact: with weights below 2**16 and times below 2**20, different quotients differ by at least
    2**-32, and a float of that size resolves 2**-33.
    """
    shares = _shares(weights, size)
    owners = [owner for owner, share in enumerate(shares) for _ in range(share)]
    times: list[float] = []
    for weight, share in zip(weights, shares, strict=True):
        times += [turn / weight for turn in range(share)]
    return array("H", [owners[turn] for turn in sorted(range(len(times)), key=times.__getitem__)])
