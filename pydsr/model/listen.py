"""Addresses to listen on for HTTP."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from pydsr.model.addresses import IPAddress
from pydsr.model.errors import InputError


@dataclass(frozen=True)
class Listen:
    """An address of this host and a TCP port."""

    address: IPAddress
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Parse ``ADDR:PORT`` or ``[V6]:PORT``.

        Raises:
            InputError: the text is not an address with a port.
        """
        form = "write it as 127.0.0.1:9477 or [::1]:9477; 0.0.0.0 and [::] stand for every address"
        host, _, port = text.rpartition(":")
        in_brackets = host.startswith("[") and host.endswith("]")
        try:
            address = ipaddress.ip_address(host[1:-1] if in_brackets else host)
        except ValueError:
            raise InputError(f"{text!r} is not a valid address to listen at", form) from None
        if in_brackets != (address.version == 6):
            wrong = "brackets are for IPv6 addresses" if in_brackets else "brackets are missing"
            raise InputError(f"{text!r} is not a valid address to listen at: {wrong}", form)
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise InputError(f"{text!r}: the port must be a number from 1 to 65535", form)
        return cls(address, int(port))

    @property
    def is_local(self) -> bool:
        """Whether only this host can connect."""
        return self.address.is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"
