"""Backends that do not answer are left out, and added when they do."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from pydsr.control.edits import AddMissingBackends
from pydsr.daemon import file_apply
from pydsr.daemon.file_apply import add_backends, apply_without_silent, find_answering, select
from pydsr.model.addresses import Endpoint, IPAddress
from pydsr.model.change import Impact
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.errors import BackendUnresolvedError
from pydsr.model.options import ServiceOptions
from pydsr.model.service import Backend, BackendState, DesiredBackend, Service

NOWHERE = Path("/nowhere")
WEB, MAIL = Endpoint.parse("10.66.0.80:80"), Endpoint.parse("10.66.0.80:25")
A, B, C = (ip_address(f"10.66.0.{n}") for n in (11, 12, 13))


def backends(*addresses: IPAddress) -> tuple[DesiredBackend, ...]:
    return tuple(DesiredBackend(address, 1, BackendState.UP) for address in addresses)


def silent(*addresses: IPAddress) -> BackendUnresolvedError:
    error = BackendUnresolvedError("they do not answer")
    error.silent = frozenset(addresses)
    return error


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> deque[BackendUnresolvedError | Impact]:
    """The results of the next applies; each takes the backends that were applied at its end."""
    results: deque[BackendUnresolvedError | Impact] = deque()

    def apply(_: Path, desired: DesiredState) -> Impact:
        result = results.popleft()
        if isinstance(result, BackendUnresolvedError):
            raise result
        assert [(A,)] == [tuple(b.address for b in each.backends) for each in desired.services]
        return result

    monkeypatch.setattr(file_apply, "apply", apply)
    return results


def test_backends_that_fall_silent_one_after_the_other_are_all_left_out(
    applied: deque[BackendUnresolvedError | Impact],
) -> None:
    wanted = DesiredState(services=(DesiredService(WEB, backends=backends(A, B, C)),))
    impact = Impact(())
    applied.extend([silent(B), silent(C), impact])
    result = apply_without_silent(NOWHERE, wanted)
    assert (impact, {WEB: backends(B, C)}) == (result.impact, result.waiting)


@pytest.mark.parametrize("second", [silent(B), BackendUnresolvedError("it is routed")])
def test_an_apply_that_leaving_out_does_not_help_fails(
    applied: deque[BackendUnresolvedError | Impact], second: BackendUnresolvedError
) -> None:
    """It would fail again and again."""
    applied.extend([silent(B), second])
    wanted = DesiredState(services=(DesiredService(WEB, backends=backends(A, B)),))
    with pytest.raises(BackendUnresolvedError):
        apply_without_silent(NOWHERE, wanted)
    assert not applied


@pytest.mark.parametrize(
    ("errors", "expected", "asked"),
    [
        ([], {A, B, C}, [{A, B, C}]),
        ([silent(B)], {A, C}, [{A, B, C}, {A, C}]),
        ([silent(A, B, C)], set(), [{A, B, C}]),
        ([BackendUnresolvedError("it is routed")], set(), [{A, B, C}]),
    ],
)
def test_those_that_answer_are_found_beside_silent_ones(
    monkeypatch: pytest.MonkeyPatch,
    errors: list[BackendUnresolvedError],
    expected: set[IPAddress],
    asked: list[set[IPAddress]],
) -> None:
    """Each address is asked once, in however many services it is."""
    left, questions = deque(errors), []

    class Network:
        def __init__(self, _: object) -> None:
            pass

        def resolve(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, None]:
            assert len(set(addresses)) == len(addresses)
            questions.append(set(addresses))
            if left:
                raise left.popleft()
            return dict.fromkeys(addresses)

    monkeypatch.setattr(file_apply, "Network", Network)
    monkeypatch.setattr(file_apply, "attached", lambda _: [])
    waiting = {WEB: backends(A, B), MAIL: backends(B, C)}
    assert expected == find_answering(NOWHERE, waiting)
    assert asked == questions


def test_backends_are_added_to_all_services_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a command has added, or whose service it has removed, are not reported."""
    edits_made: list[Sequence[AddMissingBackends]] = []
    live = (Backend(1, B, 1, None, False, BackendState.UP, 2),)

    class Balancer:
        def __init__(self, _: Path) -> None:
            pass

        def __enter__(self) -> Balancer:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def change_several(self, edits: Sequence[AddMissingBackends]) -> list[Service]:
            edits_made.append(edits)
            return [Service(1, WEB, ServiceOptions(), live)]

    monkeypatch.setattr(file_apply, "Balancer", Balancer)
    ready = {WEB: backends(A, B), MAIL: backends(C)}
    assert [(WEB, A)] == add_backends(NOWHERE, ready)
    ((first, second),) = edits_made
    assert (WEB, backends(A, B)) == (first.endpoint, first.backends)
    assert (MAIL, backends(C)) == (second.endpoint, second.backends)


def test_a_selection_has_no_empty_services() -> None:
    waiting = {WEB: backends(A, B), MAIL: backends(B, C)}
    assert {WEB: backends(A)} == select(waiting, {A})
    assert {WEB: backends(B), MAIL: backends(B)} == select(waiting, {B})
    assert {} == select(waiting, ())
