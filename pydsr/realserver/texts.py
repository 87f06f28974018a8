"""The words of the help, for both ways in."""

from __future__ import annotations

HELP = {
    "realserver": "Set up, check and undo what a backend of Direct Server Return needs, on the "
    "backend itself.",
    "setup": "Have this host take packets for virtual IPs without ever announcing them.",
    "check": "Say what keeps this host from being a backend of virtual IPs, why, and what mends "
    "it.",
    "undo": "Put back what setup has changed, and nothing else.",
    "VIP": "A virtual IP, without a prefix length.",
    "--device": "What has the VIPs: lo, or a dummy, which setup makes if there is none.",
    "--interface": "By which the balancer's packets come in, for a host with several: where its "
    "rp_filter would drop them, it is loosened. May be given several times.",
    "--script": "Change nothing; print files that do the same at every boot.",
    "--output": "With --script: write the files below this directory instead, as if it were /.",
    "--all": "Undo all that was set up.",
    "--plan": "Say what would change; change nothing.",
    "--record-directory": "Where setup remembers what it has changed.",
    "--json": "Print JSON.",
}
"""By the name of a command, an argument or an option."""
