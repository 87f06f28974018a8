"""``pydsr tap``: packets of a real interface as they come in, and what became of them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from pydsr.kernel.bpf.live_state import LiveState
from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Done, Pydsr
from tests.support.netns.namespaces import BACKENDS, DEADLINE_SECONDS, Host, eventually

VIP, SERVICE = "10.66.0.80", "10.66.0.80:53/udp"
CLIENT = "10.66.0.101"


@pytest.fixture
def peer(lasting: tuple[Pydsr, Host]) -> Host:
    """The host at the other end of the wire, shared by the tests of this file."""
    return lasting[1]


@pytest.fixture
def served(quick: Pydsr) -> Pydsr:
    """A balancer with one service; its program may be able to capture already."""
    quick.ok("backends", "set", SERVICE, BACKENDS[0])
    return quick


def frame(lb: Host, port: int = 53) -> bytes:
    """Return a client's packet to a port of the VIP."""
    packet = IP(src=CLIENT, dst=VIP) / UDP(sport=40000, dport=port)
    return bytes(Ether(src="02:00:00:00:00:65", dst=lb.mac()) / packet / b"question")


@contextmanager
def capturing(pydsr: Pydsr, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Have a capture running for the length of the block."""
    with pydsr.start("tap", *options) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "capturing on eth0\n"
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> Done:
    """Return how a capture ended, which it does by itself."""
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert "Traceback" not in errors
    return Done(process.returncode, output, errors)


def captured(pydsr: Pydsr, peer: Host, frames: Sequence[bytes], *options: str) -> list[str]:
    """Return the lines of a capture of some frames."""
    with capturing(pydsr, *options) as process:
        for frame in frames:
            peer.send(frame)
        done = ended(process)
    assert done.status == ExitStatus.DONE
    return done.stdout.splitlines()


def test_each_packet_is_a_line(served: Pydsr, peer: Host) -> None:
    """Its time, where it came in, what it is and what became of it."""
    sent = [frame(served.host)] * 2
    shown = captured(served, peer, sent, "--reason", "forwarded", "--count", "2")
    assert len(shown) == 2
    assert shown[0].endswith(
        f" eth0 {CLIENT}:40000 > {VIP}:53 udp, 50 bytes: "
        f"tx forwarded, backend {BACKENDS[0]} ({peer.mac()})"
    )


def test_drops_alone_can_be_asked_for(served: Pydsr, peer: Host) -> None:
    """What is forwarded meanwhile is not shown."""
    sent = [frame(served.host), frame(served.host, 54), frame(served.host), frame(served.host, 55)]
    shown = captured(served, peer, sent, "--drops", "--count", "2")
    assert [one.partition(" > ")[2] for one in shown] == [
        f"{VIP}:{port} udp, 50 bytes: drop no_service" for port in (54, 55)
    ]


def test_several_reasons_can_be_asked_for(served: Pydsr, peer: Host) -> None:
    """Each of them is shown."""
    sent = [frame(served.host), frame(served.host, 54)]
    options = ("--reason", "no_service", "--reason", "forwarded", "--count", "2")
    shown = captured(served, peer, sent, *options)
    assert ["forwarded" in one for one in shown] == [True, False]


def test_a_file_is_read_by_tshark(served: Pydsr, peer: Host, tmp_path: Path) -> None:
    """With the interface, and what became of the packet as its comment."""
    path = tmp_path / "capture.pcapng"
    options = ("--reason", "forwarded", "--count", "2", "-w", str(path))
    assert captured(served, peer, [frame(served.host)] * 2, *options) == []
    fields = ("frame.interface_name", "frame.comment", "ip.dst", "udp.dstport")
    printed = served.host.run(
        "tshark", "-r", str(path), "-T", "fields", *(part for one in fields for part in ("-e", one))
    )
    expected = f"eth0\ttx forwarded, backend {BACKENDS[0]} ({peer.mac()})\t{VIP}\t53"
    assert printed.splitlines() == [expected, expected]


def test_a_pipe_has_each_packet_at_once(served: Pydsr, peer: Host) -> None:
    """Whoever reads it need not wait for the end."""
    with capturing(served, "--reason", "forwarded", "-w", "-") as process:
        assert process.stdout is not None
        with subprocess.Popen(
            ["tshark", "-l", "-r", "-", "-T", "fields", "-e", "frame.comment"],
            stdin=process.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as tshark:
            try:
                assert tshark.stdout is not None
                for _ in range(2):
                    peer.send(frame(served.host))
                    assert tshark.stdout.readline().startswith("tx forwarded, backend")
            finally:
                tshark.kill()


def test_a_capture_ends_with_its_reader(served: Pydsr, peer: Host) -> None:
    """As in ``pydsr tap | head -1``; the balancer does not notice."""
    with capturing(served, "--reason", "forwarded") as process:
        assert process.stdout is not None
        peer.send(frame(served.host))
        assert process.stdout.readline()
        process.stdout.close()

        def is_over() -> bool:
            peer.send(frame(served.host))
            return process.poll() is not None

        assert eventually(is_over)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    with capturing(served):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_usual_end(served: Pydsr, peer: Host, number: signal.Signals) -> None:
    """It says how many packets there were."""
    with capturing(served, "--reason", "forwarded") as process:
        peer.send(frame(served.host))
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        done = ended(process)
    assert done.status == ExitStatus.DONE
    assert done.stderr == "1 packet captured\n"


def test_one_capture_runs_at_a_time(served: Pydsr) -> None:
    """The second says so, and the first goes on."""
    with capturing(served) as process:
        done = served("tap")
        assert done.status == ExitStatus.FAILED
        assert "somebody taps packets here already" in done.stderr
        assert process.poll() is None


def test_a_killed_capture_is_no_loss(served: Pydsr, peer: Host) -> None:
    """Packets go on, the next change clears what it left, and another capture works."""
    with capturing(served) as process:
        process.kill()
        process.wait()
    with closing(LiveState(served.bpffs)) as state:
        assert state.tap_switch.is_on()
        assert peer.pings(VIP)
        served.ok("services", "add", "10.66.0.81:80")
        assert not state.tap_switch.is_on()
    assert captured(served, peer, [frame(served.host)], "--reason", "forwarded", "--count", "1")


def test_a_capture_goes_on_with_a_new_program(served: Pydsr, peer: Host) -> None:
    """An upgrade, or a feature that comes in, is no end of it."""
    with capturing(served, "--reason", "forwarded", "--count", "1") as process:
        before = served.host.xdp_program("eth0")
        served.ok("attach", "eth0", "--with", "vlan")
        assert served.host.xdp_program("eth0") != before

        def is_over() -> bool:
            peer.send(frame(served.host))
            return process.poll() is not None

        assert eventually(is_over)
        assert ended(process).stdout.endswith(f"backend {BACKENDS[0]} ({peer.mac()})\n")


def test_a_capture_ends_when_the_balancer_is_detached(served: Pydsr) -> None:
    """There is nothing more to see."""
    with capturing(served) as process:
        served.ok("detach", "eth0")
        done = ended(process)
    assert done.status == ExitStatus.FAILED
    assert "the balancer is on no interface" in done.stderr


def test_a_program_without_the_feature_says_how_to_get_it(served: Pydsr, peer: Host) -> None:
    """The advice works."""
    served.ok("attach", "eth0", "--without", "tap")
    done = served("tap")
    assert done.status == ExitStatus.CANNOT
    assert "pydsr attach --with tap" in done.stderr
    served.ok("attach", "eth0", "--with", "tap")
    assert captured(served, peer, [frame(served.host)], "--reason", "forwarded", "--count", "1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", "-1"), "-1 packets cannot be captured"),
        (("--sample", "0"), "one packet of 0 cannot be captured"),
        (("--sample", "1000001"), "one packet of 1000001 cannot be captured"),
        (("--reason", "nonsense"), "there is no reason 'nonsense'"),
        (("-w", "/nowhere/file"), "/nowhere/file"),
        (("-w", "/"), "/"),
    ],
)
def test_bad_input_is_refused(quick: Pydsr, options: tuple[str, ...], message: str) -> None:
    """Before anything is captured."""
    done = quick("tap", *options)
    assert done.status == ExitStatus.BAD_INPUT
    assert message in done.stderr
    assert done.stdout == ""


def test_without_a_balancer_there_is_nothing_to_capture(pydsr: Pydsr, tmp_path: Path) -> None:
    """No file is made either."""
    path = tmp_path / "capture"
    done = pydsr("tap", "-w", str(path))
    assert done.status == ExitStatus.FAILED
    assert "pydsr attach" in done.stderr
    assert not path.exists()
