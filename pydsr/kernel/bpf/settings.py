"""The settings of the pins, the features of the loaded program, and two marks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint32
from dataclasses import dataclass

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.features import Feature, Features


@dataclass(frozen=True)
class Settings:
    """Settings that never change while pins exist; ``seed`` is the 64-bit flow hash key."""

    table_size: int
    seed: int


class SettingsStore:
    """The map ``settings``, which has one element.

    Raises:
        FileNotFoundError, PermissionError: the map cannot be read.
    """

    def __init__(self, fd: Descriptor) -> None:
        self._fd = fd
        value = self._read()
        self.layout_version: int = value.layout_version
        self.table_size: int = value.table_size
        self.seed: int = value.seed

    def _read(self) -> layout.SettingsValue:
        value = layout.SettingsValue()
        libbpf.map_lookup(self._fd, c_uint32(0), value)
        return value

    def _write(self, value: layout.SettingsValue) -> None:
        libbpf.map_update(self._fd, c_uint32(0), value)

    @property
    def is_marked(self) -> bool:
        """Whether a process is changing the maps, or was killed meanwhile."""
        return bool(self._read().changing)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Mark the maps as changing for the length of the block.

        The mark stays if the block raises or the process is killed: the next change then compares
        everything with the tables before it writes anything.
        """
        self._write_mark(1)
        yield
        self._write_mark(0)

    def _write_mark(self, changing: int) -> None:
        value = self._read()
        value.changing = changing
        self._write(value)

    def features(self) -> Features:
        """Return the features of the program: loaded, requested and excluded."""
        value = self._read()
        return Features(
            Feature(value.features),
            Feature(value.features_with),
            Feature(value.features_without),
        )

    def write_features(self, features: Features) -> None:
        """Set the features of the loaded program."""
        value = self._read()
        value.features = features.compiled
        value.features_with = features.requested
        value.features_without = features.excluded
        self._write(value)


def write_settings(fd: Descriptor, settings: Settings) -> None:
    """Write the settings of pins that are being created."""
    value = layout.SettingsValue(
        layout_version=layout.LAYOUT_VERSION,
        table_size=settings.table_size,
        seed=settings.seed,
    )
    libbpf.map_update(fd, c_uint32(0), value)


class TapSwitch:
    """The map ``tap``: whether the program looks for one that captures packets."""

    def __init__(self, fd: Descriptor) -> None:
        self._fd = fd

    def is_on(self) -> bool:
        """Return whether the program looks for a capturing program, which costs a jump."""
        value = c_uint32()
        libbpf.map_lookup(self._fd, c_uint32(0), value)
        return bool(value.value)

    def write(self, on: bool) -> None:
        """Turn the switch on or off."""
        libbpf.map_update(self._fd, c_uint32(0), c_uint32(on))
