"""The runtime directory and its modes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pydsr.daemon.instance import prepare_runtime
from pydsr.model.errors import InputError, PermissionDeniedError


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_root_may_enter_the_runtime_directory(tmp_path: Path, umask: int) -> None:
    """Nor replace it, whatever the umask is. One that exists, as systemd makes it, stays as is."""
    existing, new = tmp_path / "existing", tmp_path / "some" / "new"
    existing.mkdir()
    existing.chmod(0o755)
    before = os.umask(umask)
    try:
        prepare_runtime(existing)
        prepare_runtime(new)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o7777 for path in (existing, new, new.parent)]
    assert [0o755, 0o700, 0o755 & ~umask] == modes


def test_a_directory_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot create .*/file/run: Not a directory"):
        prepare_runtime(tmp_path / "file" / "run")
    with pytest.raises(InputError, match=r"cannot create .*/file: File exists") as raised:
        prepare_runtime(tmp_path / "file")
    assert "--runtime-directory" in raised.value.hint

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionDeniedError, match="no permission to create /run/none"):
        prepare_runtime(Path("/run/none"))
