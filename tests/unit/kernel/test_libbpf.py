"""Errors of the kernel that no test can cause, put in at the calls of libbpf."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from ctypes import c_uint32
from pathlib import Path
from types import SimpleNamespace

import pytest

from pydsr.control import attached_interfaces
from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor, RingBuffer, VerifierError
from pydsr.kernel.bpf.uapi_structs import LinkInfo
from pydsr.model.errors import EnvironmentCannotError

NO_FILE = Descriptor(-1)
KEY, VALUE = c_uint32(0), c_uint32(0)

WRITES: dict[str, Callable[[], object]] = {
    "bpf_map_create": lambda: libbpf.map_create(libbpf.MAP_TYPE_ARRAY, "a_map", 4, 4, 1),
    "bpf_map_update_elem": lambda: libbpf.map_update(NO_FILE, KEY, VALUE),
    "bpf_map_update_batch": lambda: libbpf.map_update_batch(NO_FILE, KEY, VALUE, 1),
}
READS: dict[str, Callable[[], object]] = {
    "bpf_map_lookup_elem": lambda: libbpf.map_lookup(NO_FILE, KEY, VALUE),
    "bpf_map_delete_elem": lambda: libbpf.map_delete(NO_FILE, KEY),
    "bpf_map_get_next_key": lambda: list(libbpf.map_keys(NO_FILE, c_uint32)),
    "bpf_map_lookup_batch": lambda: libbpf.map_read_batch(
        NO_FILE, (c_uint32 * 2)(), (c_uint32 * 2)(), KEY, first=True
    ),
}
"""The functions of ours that call each function of libbpf."""


def inject(monkeypatch: pytest.MonkeyPatch, **results: int) -> list[str]:
    """Have functions of libbpf fail with an errno; return the names of those called."""
    called: list[str] = []

    def failing(name: str, number: int) -> Callable[..., int]:
        def call(*_: object) -> int:
            called.append(name)
            ctypes.set_errno(number)
            return -number

        return call

    library = SimpleNamespace(**{name: failing(name, number) for name, number in results.items()})
    monkeypatch.setattr(libbpf, "_library", lambda: library)
    monkeypatch.setattr(libbpf, "_brief", lambda: library)
    return called


@pytest.mark.parametrize("function", WRITES)
@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC])
def test_a_kernel_without_memory_is_said_so(
    monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    inject(monkeypatch, **{function: number})
    with pytest.raises(EnvironmentCannotError, match=os.strerror(number)) as error:
        WRITES[function]()
    assert "out of memory for maps" in error.value.message
    assert "free" in error.value.hint


@pytest.mark.parametrize("function", [*WRITES, *READS])
def test_another_error_is_the_kernels(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    inject(monkeypatch, **{function: errno.EPERM})
    with pytest.raises(PermissionError, match="Operation not permitted"):
        (WRITES | READS)[function]()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("bpf_map_lookup_elem", False),
        ("bpf_map_delete_elem", False),
        ("bpf_map_get_next_key", []),
        ("bpf_map_lookup_batch", (2, True)),
    ],
)
def test_an_element_that_is_not_there_is_no_error(
    monkeypatch: pytest.MonkeyPatch, function: str, expected: object
) -> None:
    inject(monkeypatch, **{function: errno.ENOENT})
    assert expected == READS[function]()


@pytest.mark.parametrize("lacking", [*libbpf._FUNCTIONS])
def test_an_old_library_is_named_with_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    inject(monkeypatch, **{name: 0 for name in libbpf._FUNCTIONS if name != lacking})
    with pytest.raises(EnvironmentCannotError, match=f"too old: it lacks {lacking}$") as error:
        libbpf.check_library()
    assert "apt install libbpf1" in error.value.hint


def test_a_library_that_lacks_nothing_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, **dict.fromkeys(libbpf._FUNCTIONS, 0))
    libbpf.check_library()


def test_a_missing_library_is_said_so() -> None:
    asked = []

    def open_library(name: str, **_: object) -> ctypes.CDLL:
        asked.append(name)
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(EnvironmentCannotError, match="libbpf is missing or too old"):
        libbpf._opened(open_library)  # type: ignore[arg-type]
    assert ["libbpf.so.1", "libbcc.so.0"] == asked


def loader(results: list[int]) -> tuple[SimpleNamespace, list[int]]:
    """Return a library whose loads have these results, and the log levels they were asked with."""
    levels: list[int] = []

    def load(*arguments: object) -> int:
        options = arguments[-1]._obj  # type: ignore[attr-defined] # of byref()
        levels.append(options.log_level)
        if options.log_level:
            ctypes.memmove(options.log_buf, b"R1 is no packet", 15)
        return results.pop(0)

    return SimpleNamespace(bpf_prog_load=load), levels


def test_a_refused_program_is_loaded_again_for_the_verifiers_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library, levels = loader([-errno.EACCES, -errno.EACCES])
    monkeypatch.setattr(libbpf, "_library", lambda: library)
    with pytest.raises(VerifierError) as error:
        libbpf.program_load("a_program", libbpf.RETURN_XDP_PASS, 0, "GPL")
    assert (errno.EACCES, "R1 is no packet") == (error.value.errno, error.value.log)
    assert [0, 1] == levels


def test_a_program_that_the_kernel_takes_the_second_time_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have lacked memory for a moment."""
    number = os.open(os.devnull, os.O_RDONLY)
    library, _ = loader([-errno.ENOMEM, number])
    monkeypatch.setattr(libbpf, "_library", lambda: library)
    with libbpf.program_load("a_program", libbpf.RETURN_XDP_PASS, 0, "GPL") as loaded:
        assert number == loaded.number


class _Ring:
    """A library whose ring buffer hands out elements, and then has a result."""

    def __init__(self, elements: list[bytes], result: int) -> None:
        self.elements, self.result = elements, result
        self.freed = 0

        def new(_fd: int, call: Callable[..., int], *_: object) -> int:
            self.call = call
            return 1

        def poll(_reader: int, milliseconds: int) -> int:
            self.milliseconds = milliseconds
            for element in self.elements:
                buffer = ctypes.create_string_buffer(element, len(element))
                answer = self.call(0, ctypes.addressof(buffer), len(element))
                if answer:
                    return answer
            return self.result

        def free(_reader: int) -> None:
            self.freed += 1

        self.ring_buffer__new, self.ring_buffer__poll, self.ring_buffer__free = new, poll, free


def test_an_error_of_the_handler_is_raised_by_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and the reader can be polled again."""
    ring = _Ring([b"one", b"two"], 2)
    monkeypatch.setattr(libbpf, "_library", lambda: ring)
    handled: list[bytes] = []

    def handle(element: bytes) -> None:
        handled.append(element)
        if handled == [b"one"]:
            raise ValueError("cannot be decoded")

    reader = RingBuffer(NO_FILE, handle)
    with pytest.raises(ValueError, match="cannot be decoded"):
        reader.poll(0.25)
    assert ([b"one"], 250) == (handled, ring.milliseconds)
    assert 2 == reader.poll(0)
    assert [b"one", b"one", b"two"] == handled
    reader.close()
    reader.close()
    assert 1 == ring.freed


def test_an_interrupted_poll_has_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = _Ring([], -errno.EINTR)
    monkeypatch.setattr(libbpf, "_library", lambda: ring)
    reader = RingBuffer(NO_FILE, lambda _: None)
    assert 0 == reader.poll(0)
    ring.result = -errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.poll(0)
    reader.close()


def test_a_ring_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def new(*_: object) -> None:
        ctypes.set_errno(errno.ENOMEM)

    monkeypatch.setattr(libbpf, "_library", lambda: SimpleNamespace(ring_buffer__new=new))
    with pytest.raises(OSError, match="the ring buffer cannot be read") as error:
        RingBuffer(NO_FILE, lambda _: None)
    assert errno.ENOMEM == error.value.errno


# -- readers, which do not wait for commands


def test_a_link_that_is_detached_while_links_are_read_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between listing the pins and opening them."""
    (tmp_path / "links").mkdir()
    for index in (2, 3, 4):
        (tmp_path / "links" / str(index)).touch()

    def open_pin(path: Path) -> Descriptor:
        if path.name == "3":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return Descriptor(-int(path.name))

    monkeypatch.setattr(libbpf, "open_pin", open_pin)
    monkeypatch.setattr(libbpf, "link_info", lambda fd: LinkInfo(ifindex=-fd.number % 4))
    assert {2} == attached_interfaces.living_links(tmp_path).keys()  # 4 has vanished
