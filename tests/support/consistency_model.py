"""A model of connection consistency: what xdp/consistency.h does, written again in Python.

It shares no code with the program. Tables follow one another by pydsr.hashing.table, whose rules
are what the model is there to check: whatever happens, no flow of a backend that is up or draining
is sent to another, as long as it is never silent for longer than the learning time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from pydsr.hashing.maglev import Member
from pydsr.hashing.slots import LOOK_UP_ONLY
from pydsr.hashing.table import Table, empty_table, following_table, rested_table
from pydsr.model.service import BackendState

LEARN = 100
"""The learning time of the model's service, in its own units of time."""

BACKENDS = range(1, 5)
FLOWS = range(6)


@dataclass(frozen=True)
class Packet:
    """One packet of a flow: syn, data, fin or udp."""

    flow: int
    kind: str


@dataclass(frozen=True)
class Change:
    """Give a backend a state and a weight; None removes it."""

    backend: int
    state: BackendState | None
    weight: int


@dataclass(frozen=True)
class Wait:
    """Let time pass."""

    time: int


@dataclass(frozen=True)
class Tidy:
    """Bring to rest what can be."""


Step = Packet | Change | Wait | Tidy


def steps(kinds: tuple[str, ...]) -> st.SearchStrategy[list[Step]]:
    """Return a strategy of histories whose packets are of those kinds."""
    packets = st.builds(Packet, st.sampled_from(FLOWS), st.sampled_from(kinds))
    changes = st.builds(
        Change,
        st.sampled_from(BACKENDS),
        st.sampled_from(
            [BackendState.UP, BackendState.UP, BackendState.DRAIN, *BackendState, None]
        ),
        st.integers(1, 3),
    )
    waits = st.builds(Wait, st.sampled_from([1, LEARN // 4, LEARN // 2, LEARN - 1, LEARN + 1]))
    step = st.one_of(packets, packets, packets, changes, waits, st.just(Tidy()))
    return st.lists(step, min_size=10, max_size=80)


@dataclass
class Remembered:
    """A record or a pending SYN."""

    backend: int
    last_seen: int
    closing: bool = False


@dataclass
class Model:
    """One service with its flows.

    Attributes:
        slots: the slot of each flow.
        by_syn: whether flows open with a SYN (TCP by flow), or not (UDP, or by source).
    """

    slots: dict[int, int]
    table: Table
    by_syn: bool
    now: int = 0
    records: dict[int, Remembered] = field(default_factory=dict)
    pending: dict[int, Remembered] = field(default_factory=dict)

    @classmethod
    def with_backends(cls, slots: dict[int, int], size: int, by_syn: bool) -> Model:
        """Return a service at rest with three backends."""
        model = cls(slots, empty_table(size), by_syn)
        for backend in (1, 2, 3):
            model.change(Change(backend, BackendState.UP, 1))
        return model

    # -- the data plane

    def packet(self, packet: Packet) -> int:
        """Return the backend that a packet goes to; 0 is none."""
        flow, slot = packet.flow, self.slots[packet.flow]
        current, previous = self.table.current[slot], self.table.previous[slot]
        if not previous:
            return current
        closing = self.by_syn and packet.kind == "fin"
        if self.by_syn and packet.kind == "syn":
            self.pending[flow] = Remembered(current, self.now)
            return current
        if self.by_syn and flow in self.pending and self._usable(self.pending[flow].backend):
            backend = self.pending.pop(flow).backend
            self.records[flow] = Remembered(backend, self.now, closing)
            return backend
        record = self.records.get(flow)
        if record is not None and self._usable(record.backend):
            record.last_seen = self.now
            record.closing = record.closing or closing
            return record.backend
        if previous != LOOK_UP_ONLY and self.learning:
            self.records[flow] = Remembered(previous, self.now, closing)
            return previous
        return current

    @property
    def learning(self) -> bool:
        """Whether flows without a record are taken for older than the change."""
        return self.now < self.table.learn_until

    def _usable(self, backend: int) -> bool:
        return backend in self.keeping()

    def keeping(self) -> set[int]:
        """Return the backends whose flows may stay: up or draining."""
        return {m.id for m in self.table.members if m.state is not BackendState.DOWN}

    # -- the control plane

    def change(self, change: Change) -> None:
        """Change a backend, as a command does: tidy, then the next table."""
        self.tidy()
        members = {member.id: member for member in self.table.members}
        members.pop(change.backend, None)
        if change.state is not None:
            key = change.backend.to_bytes(16, "big")
            members[change.backend] = Member(key, change.weight, change.backend, change.state)
        ordered = [members[number] for number in sorted(members)]
        self.table = following_table(self.table, ordered, self.now, LEARN)

    def tidy(self) -> None:
        """Bring slots to rest, and forget what no longer matters."""
        self.records = {
            flow: record
            for flow, record in self.records.items()
            if self.now - record.last_seen < LEARN and self._usable(record.backend)
        }
        recorded: dict[int, set[int]] = {}
        self.pending = {
            flow: waiting
            for flow, waiting in self.pending.items()
            if self.now - waiting.last_seen < LEARN
        }
        for flow, record in (*self.records.items(), *self.pending.items()):
            recorded.setdefault(self.slots[flow], set()).add(record.backend)
        self.table = rested_table(self.table, recorded, self.now)
        for remembered in (self.records, self.pending):
            for flow in [f for f in remembered if not self.table.previous[self.slots[f]]]:
                del remembered[flow]


@dataclass
class Witness:
    """What the hosts know: which backend has the state of each flow, and since when it is silent.

    A SYN makes a new flow of its ports; so does a packet of a flow that was silent for too long,
    or whose backend is gone.
    """

    owners: dict[int, Remembered] = field(default_factory=dict)

    def saw(self, packet: Packet, backend: int, model: Model) -> None:
        """Check where a packet went.

        Raises:
            AssertionError: its flow was broken.
        """
        owner = self.owners.get(packet.flow)
        holds = (
            owner is not None
            and packet.kind != "syn"
            and model.now - owner.last_seen < LEARN
            and owner.backend in model.keeping()
        )
        if owner is not None and holds:
            assert backend == owner.backend, f"{packet} left backend {owner.backend}"
        if not model.by_syn or packet.kind == "syn" or holds:
            self.owners[packet.flow] = Remembered(backend, model.now)
        else:
            # A stray packet: no host has state for it.
            self.owners.pop(packet.flow, None)

    def forget_lost(self, model: Model) -> None:
        """Forget the flows of backends that are down or were removed: their state is lost."""
        keeping = model.keeping()
        self.owners = {f: o for f, o in self.owners.items() if o.backend in keeping}


def run(model: Model, witness: Witness, step: Step) -> int | None:
    """Take one step of a history; the backend, for a packet."""
    match step:
        case Packet():
            backend = model.packet(step)
            witness.saw(step, backend, model)
            return backend
        case Change():
            model.change(step)
            witness.forget_lost(model)
        case Wait():
            model.now += step.time
        case Tidy():
            model.tidy()
    return None
