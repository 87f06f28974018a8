"""The live state of one balancer: its pinned maps, opened together."""

from __future__ import annotations

from pathlib import Path

from pydsr.kernel.bpf import layout
from pydsr.kernel.bpf.backends import BackendStore
from pydsr.kernel.bpf.bpffs import check_name
from pydsr.kernel.bpf.counters import CounterStore
from pydsr.kernel.bpf.flow_records import FlowRecordStore
from pydsr.kernel.bpf.interfaces import InterfaceStore
from pydsr.kernel.bpf.lock import not_attached, not_permitted
from pydsr.kernel.bpf.maps import Pins, map_specs, mismatch
from pydsr.kernel.bpf.services import ServiceIndexStore, ServiceStore
from pydsr.kernel.bpf.settings import Settings, SettingsStore, TapSwitch, write_settings
from pydsr.kernel.bpf.source_rules import SourceRuleStore, VipPolicyStore
from pydsr.kernel.bpf.tables import TableStore
from pydsr.model.errors import EnvironmentCannotError

_START_ANEW = "pydsr detach --all --purge, then pydsr attach"


class LiveState:
    """The pinned maps of one directory, with one store for each map or pair of maps.

    Stores return copies as values of the model. Each ``write`` is one step for the packets that
    pass meanwhile.

    Raises:
        NotAttachedError: the directory holds no maps.
        EnvironmentCannotError: another version of pydsr made them, with another layout.
        PermissionDeniedError: not privileged.
    """

    def __init__(self, directory: Path) -> None:
        check_name(directory)
        self.directory = directory
        self._open()

    def _open(self) -> None:
        self.pins = pins = Pins(self.directory)
        self._identity = self._identity_of_pins()
        self.settings = self._open_settings()
        self.interfaces = InterfaceStore(pins["interfaces"], pins["egress"])
        self.tap_switch = TapSwitch(pins["tap"])
        self.counters = CounterStore(pins["counters"], pins["verdicts"])
        self.backends = BackendStore(pins["backends"], self.counters)
        self.tables = TableStore(pins["tables"], self.settings.table_size, self.backends)
        self.services = ServiceStore(pins["services"], self.tables, self.backends)
        self.source_rules = SourceRuleStore(pins["acl"])
        self.vip_policies = VipPolicyStore(pins["vips"])
        self.index = ServiceIndexStore(pins["service_index"], self.source_rules, self.vip_policies)
        self.flow_records = FlowRecordStore(pins["records"])
        self.half_open_flows = FlowRecordStore(pins["pending"])

    def _open_settings(self) -> SettingsStore:
        try:
            settings = SettingsStore(self.pins["settings"])
        except (FileNotFoundError, NotADirectoryError):
            raise not_attached(self.directory) from None
        except PermissionError:
            raise not_permitted(self.directory) from None
        if settings.layout_version != layout.LAYOUT_VERSION:
            raise EnvironmentCannotError(
                f"the state in {self.directory} has layout {settings.layout_version}, "
                f"this pydsr has layout {layout.LAYOUT_VERSION}",
                f"use the version of pydsr that attached it, or start anew: {_START_ANEW}",
            )
        for spec in map_specs():
            try:
                damage = mismatch(spec, self.pins[spec.name])
            except FileNotFoundError:
                damage = f"{spec.name} is missing"
            if damage:
                raise EnvironmentCannotError(
                    f"the state in {self.directory} is damaged: {damage}", _START_ANEW
                )
        return settings

    def _identity_of_pins(self) -> tuple[int, int] | None:
        """Return what identifies these pins, not later ones in their place; None without pins."""
        try:
            status = self.pins.path("settings").stat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        return status.st_dev, status.st_ino

    def is_current(self) -> bool:
        """Return whether the open maps are still those that are pinned."""
        return self._identity == self._identity_of_pins()

    def follow_pins(self) -> bool:
        """Open the pinned maps if they were replaced; return whether they were.

        Raises:
            NotAttachedError: nothing is pinned any more; open maps stay open.
        """
        if self.is_current():
            return False
        fresh = LiveState(self.directory)
        self.close()
        vars(self).update(vars(fresh))
        return True

    def close(self) -> None:
        """Close every map; the data plane continues."""
        self.backends.close()
        self.pins.close()


def create_pins(directory: Path, settings: Settings) -> None:
    """Create and pin the maps of a new balancer; maps that exist stay.

    Raises:
        PermissionDeniedError: not privileged.
        EnvironmentCannotError: the kernel cannot create them.
    """
    pins = Pins(directory)
    try:
        pins.ensure(settings.table_size, lambda fd: write_settings(fd, settings))
    except PermissionError:
        raise not_permitted(directory) from None
    except OSError as error:
        raise EnvironmentCannotError(
            f"the kernel cannot create the balancer's maps: {error.strerror}",
            "is there enough memory, and is the kernel 5.18 or later?",
        ) from None
    finally:
        pins.close()
