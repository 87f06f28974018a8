"""The interfaces that the program knows: their MACs, and which it can redirect to."""

from __future__ import annotations

from ctypes import c_uint32

from pydsr.kernel.bpf import layout, libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.model.addresses import MacAddress


class InterfaceStore:
    """The maps ``interfaces`` and ``egress``, both by interface index."""

    def __init__(self, interfaces: Descriptor, egress: Descriptor) -> None:
        self._interfaces = interfaces
        self._egress = egress

    def read(self, ifindex: int) -> MacAddress:
        """Return the MAC whose packets an interface accepts; all zeros if it is not attached."""
        value = layout.InterfaceValue()
        libbpf.map_lookup(self._interfaces, c_uint32(ifindex), value)
        return MacAddress(bytes(value.mac))

    def write(self, ifindex: int, mac: MacAddress) -> None:
        """Set the MAC of an attached interface: the program accepts packets sent to that MAC."""
        value = layout.InterfaceValue(mac=layout.Mac(*mac.octets))
        libbpf.map_update(self._interfaces, c_uint32(ifindex), value)

    def delete(self, ifindex: int) -> None:
        """Delete an interface: the program neither accepts its packets nor redirects to it."""
        libbpf.map_update(self._interfaces, c_uint32(ifindex), layout.InterfaceValue())
        self.delete_egress(ifindex)

    def write_egress(self, ifindex: int) -> None:
        """Allow redirecting packets to an interface of this network namespace."""
        libbpf.map_update(self._egress, c_uint32(ifindex), c_uint32(ifindex))

    def delete_egress(self, ifindex: int) -> None:
        """Stop redirecting packets to an interface."""
        libbpf.map_delete(self._egress, c_uint32(ifindex))
