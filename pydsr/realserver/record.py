"""What setup has changed and what it had found, so that undo can put exactly that back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from pydsr.realserver.values import Address, Assigned, Setting


@dataclass(frozen=True)
class Changed:
    """A sysctl's value as it was found, and as it was set."""

    found: int
    set: int


@dataclass(frozen=True)
class Record:
    """What setup has done and undo has not yet undone.

    Attributes:
        vips: that were set up, whether or not anything had to be changed for them.
        settings: the sysctls that were changed.
        addresses: those that were added, with their device; of a loopback that was set up, the
            one that the kernel gives it then.
        created: the devices that were made.
        raised: the devices that were set up.
    """

    vips: tuple[Address, ...] = ()
    settings: Mapping[Setting, Changed] = field(default_factory=dict)
    addresses: Mapping[Assigned, str] = field(default_factory=dict)
    created: tuple[str, ...] = ()
    raised: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "vips": [str(vip) for vip in self.vips],
            "settings": {
                setting.path: {"found": changed.found, "set": changed.set}
                for setting, changed in self.settings.items()
            },
            "addresses": {str(each): device for each, device in self.addresses.items()},
            "created": list(self.created),
            "raised": list(self.raised),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Record:
        """Return the record of a document.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, PydsrError: it is none.
        """
        return cls(
            tuple(ip_address(vip) for vip in document["vips"]),
            {
                Setting.parse(path): Changed(int(changed["found"]), int(changed["set"]))
                for path, changed in document["settings"].items()
            },
            {Assigned.parse(text): str(device) for text, device in document["addresses"].items()},
            tuple(str(device) for device in document["created"]),
            tuple(str(device) for device in document["raised"]),
        )
