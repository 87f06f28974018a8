"""What talks to the kernel: BPF maps and programs, netlink, and facts about this host."""
