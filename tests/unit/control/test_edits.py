"""From the backends a service has to those it is to have."""

from __future__ import annotations

import ipaddress

import pytest

from pydsr.control.edits import (
    AddBackends,
    AddMissingBackends,
    BackendEdit,
    ChangeState,
    RemoveBackends,
    SetBackends,
)
from pydsr.model.addresses import Endpoint, MacAddress, Place
from pydsr.model.change import backend_changes
from pydsr.model.errors import InputError
from pydsr.model.options import ServiceOptions as Options
from pydsr.model.service import (
    Backend,
    BackendState,
    DesiredBackend,
    Service,
    as_desired,
)

ENDPOINT = Endpoint.parse("198.51.100.10:80")
MAC = MacAddress.parse("02:00:00:00:00:01")
UP, DRAIN, DOWN = BackendState.UP, BackendState.DRAIN, BackendState.DOWN


def address(number: int) -> ipaddress.IPv4Address:
    """Return the address of a numbered backend."""
    return ipaddress.IPv4Address(f"10.0.0.{number}")


def service(*backends: Backend) -> Service:
    """Return a service with some backends."""
    return Service(0, ENDPOINT, Options(), backends)


def backend(
    number: int, weight: int = 1, state: BackendState = UP, by_hand: bool = False
) -> Backend:
    """Return a backend of the service."""
    return Backend(number, address(number), weight, MAC, by_hand, state, 2)


def specs(*texts: str) -> list[DesiredBackend]:
    """Return backends as a user names them."""
    return [DesiredBackend.parse(text) for text in texts]


def wanted(edit: BackendEdit, of: Service) -> dict[int, tuple[int, BackendState]]:
    """Return weight and state by number of the backends that an edit wants."""
    return {
        int(str(d.address).rpartition(".")[2]): (d.weight, d.state)
        for d in edit.desired_backends(of)
    }


def test_set_replaces_all_there_was() -> None:
    edit = SetBackends(ENDPOINT, specs("10.0.0.2=3", "10.0.0.3"))
    assert wanted(edit, service(backend(1), backend(2, state=DOWN))) == {2: (3, UP), 3: (1, UP)}


def test_add_keeps_what_there_is_and_changes_weights() -> None:
    edit = AddBackends(ENDPOINT, specs("10.0.0.2=5", "10.0.0.3"))
    expected = {1: (1, UP), 2: (5, UP), 3: (1, UP)}
    assert wanted(edit, service(backend(1), backend(2))) == expected


def test_weight_0_is_the_same_as_drained() -> None:
    for edit in (
        SetBackends(ENDPOINT, specs("10.0.0.1=0")),
        AddBackends(ENDPOINT, specs("10.0.0.1=0")),
    ):
        assert wanted(edit, service(backend(1))) == {1: (0, DRAIN)}


def test_a_weight_ends_a_drain_by_weight_but_not_one_asked_for() -> None:
    edit = AddBackends(ENDPOINT, specs("10.0.0.1=2"))
    assert wanted(edit, service(backend(1, 0, DRAIN))) == {1: (2, UP)}
    assert wanted(edit, service(backend(1, 1, DRAIN))) == {1: (2, DRAIN)}


def test_drain_keeps_the_weight_for_later() -> None:
    present = service(backend(1, 4), backend(2))
    drained = ChangeState(ENDPOINT, [address(1)], DRAIN)
    assert wanted(drained, present) == {1: (4, DRAIN), 2: (1, UP)}


def test_undrain_of_a_weightless_backend_says_to_give_it_one() -> None:
    edit = ChangeState(ENDPOINT, [address(1)], UP)
    with pytest.raises(InputError, match="weight 0") as refused:
        edit.desired_backends(service(backend(1, 0, DRAIN)))
    assert "10.0.0.1=1" in refused.value.hint


def test_remove_takes_out_those_named() -> None:
    edit = RemoveBackends(ENDPOINT, [address(1)])
    assert wanted(edit, service(backend(1), backend(2))) == {2: (1, UP)}


@pytest.mark.parametrize(
    "edit", [RemoveBackends(ENDPOINT, [address(9)]), ChangeState(ENDPOINT, [address(9)], DOWN)]
)
def test_a_backend_that_is_not_there_is_named(edit: BackendEdit) -> None:
    with pytest.raises(InputError, match=r"has no backend 10\.0\.0\.9"):
        edit.desired_backends(service(backend(1)))


def test_backends_that_cannot_be_together_are_refused() -> None:
    with pytest.raises(InputError, match="named twice"):
        SetBackends(ENDPOINT, specs("10.0.0.1", "10.0.0.1=2"))
    with pytest.raises(InputError, match="is the VIP itself"):
        AddBackends(ENDPOINT, specs("198.51.100.10"))


def test_a_mac_given_by_hand_stays_when_the_weight_changes() -> None:
    edit = AddBackends(ENDPOINT, specs("10.0.0.1=2"))
    (kept,) = edit.desired_backends(service(backend(1, by_hand=True)))
    (resolved,) = edit.desired_backends(service(backend(1)))
    assert (kept.mac, resolved.mac) == (MAC, None)


def test_changes_name_what_differs_and_nothing_else() -> None:
    present = service(backend(1), backend(2), backend(3))
    other = MacAddress.parse("02:00:00:00:00:02")
    desired = [
        DesiredBackend(address(2), 1, UP),
        DesiredBackend(address(3), 2, DRAIN),
        DesiredBackend(address(4), 1, UP),
    ]
    changes = backend_changes(present, desired, [Place(mac, 2) for mac in (MAC, other, MAC)])
    assert [(c.action, c.object.split()[1], c.before, c.after) for c in changes] == [
        ("remove backend", "10.0.0.1", "weight 1", None),
        ("set weight", "10.0.0.3", 1, 2),
        ("set state", "10.0.0.3", "up", "drain"),
        ("set mac", "10.0.0.3", str(MAC), str(other)),
        ("add backend", "10.0.0.4", None, "weight 1"),
    ]
    assert backend_changes(present, [as_desired(b) for b in present.backends],
                                   [Place(MAC, 2)] * 3) == ()  # fmt: skip


def test_missing_backends_are_added_and_the_others_stay() -> None:
    edit = AddMissingBackends(ENDPOINT, specs("10.0.0.1=5", "10.0.0.2"))
    assert wanted(edit, service(backend(1, 3, DRAIN))) == {1: (3, DRAIN), 2: (1, UP)}
