"""The kernel's side: BPF objects, network interfaces, neighbours."""

from pydsr.kernel.net.lazy_pyroute2 import by_parts

by_parts("pyroute2")
