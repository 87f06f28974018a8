"""A backend's MAC changes while packets use it."""

from __future__ import annotations

import threading

from tests.support.packets.case_services import forwarded, tcp4
from tests.support.packets.data_plane import NOWHERE, Rig

BACKEND = 70
ENDPOINT = "198.51.100.10:80"
FRAME = bytes(tcp4())


def test_a_replaced_mac_is_used_from_the_next_packet_on(rig: Rig) -> None:
    rig.serve(ENDPOINT, [BACKEND])
    assert rig.send(FRAME).frame == bytes(forwarded(tcp4(), BACKEND))
    rig.place(BACKEND, bytes.fromhex("020304050607"))
    assert rig.send(FRAME).frame[:6] == bytes.fromhex("020304050607")


def test_packets_see_the_old_mac_or_the_new_one(rig: Rig) -> None:
    rig.serve(ENDPOINT, [BACKEND])
    macs = (bytes.fromhex("020000000000"), bytes.fromhex("feffffffffff"))
    rig.place(BACKEND, macs[0])
    done = threading.Event()

    def replace() -> None:
        turn = 0
        while not done.is_set():
            turn = 1 - turn
            rig.place(BACKEND, macs[turn])

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        seen = {rig.run(FRAME)[:6] for _ in range(20_000)}
    finally:
        done.set()
        writer.join()
    assert seen == set(macs)


def test_a_backend_that_moves_to_another_interface_gets_nothing_by_this_one(rig: Rig) -> None:
    rig.serve(ENDPOINT, [BACKEND])
    rig.place(BACKEND, ifindex=NOWHERE)
    assert rig.send(FRAME).reason == "other_interface"
    rig.place(BACKEND)
    assert rig.send(FRAME).reason == "forwarded"


def test_a_balancer_without_interfaces_answers_nobody(rig: Rig) -> None:
    from tests.support.packets.cases import arp, solicitation

    rig.serve(ENDPOINT, [BACKEND])
    rig.serve("[2001:db8::10]:80", [BACKEND + 1])
    rig.state.interfaces.delete(1)
    assert rig.send(bytes(arp())).reason == "not_our_mac"
    assert rig.send(bytes(solicitation())).reason == "not_our_mac"
    assert rig.send(FRAME).reason == "not_our_mac"
