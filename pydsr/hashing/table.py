"""A service's table, and the rules by which one table follows another. Pure.

A slot names its current backend and, while flows older than a change may exist, the previous one.
``xdp/consistency.h`` chooses between them; ``docs/decisions/0002-no-table-at-rest.md`` explains
why.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pydsr.hashing import maglev, slots
from pydsr.hashing.maglev import Member
from pydsr.hashing.slots import NO_BACKEND
from pydsr.model.errors import InputError

MIN_TABLE_SIZE = 251


@dataclass(frozen=True)
class Table:
    """The slots of a service and the members they were built from.

    Attributes:
        members: the backends, drained and down ones included.
        current: slot to the backend of new flows.
        previous: slot to the backend of flows older than the last change; LOOK_UP_ONLY if there are
            none, and NO_BACKEND at rest.
        learn_until: nanoseconds of CLOCK_MONOTONIC.
        owned: how many slots each member owns, by id, if known without counting.
    """

    members: tuple[Member, ...]
    current: array[int]
    previous: array[int]
    learn_until: int = 0
    owned: Mapping[int, int] | None = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Return the number of slots."""
        return len(self.current)

    @property
    def tracked_slots(self) -> int:
        """Return how many slots are not at rest."""
        if self.is_at_rest:
            return 0
        return self.size - slots.count(self.previous, NO_BACKEND)

    @property
    def is_at_rest(self) -> bool:
        """Whether every slot is at rest."""
        return self.previous.tobytes() == bytes(2 * self.size)

    def slots_by_backend(self) -> dict[int, int]:
        """Return how many slots each member owns."""
        counts = Counter(self.current) if self.owned is None else self.owned
        return {member.id: counts.get(member.id, 0) for member in self.members}


def check_table_size(size: int) -> None:
    """Refuse a number of slots that no table can have.

    Raises:
        InputError: it is not a prime, or too small or large; the hint names the nearest prime.
    """
    if not MIN_TABLE_SIZE <= size <= maglev.MAX_TABLE_SIZE or not maglev.is_prime(size):
        nearest = maglev.next_prime(min(max(size, MIN_TABLE_SIZE), maglev.MAX_TABLE_SIZE))
        raise InputError(
            f"table size {size} is not a prime from {MIN_TABLE_SIZE} to {maglev.MAX_TABLE_SIZE}",
            f"try {nearest}; a hundred slots or more for each backend balance well",
        )


def empty_table(size: int) -> Table:
    """Return the table of a service without backends."""
    return Table((), slots.at_rest(size), slots.at_rest(size))


def following_table(
    table: Table,
    members: Collection[Member],
    now: int,
    learn_nanoseconds: int,
    keeps_connections: bool = True,
) -> Table:
    """Return the table after a change of members.

    Args:
        table: the table before, after garbage collection.
        members: the members after.
        now: nanoseconds of CLOCK_MONOTONIC.
        learn_nanoseconds: how long to learn flows older than the change.
        keeps_connections: False for a service whose packets are flows of their own: every
            slot goes to rest on its new backend at once.
    """
    current = maglev.build_table(members, table.size)
    owned = maglev.shares_of(members, table.size)
    previous = slots.at_rest(table.size)
    if not keeps_connections:
        return Table(tuple(members), current, previous, owned=owned)
    if not table.members and table.is_at_rest:
        # There were no flows.
        return Table(tuple(members), current, previous, table.learn_until, owned)

    keeping = {member.id for member in members if member.keeps_flows}
    learning = now < table.learn_until
    previous, learns_anew = slots.follow(current, table.current, table.previous, keeping, learning)
    # Never earlier than before: slots may still learn from an earlier change.
    learn_until = max(now + learn_nanoseconds if learns_anew else 0, table.learn_until)
    return Table(tuple(members), current, previous, learn_until, owned)


def with_learning_time(table: Table, now: int, before: int, after: int) -> Table:
    """Return the table of a service whose learning time changes.

    While slots are learning, flows may from now on be silent for the new time: a longer one makes
    learning last longer, a shorter one ends it sooner.

    Args:
        table: the table.
        now: nanoseconds of CLOCK_MONOTONIC.
        before: the learning time until now, in nanoseconds.
        after: the one from now on.

    Returns:
        The same object if nothing changes.
    """
    if before == after or now >= table.learn_until or table.is_at_rest:
        return table
    until = (max if after > before else min)(table.learn_until, now + after)
    return replace(table, learn_until=until)


def rested_table(table: Table, recorded: Mapping[int, Collection[int]], now: int) -> Table:
    """Return the table after bringing slots to rest that need no tracking.

    Args:
        table: the table.
        recorded: slot to the backends in its live flow records.
        now: nanoseconds of CLOCK_MONOTONIC.

    Returns:
        The same object if nothing changes.
    """
    keeping = {member.id for member in table.members if member.keeps_flows}
    learning = now < table.learn_until
    previous, rested = slots.rest(table.current, table.previous, recorded, keeping, learning)
    if not rested:
        return table
    return Table(table.members, table.current, previous, table.learn_until, table.owned)
