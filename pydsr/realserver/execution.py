"""Does what is planned, one step at a time, in the network namespace of the calling thread."""

from __future__ import annotations

from collections.abc import Iterable

from pydsr.realserver.facts import run_ip, run_program, write_setting
from pydsr.realserver.steps import SetSysctl, Step


def execute(steps: Iterable[Step]) -> None:
    """Do the steps in their order.

    Raises:
        PermissionDeniedError, EnvironmentCannotError: one fails; those before it were done.
    """
    for step in steps:
        if isinstance(step, SetSysctl):
            write_setting(step.setting, step.value)
            continue
        if step.makes_dummy:
            # The kernel loads the module as well, which then makes a dummy0 that nobody asked for.
            run_program("modprobe", "--quiet", "dummy", "numdummies=0")
        run_ip(step.arguments)
