"""The kernel's side: BPF objects, network interfaces, neighbours."""
