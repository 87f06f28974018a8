"""The kernel's side: BPF objects, network interfaces, neighbours."""

from pydsr.kernel.parts import by_parts

by_parts("pyroute2")
