"""The functions of libbpf that pydsr uses, through ctypes.

Every function raises ``OSError`` with the kernel's errno, and EnvironmentCannotError if libbpf is
not installed. Numbers are from ``linux/bpf.h``; structures are in ``uapi_structs.py``.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from pydsr.kernel.bpf.uapi_structs import (
    BatchOptions,
    LinkCreateOptions,
    LinkInfo,
    MapCreateOptions,
    MapInfo,
    ProgramInfo,
    ProgramLoadOptions,
    TestRunOptions,
    XdpContext,
)
from pydsr.model.errors import EnvironmentCannotError

MAP_TYPE_HASH = 1
MAP_TYPE_ARRAY = 2
MAP_TYPE_PROG_ARRAY = 3
MAP_TYPE_PERCPU_ARRAY = 6
MAP_TYPE_LRU_HASH = 9
MAP_TYPE_LPM_TRIE = 11
MAP_TYPE_ARRAY_OF_MAPS = 12
MAP_TYPE_DEVMAP_HASH = 25
MAP_TYPE_RINGBUF = 27

MAP_FLAG_NO_PREALLOC = 1 << 0
MAP_FLAG_MMAPABLE = 1 << 10

PROG_TYPE_CLASSIFIER = 3
PROG_TYPE_XDP = 6
PROG_FLAG_XDP_HAS_FRAGS = 1 << 5
ATTACH_TYPE_XDP = 37

XDP_FLAG_GENERIC = 1 << 1
XDP_FLAG_NATIVE = 1 << 2

RETURN_XDP_PASS = bytes.fromhex("b700000002000000 9500000000000000")
"""Two eBPF instructions: r0 = 2, which is XDP_PASS; exit."""

_RING_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_MAPS_MAX = 64
_TEST_RUN_LIVE_FRAMES = 1 << 1
_VERIFIER_LOG_BYTES = 1 << 20


class VerifierError(OSError):
    """The kernel refused a program; ``log`` is the verifier's."""

    def __init__(self, error: OSError, log: str) -> None:
        super().__init__(error.errno, error.strerror)
        self.log = log


class Descriptor:
    """An owned file descriptor, closed by ``close``, ``with`` or the destructor."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """Close it; closing twice does nothing."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def __enter__(self) -> Descriptor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


_FUNCTIONS = (
    *("bpf_link_create", "bpf_link_update", "bpf_map_create", "bpf_map_lookup_batch"),
    *("bpf_map_update_batch", "bpf_obj_get_info_by_fd", "bpf_prog_load"),
    *("bpf_prog_test_run_opts", "ring_buffer__new"),
)
"""The newest of the libbpf functions in use."""


@cache
def _library() -> Any:
    return _opened(ctypes.CDLL)


@cache
def _brief() -> Any:
    """Return the library for short calls, which do not release the interpreter's lock.

    While another thread computes, 200 calls that release it take 0.15 to 0.5 s.
    """
    return _opened(ctypes.PyDLL)


def _opened(kind: type[ctypes.CDLL]) -> Any:
    # Some distributions link libbpf into libbcc.
    for name in ("libbpf.so.1", "libbcc.so.0"):
        with suppress(OSError):
            return kind(name, use_errno=True)
    raise _missing("all functions")


def check_library() -> None:
    """Refuse a libbpf that lacks a function, as versions before 1.0 do.

    Raises:
        EnvironmentCannotError: libbpf is missing or too old; the hint says what to install.
    """
    missing = [name for name in _FUNCTIONS if not hasattr(_library(), name)]
    if missing:
        raise _missing(", ".join(missing))


def _missing(what: str) -> EnvironmentCannotError:
    return EnvironmentCannotError(
        f"libbpf is missing or too old: it lacks {what}", "apt install libbpf1 (1.0 or later)"
    )


def _checked(result: int) -> int:
    """Return the result of a libbpf call, or raise the negative errno in it."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _checked_write(result: int) -> int:
    """Return the result of a call that takes memory for a map, as :func:`_checked`.

    Raises:
        EnvironmentCannotError: there is none.
    """
    if result in (-errno.ENOMEM, -errno.ENOSPC):
        raise EnvironmentCannotError(
            f"the kernel is out of memory for maps: {os.strerror(-result)}",
            "check free memory with `free`",
        )
    return _checked(result)


def map_create(
    kind: int,
    name: str,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: int = 0,
    inner: Descriptor | None = None,
) -> Descriptor:
    """Create a map; sizes are in bytes; ``inner`` is the template of a map of maps."""
    options = MapCreateOptions(
        sz=ctypes.sizeof(MapCreateOptions),
        map_flags=flags,
        inner_map_fd=inner.number if inner else 0,
    )
    return Descriptor(
        _checked_write(
            _library().bpf_map_create(
                kind, name.encode(), key_size, value_size, max_entries, byref(options)
            )
        )
    )


def map_lookup(fd: Descriptor, key: Any, value: Any) -> bool:
    """Read the value of a key into a buffer; return False if the key is missing."""
    result = _brief().bpf_map_lookup_elem(fd.number, byref(key), byref(value))
    if result < 0 and ctypes.get_errno() == errno.ENOENT:
        return False
    _checked(result)
    return True


def map_update(fd: Descriptor, key: Any, value: Any) -> None:
    """Create or replace an element."""
    _checked_write(_library().bpf_map_update_elem(fd.number, byref(key), byref(value), c_uint64(0)))


def map_delete(fd: Descriptor, key: Any) -> bool:
    """Delete an element; return False if the key is missing."""
    result = _library().bpf_map_delete_elem(fd.number, byref(key))
    if result < 0 and ctypes.get_errno() == errno.ENOENT:
        return False
    _checked(result)
    return True


def map_keys(fd: Descriptor, key_type: type[Any]) -> Iterator[Any]:
    """Yield the keys of a hash map."""
    previous: Any = None
    while True:
        key = key_type()
        result = _library().bpf_map_get_next_key(
            fd.number, byref(previous) if previous is not None else None, byref(key)
        )
        if result < 0 and ctypes.get_errno() == errno.ENOENT:
            return
        _checked(result)
        yield key
        previous = key


def map_read_batch(
    fd: Descriptor, keys: Any, values: Any, cursor: Any, first: bool
) -> tuple[int, bool]:
    """Read elements into the arrays ``keys`` and ``values``.

    Args:
        fd: the map.
        keys: a ctypes array of the batch's size.
        values: as many values; for a per-CPU map, each with the values of all CPUs.
        cursor: a buffer of at least a key's size and 4 bytes, kept between calls.
        first: whether this call starts the walk.

    Returns:
        The number of elements read, and whether the map ends there.
    """
    count = c_uint32(len(keys))
    options = BatchOptions(sz=ctypes.sizeof(BatchOptions))
    result = _library().bpf_map_lookup_batch(
        fd.number,
        None if first else byref(cursor),
        byref(cursor),
        byref(keys),
        byref(values),
        byref(count),
        byref(options),
    )
    if result < 0 and ctypes.get_errno() != errno.ENOENT:
        _checked(result)
    return count.value, result < 0


def map_update_batch(fd: Descriptor, keys: Any, values: Any, number: int) -> None:
    """Create or replace ``number`` elements with one system call."""
    count = c_uint32(number)
    options = BatchOptions(sz=ctypes.sizeof(BatchOptions))
    _checked_write(
        _library().bpf_map_update_batch(
            fd.number, byref(keys), byref(values), byref(count), byref(options)
        )
    )


def map_by_id(number: int) -> Descriptor:
    """Open a map by its id."""
    return Descriptor(_checked(_brief().bpf_map_get_fd_by_id(c_uint32(number))))


def program_by_id(number: int) -> Descriptor:
    """Open a program by its id."""
    return Descriptor(_checked(_library().bpf_prog_get_fd_by_id(c_uint32(number))))


def link_by_id(number: int) -> Descriptor:
    """Open a link by its id."""
    return Descriptor(_checked(_library().bpf_link_get_fd_by_id(c_uint32(number))))


def pin(fd: Descriptor, path: Path) -> None:
    """Pin an object; the path must not exist."""
    _checked(_library().bpf_obj_pin(fd.number, str(path).encode()))


def open_pin(path: Path) -> Descriptor:
    """Open a pinned object."""
    return Descriptor(_checked(_library().bpf_obj_get(str(path).encode())))


def _info(fd: Descriptor, info: Any) -> Any:
    length = c_uint32(ctypes.sizeof(info))
    _checked(_library().bpf_obj_get_info_by_fd(fd.number, byref(info), byref(length)))
    return info


def map_info(fd: Descriptor) -> MapInfo:
    """Return the kernel's information about a map."""
    return _info(fd, MapInfo())  # type: ignore[no-any-return]


def program_info(fd: Descriptor) -> ProgramInfo:
    """Return the kernel's information about a program."""
    return _info(fd, ProgramInfo())  # type: ignore[no-any-return]


def program_map_ids(fd: Descriptor) -> list[int]:
    """Return the ids of the maps that a program uses."""
    ids = (c_uint32 * _MAPS_MAX)()
    _info(fd, info := ProgramInfo(nr_map_ids=_MAPS_MAX, map_ids=ctypes.addressof(ids)))
    return list(ids[: info.nr_map_ids])


def link_info(fd: Descriptor) -> LinkInfo:
    """Return the kernel's information about an XDP link."""
    return _info(fd, LinkInfo())  # type: ignore[no-any-return]


class RingBuffer:
    """A reader of a ring buffer map.

    Args:
        fd: the map.
        handle: called by :meth:`poll` with the bytes of each element; poll() raises its errors.
    """

    def __init__(self, fd: Descriptor, handle: Callable[[bytes], None]) -> None:
        self._error: BaseException | None = None

        def call(_context: int, data: int, size: int) -> int:
            try:
                handle(ctypes.string_at(data, size))
            except BaseException as error:  # noqa: BLE001 - libbpf cannot pass it on
                self._error = error
                return -errno.ECANCELED
            return 0

        # libbpf calls it as long as the reader exists, so keep a reference.
        self._call = _RING_CALLBACK(call)
        new = _library().ring_buffer__new
        new.restype = c_void_p
        new.argtypes = [c_int, _RING_CALLBACK, c_void_p, c_void_p]
        self._reader = new(fd.number, self._call, None, None)
        if not self._reader:
            raise OSError(ctypes.get_errno(), "the ring buffer cannot be read")

    def poll(self, seconds: float) -> int:
        """Wait for elements, pass them on, and return their number."""
        poll = _library().ring_buffer__poll
        poll.argtypes = [c_void_p, c_int]
        number = poll(self._reader, int(seconds * 1000))
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return 0 if number == -errno.EINTR else _checked(number)

    def close(self) -> None:
        """Free it; closing twice does nothing."""
        if self._reader:
            free = _library().ring_buffer__free
            free.argtypes, free.restype = [c_void_p], None
            free(self._reader)
            self._reader = None


def program_load(
    name: str, instructions: bytes, flags: int, licence: str, kind: int = PROG_TYPE_XDP
) -> Descriptor:
    """Load a program.

    Raises:
        VerifierError: the kernel refused it; has the verifier's log.
    """
    load = _library().bpf_prog_load
    load.argtypes = [c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p]
    options = ProgramLoadOptions(
        sz=ctypes.sizeof(ProgramLoadOptions),
        expected_attach_type=ATTACH_TYPE_XDP if kind == PROG_TYPE_XDP else 0,
        prog_flags=flags,
    )

    def attempt() -> int:
        return int(
            load(
                kind,
                name.encode(),
                licence.encode(),
                instructions,
                len(instructions) // 8,
                byref(options),
            )
        )

    try:
        return Descriptor(_checked(attempt()))
    except OSError as error:
        # The log takes time, so ask for it only after a refusal.
        log = ctypes.create_string_buffer(_VERIFIER_LOG_BYTES)
        options.log_level, options.log_size = 1, len(log)
        options.log_buf = ctypes.cast(log, c_void_p)
        if (number := attempt()) >= 0:
            return Descriptor(number)
        raise VerifierError(error, log.value.decode(errors="replace")) from None


def link_create(program: Descriptor, ifindex: int, flags: int) -> Descriptor:
    """Attach an XDP program to an interface with a link."""
    options = LinkCreateOptions(sz=ctypes.sizeof(LinkCreateOptions), flags=flags)
    return Descriptor(
        _checked(
            _library().bpf_link_create(program.number, ifindex, ATTACH_TYPE_XDP, byref(options))
        )
    )


def link_update(link: Descriptor, program: Descriptor) -> None:
    """Replace the program of a link; no packet passes without a program."""
    _checked(_library().bpf_link_update(link.number, program.number, None))


def run_program(
    program: Descriptor, frame: bytes, repeat: int = 1, ifindex: int = 0
) -> tuple[int, bytes, int]:
    """Run an XDP program on a frame by BPF_PROG_TEST_RUN.

    Args:
        program: the program.
        frame: the complete Ethernet frame.
        repeat: the number of runs; the frame is not restored between them.
        ifindex: the ingress interface, with XDP enabled; 0 is the loopback.

    Returns:
        The XDP action, the resulting frame, and the mean nanoseconds of a run.
    """
    out = ctypes.create_string_buffer(len(frame) + 256)
    context = XdpContext(data_end=len(frame), ingress_ifindex=ifindex)
    options = TestRunOptions(
        sz=ctypes.sizeof(TestRunOptions),
        data_in=ctypes.cast(c_char_p(frame), c_void_p),
        data_size_in=len(frame),
        data_out=ctypes.cast(out, c_void_p),
        data_size_out=len(out),
        repeat=repeat,
    )
    if ifindex:
        options.ctx_in = ctypes.cast(POINTER(XdpContext)(context), c_void_p)
        options.ctx_size_in = ctypes.sizeof(context)
    _checked(_library().bpf_prog_test_run_opts(program.number, byref(options)))
    return options.retval, out.raw[: options.data_size_out], options.duration


def run_program_live(
    program: Descriptor, frame: bytes, repeat: int, ifindex: int, batch: int = 64
) -> None:
    """Run an XDP program on live frames, which the kernel then sends or drops.

    Source: Documentation/bpf/bpf_prog_run.rst of the kernel (5.18 or later). Frames are reused
    without being restored, so the program must rewrite whatever others change.

    Args:
        program: the program.
        frame: the complete Ethernet frame that each buffer starts with.
        repeat: the number of frames.
        ifindex: the interface for ingress and XDP_TX, in the calling thread's network namespace;
            it must have XDP enabled.
        batch: frames at once, at most 256.
    """
    context = XdpContext(data_end=len(frame), ingress_ifindex=ifindex)
    options = TestRunOptions(
        sz=ctypes.sizeof(TestRunOptions),
        data_in=ctypes.cast(c_char_p(frame), c_void_p),
        data_size_in=len(frame),
        ctx_in=ctypes.cast(POINTER(XdpContext)(context), c_void_p),
        ctx_size_in=ctypes.sizeof(context),
        repeat=repeat,
        flags=_TEST_RUN_LIVE_FRAMES,
        batch_size=batch,
    )
    _checked(_library().bpf_prog_test_run_opts(program.number, byref(options)))
