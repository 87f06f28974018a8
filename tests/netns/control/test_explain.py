"""Captures and frames are explained by the program that is loaded, and leave no trace."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, wrpcap

from pydsr.model.errors import ExitStatus
from tests.support.netns.command import Done, Pydsr
from tests.support.netns.namespaces import BACKENDS, Host, eventually, made_directory, made_wire

VIP, VIP6, CLIENT = "10.66.0.80", "fd66::80", "10.66.0.2"
WEB = f"{VIP}:80/tcp"


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[Pydsr, Host]]:
    """A balancer with a service for each IP version, and its peer."""
    with made_wire() as (lb, peer), made_directory() as bpffs:
        pydsr = Pydsr(lb, bpffs)
        pydsr.ok("attach", "eth0", "--with", "vlan,fragments,tap")
        pydsr.ok("backends", "set", WEB, BACKENDS[0], BACKENDS[1])
        pydsr.ok("backends", "set", f"[{VIP6}]:80", BACKENDS[3])
        pydsr.ok("services", "add", f"{VIP}:81")
        yield pydsr, peer


@pytest.fixture
def pydsr(network: tuple[Pydsr, Host]) -> Pydsr:
    """The command on the balancer."""
    return network[0]


def to_us(pydsr: Pydsr) -> Packet:
    """Return the Ethernet header of a client's frame."""
    return Ether(src="02:00:00:00:00:99", dst=pydsr.host.mac())


def frames(pydsr: Pydsr) -> list[tuple[Packet, str]]:
    """Return frames of every kind, each with the reason it leaves for."""
    eth, ip, tcp = to_us(pydsr), IP(src=CLIENT, dst=VIP), TCP(sport=40000, dport=80, flags="A")
    answer = IP(src=VIP, dst=CLIENT) / TCP(sport=80, dport=40000)
    elsewhere = Ether(src="02:00:00:00:00:99", dst="02:00:00:00:00:98")
    first, later = fragment(ip / UDP(sport=1, dport=80) / Raw(bytes(2000)), 1200)
    return [
        (eth / ip / tcp, "forwarded"),
        (eth / IPv6(src="fd66::2", dst=VIP6) / tcp, "forwarded"),
        (eth / Dot1Q(vlan=7) / ip / tcp, "forwarded"),
        (eth / ip / ICMP(), "echo_answered"),
        (eth / IPv6(src="fd66::2", dst=VIP6) / ICMPv6EchoRequest(), "echo_answered"),
        (eth / IP(src="10.66.0.3", dst=VIP) / ICMP(type=3, code=4) / answer, "forwarded_error"),
        (Ether(src=eth.src, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=CLIENT, pdst=VIP), "arp_answered"),
        (
            Ether(src=eth.src, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=CLIENT, pdst="10.66.0.1"),
            "not_ip",
        ),
        (eth / first, "no_service"),
        (eth / later, "fragment"),
        (eth / ip / TCP(dport=81), "no_backend"),
        (eth / ip / TCP(dport=82), "no_service"),
        (eth / IP(src=CLIENT, dst="10.66.0.1") / tcp, "not_vip"),
        (eth / IP(src=CLIENT, dst=VIP, ihl=15) / tcp, "malformed"),
        (eth / Raw(b"\x88\xcc" + bytes(50)), "not_ip"),
        (elsewhere / ip / tcp, "not_our_mac"),
    ]


def lines(text: str) -> list[Any]:
    """Return the documents of a capture."""
    return [json.loads(line) for line in text.splitlines()]


def traces(pydsr: Pydsr) -> Any:
    """Return what packets leave behind."""
    document = pydsr.json("stats")
    return document["verdicts"], document["services"]


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_every_packet_of_a_capture_is_explained_and_none_counted(
    pydsr: Pydsr, form: str, tmp_path: Path
) -> None:
    expected = frames(pydsr)
    path = str(tmp_path / "all")
    if form == "pcap":
        wrpcap(path, [frame for frame, _ in expected])
    else:
        with PcapNgWriter(path) as writer:
            writer.write([frame for frame, _ in expected])

    def answers_without_traces() -> list[Any]:
        before = traces(pydsr)
        answers = lines(pydsr.ok("explain", "--pcap", path, "--json"))
        return answers if before == traces(pydsr) else []

    # Packets of the hosts themselves may be counted meanwhile, but not each time.
    answers = eventually(answers_without_traces)
    assert answers, "packets that were only explained are counted"
    assert [reason for _, reason in expected] == [each["reason"] for each in answers]
    assert list(range(1, len(expected) + 1)) == [each["number"] for each in answers]
    forwarded = answers[0]
    assert (WEB, "tx", "eth0") == tuple(forwarded[k] for k in ("service", "verdict", "interface"))
    assert forwarded["flow"] == f"{CLIENT}:40000 > {VIP}:80 tcp [.]"
    assert {forwarded["backend"]} <= set(BACKENDS[:2])
    assert forwarded["backend"] == answers[5]["backend"], "an ICMP error goes where its flow does"


def test_a_capture_says_the_same_as_the_flow_that_is_asked_about(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    path = str(tmp_path / "flow")
    wrpcap(path, [frames(pydsr)[0][0]])
    (of_frame,) = lines(pydsr.ok("explain", "--pcap", path, "--json"))
    of_flow = pydsr.json("explain", WEB, "--from", f"{CLIENT}:40000", "--in", "eth0")
    assert of_flow == {key: of_frame[key] for key in of_flow}


def test_real_traffic_as_tapped_is_explained_as_it_was_handled(
    network: tuple[Pydsr, Host], tmp_path: Path
) -> None:
    """Pydsr tap says of each packet what became of it; explain says it again."""
    pydsr, peer = network
    path = tmp_path / "tapped"
    with pydsr.start("tap", "--count", "4", "-w", str(path)) as tap:
        assert tap.stderr is not None
        assert "capturing" in tap.stderr.readline()

        def ended() -> bool:
            peer.attempt("ping", "-c", "1", "-W", "1", "-q", VIP)
            peer.attempt("ping", "-c", "1", "-W", "1", "-q", VIP6)
            return tap.poll() is not None

        assert eventually(ended)
    comments = peer.run("tshark", "-r", str(path), "-T", "fields", "-e", "frame.comment")
    answers = lines(pydsr.ok("explain", "--pcap", str(path), "--json"))
    handled = [line.partition(",")[0] for line in comments.splitlines()]
    assert handled == [f"{each['verdict']} {each['reason']}" for each in answers]
    assert 4 == len(answers)


def test_people_get_a_line_for_each_packet_and_what_the_reasons_mean(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    path = str(tmp_path / "some")
    wrpcap(path, [frame for frame, _ in frames(pydsr)])
    done = pydsr("explain", "--pcap", path)
    assert ExitStatus.DONE == done.status
    shown = done.stdout.splitlines()
    assert f": tx forwarded, {WEB} backend " in shown[0]
    assert "echo_answered" in shown[3]
    summary = {line.split()[2]: line for line in shown[len(frames(pydsr)) + 1 :]}
    assert dict(Counter(reason for _, reason in frames(pydsr))) == {
        reason: int(line.split()[0]) for reason, line in summary.items()
    }
    assert "ping of a VIP, answered" in summary["echo_answered"]
    assert "--to-us" in done.stderr


def test_frames_for_another_mac_are_taken_for_ours_where_that_is_asked_for(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    path = str(tmp_path / "others")
    frame, _ = frames(pydsr)[-1]
    wrpcap(path, [frame])
    done = pydsr("explain", "--pcap", path, "--to-us", "--json")
    assert ["forwarded"] == [each["reason"] for each in lines(done.stdout)]
    assert "" == done.stderr


def test_what_was_cut_is_explained_where_the_headers_are_there(
    pydsr: Pydsr, tmp_path: Path
) -> None:
    path, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    eth, ip = to_us(pydsr), IP(src=CLIENT, dst=VIP)
    long = Raw(bytes(1000))
    answer = IP(src=VIP, dst=CLIENT, options=[]) / TCP(sport=80, dport=40000)
    error = eth / IP(src="10.66.0.3", dst=VIP) / ICMP(type=3, code=4) / answer
    tcp = TCP(sport=40000, dport=80, flags="A")
    wrpcap(path, [eth / ip / tcp / long, eth / IPv6(dst=VIP6) / tcp / long, error / long])
    subprocess.run(["editcap", "-s", "60", path, cut], check=True)
    answers = lines(pydsr.ok("explain", "--pcap", cut, "--json"))
    assert ["forwarded", None, None] == [each["reason"] for each in answers]
    assert "only 60 of its 1074 bytes were captured" == answers[1]["note"]


def test_frames_that_no_program_is_run_on_are_told(pydsr: Pydsr, tmp_path: Path) -> None:
    path = str(tmp_path / "sizes")
    eth = bytes(to_us(pydsr))
    wrpcap(path, [eth[:13], eth + bytes(9000), eth + bytes(200_000)], linktype=1, snaplen=300_000)
    short, jumbo, huge = lines(pydsr.ok("explain", "--pcap", path, "--json"))
    assert (None, "13 bytes are less than an Ethernet header") == (short["reason"], short["note"])
    assert ("not_ip", None) == (jumbo["reason"], jumbo["note"])
    assert huge["reason"] is None
    assert "200014 bytes" in huge["note"]


def from_stdin(pydsr: Pydsr, data: bytes, *arguments: str) -> Done:
    """Run the command with something on its stdin."""
    done = subprocess.run(
        [*pydsr.host.prefix, *pydsr.command(*arguments)],
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_capture_and_a_frame_come_by_stdin(pydsr: Pydsr, tmp_path: Path) -> None:
    path = tmp_path / "one"
    frame, reason = frames(pydsr)[3]
    wrpcap(str(path), [frame])
    by_pipe = from_stdin(pydsr, path.read_bytes(), "explain", "--pcap", "-", "--json")
    assert [reason] == [each["reason"] for each in lines(by_pipe.stdout)]
    as_text = from_stdin(pydsr, bytes(frame).hex(" ").encode(), "explain", "--hex", "-", "--json")
    assert reason == json.loads(as_text.stdout)["reason"]


def test_a_frame_as_hex_is_explained(pydsr: Pydsr) -> None:
    frame, reason = frames(pydsr)[0]
    answers = pydsr.json("explain", "--hex", bytes(frame).hex(":"))
    assert (reason, WEB) == (answers["reason"], answers["service"])
    shown = pydsr.ok("explain", "--hex", bytes(frame).hex())
    assert "sent to the backend of its slot" in shown


def test_a_broken_capture_is_explained_up_to_there(pydsr: Pydsr, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    wrpcap(str(path), [frame for frame, _ in frames(pydsr)[:2]])
    path.write_bytes(path.read_bytes()[:-5])
    done = pydsr("explain", "--pcap", str(path), "--json")
    assert (ExitStatus.BAD_INPUT, 1) == (done.status, len(lines(done.stdout)))
    assert "broken after packet 1" in done.stderr


MISTAKES = {
    "nothing": ((), ExitStatus.USAGE, "ENDPOINT"),
    "two things": ((WEB, "--hex", "00"), ExitStatus.USAGE, "ENDPOINT"),
    "a source of a frame": (("--hex", "00", "--from", "10.0.0.1:1"), ExitStatus.USAGE, "--from"),
    "no file": (("--pcap", "/nowhere"), ExitStatus.BAD_INPUT, "/nowhere"),
    "a directory": (("--pcap", "/"), ExitStatus.BAD_INPUT, "cannot read /"),
    "no capture": (("--pcap", "/etc/passwd"), ExitStatus.BAD_INPUT, "no pcap or pcapng"),
    "no hex": (("--hex", "hello"), ExitStatus.BAD_INPUT, "no byte"),
    "not attached": (("--hex", "00" * 60, "--in", "eth9"), ExitStatus.BAD_INPUT, "eth9"),
}


@pytest.mark.parametrize(
    ("arguments", "status", "words"), list(MISTAKES.values()), ids=list(MISTAKES)
)
def test_mistakes_are_told(
    pydsr: Pydsr, arguments: tuple[str, ...], status: ExitStatus, words: str
) -> None:
    done = pydsr("explain", *arguments)
    assert (status, "") == (done.status, done.stdout)
    assert words in done.stderr
