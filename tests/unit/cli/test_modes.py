"""The modes of files and sockets that commands make, under every umask."""

from __future__ import annotations

import os
from pathlib import Path

from pydsr.cli.output import open_bytes
from pydsr.daemon import event_server
from pydsr.daemon.instance import prepare_runtime
from tests.support.umask import each_umask, mode_of, under_umask


@each_umask
def test_a_capture_has_the_mode_that_the_user_wants(tmp_path: Path, umask: int) -> None:
    """As every file of a command in the user's name, such as tcpdump's."""
    file = tmp_path / "capture.pcapng"
    with under_umask(umask), open_bytes(str(file), "wb") as capture:
        capture.write(b"frames")
    assert 0o666 & ~umask == mode_of(file)


@each_umask
def test_the_daemons_socket_is_for_its_owner(tmp_path: Path, umask: int) -> None:
    """From the moment it exists; the umask is then as it was."""
    runtime = tmp_path / "run" / "pydsr"
    path = runtime / "daemon.sock"
    with under_umask(umask):
        prepare_runtime(runtime)
        event_server._listening_socket(path).close()
        after = os.umask(umask)
    assert (0o600, umask) == (mode_of(path), after)
    assert [0o700, 0o755 & ~umask] == [mode_of(runtime), mode_of(runtime.parent)]
