"""The benchmark's wire: what its generator makes, and what its sink takes for an answer."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from bench.forwarder import MAC_PREFIX, Forwarder, load_swap
from bench.wire_flows import PORT, VIP4, make_flows
from bench.wire_load import Load
from bench.wire_network import (
    BALANCER_MAC,
    CLIENT_MAC,
    INTERFACE,
    Wire,
    attached,
    index_of,
    made_outside,
    made_wire,
    take_frames_as_buffers,
)
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.lab.network import enter_namespace
from tests.support.netns.namespaces import DEADLINE_SECONDS, Host

FRAMES = 3_000
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
"""Of linux/if_ether.h and asm/socket.h; Python has no names for them."""


@dataclass(frozen=True)
class Bench:
    """A wire with a load."""

    outside: Host
    wire: Wire
    load: Load


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    if os.geteuid() != 0:
        pytest.skip("namespaces and XDP take root")
    with made_outside() as outside, made_wire(outside, 0) as wire:
        yield Bench(outside, wire, Load())


def counted(bench: Bench, program: Descriptor, flows: int) -> tuple[tuple[int, ...], int]:
    """Return what the sink counts of a forwarder's answers: by backend, and others."""
    balancer = bench.wire.balancer
    with (
        attached(program, balancer, [index_of(balancer, INTERFACE)]),
        bench.load.attached(bench.outside, [bench.wire]),
    ):
        run = bench.load.run(bench.wire, make_flows(4, flows), FRAMES, MAC_PREFIX)
    assert run.sent == FRAMES
    return run.by_backend, run.others


def test_every_frame_of_a_flow_is_counted_for_its_backend(bench: Bench) -> None:
    by_backend, others = counted(bench, Forwarder([(VIP4, PORT, 6)]).program, flows=1)
    assert ([0] * 15 + [FRAMES], 0) == (sorted(by_backend), others)


def test_flows_take_turns(bench: Bench) -> None:
    by_backend, others = counted(bench, Forwarder([(VIP4, PORT, 6)]).program, flows=1_000)
    assert (FRAMES, 0) == (sum(by_backend), others)
    assert all(frames % (FRAMES // 1_000) == 0 and frames for frames in by_backend)


def test_an_answer_with_another_mac_is_none(bench: Bench) -> None:
    assert ((0,) * 16, FRAMES) == counted(bench, load_swap(), flows=1)


@contextmanager
def roomy_ears(host: Host) -> Iterator[socket.socket]:
    """Hear every frame of a host's interface; each takes a page until it is read."""
    with (
        enter_namespace(host.name),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as listener,
    ):
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        listener.settimeout(DEADLINE_SECONDS)
        listener.bind((INTERFACE, 0))
        yield listener


@pytest.mark.parametrize("version", [4, 6])
def test_the_generator_sends_right_frames_of_every_flow(bench: Bench, version: int) -> None:
    balancer, flows = bench.wire.balancer, 200
    take_frames_as_buffers(balancer)
    with (
        roomy_ears(balancer) as listener,
        bench.load.attached(bench.outside, [bench.wire]),
    ):
        # More than a batch of 64, so that pages are used again.
        bench.load.run(bench.wire, make_flows(version, flows), flows, MAC_PREFIX)
        received = [listener.recv(2048) for _ in range(flows)]
    assert list(range(1024, 1024 + flows)) == [Ether(frame)[TCP].sport for frame in received]
    for frame in received:
        packet = Ether(frame)
        assert (BALANCER_MAC, CLIENT_MAC) == (packet.dst, packet.src)
        ip = packet[IP if version == 4 else IPv6]
        for header in (ip, ip[TCP]):
            if "chksum" in header.fields:
                del header.chksum
        assert frame == bytes(packet)
