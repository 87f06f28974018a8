"""Print the kernel's hashes of the data plane's instructions, if it compiles and loads.

``python -m tests.mutation.program`` in a checkout; with ``tap``, the program of captures too.
"""

from __future__ import annotations

import sys

from pydsr.kernel.bpf import libbpf
from pydsr.kernel.bpf.libbpf import Descriptor
from pydsr.kernel.bpf.tap import Sampling, Tapping
from pydsr.model.features import Feature
from tests.support.packets.data_plane import EVERY_FEATURE, Rig


def tag(program: Descriptor) -> str:
    """Return the kernel's hash of a program; descriptors of maps are left out of it."""
    return bytes(libbpf.program_info(program).tag).hex()


def tags(captures: bool) -> list[str]:
    """Load the leanest program and the one with everything; return the hash of each function."""
    found = []
    for features in (Feature(0), EVERY_FEATURE):
        with Rig(features=features) as rig:
            found += [tag(rig.programs.balance), tag(rig.programs.explain)]
            if captures and features:
                number = libbpf.program_info(rig.programs.balance).id
                with Tapping(rig.state, number, Sampling(4, frozenset({1, 2})), print) as tapping:
                    found.append(tag(tapping._program))
    return found


if __name__ == "__main__":
    sys.stdout.write(" ".join(tags(captures="tap" in sys.argv)))
