"""``pydsr realserver`` and the standalone file have the same commands."""

from __future__ import annotations

import argparse
import ast
import io
import os
import subprocess
import sys
import zipfile
from ipaddress import ip_address
from pathlib import Path

import click
import pytest

from pydsr.cli.realserver import realserver
from pydsr.model.errors import EnvironmentCannotError, ExitStatus
from pydsr.realserver.__main__ import main, parser
from pydsr.realserver.record import Record, RecordFile
from pydsr.realserver.standalone import archive, sources
from tests.support.umask import each_umask, mode_of, under_umask

OLDEST_PYTHON = (3, 9)


def lone_verbs() -> dict[str, argparse.ArgumentParser]:
    """Return the verbs of the standalone file."""
    (verbs,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(verbs.choices)


def lone_options(verb: argparse.ArgumentParser) -> dict[str, tuple[object, ...]]:
    """Return its options, with their help and choices."""
    return {
        action.option_strings[-1]: (
            action.help,
            list(action.choices) if action.choices else None,
        )
        for action in verb._actions
        if action.option_strings and action.dest != "help"
    }


def full_options(verb: click.Command) -> dict[str, tuple[object, ...]]:
    """Return the options of a verb of ``pydsr realserver``, likewise."""
    return {
        option.opts[-1]: (
            option.help,
            list(option.type.choices) if isinstance(option.type, click.Choice) else None,
        )
        for option in verb.params
        if isinstance(option, click.Option)
    }


@pytest.mark.parametrize("verb", ["setup", "check", "undo"])
def test_both_ways_have_the_same_options(verb: str) -> None:
    with click.Context(realserver) as context:
        full = realserver.get_command(context, verb)
    assert full is not None
    assert full_options(full) == lone_options(lone_verbs()[verb])


def test_the_one_file_takes_nothing_but_the_standard_library() -> None:
    found = sources()
    modules = {path.removesuffix(".py").replace("/", ".") for path in found}
    for text in found.values():
        for node in ast.walk(ast.parse(text, feature_version=OLDEST_PYTHON)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                is_inside = any(module.startswith(name) for module in modules)
                assert is_inside or name.partition(".")[0] in sys.stdlib_module_names


def test_the_same_sources_make_the_same_bytes() -> None:
    assert archive() == archive()
    with zipfile.ZipFile(io.BytesIO(archive())) as file:
        assert list(sources()) == file.namelist()


def test_the_one_file_runs_alone(tmp_path: Path) -> None:
    """In an isolated Python of the distribution, which cannot import pydsr."""
    file = tmp_path / "realserver.pyz"
    file.write_bytes(archive())
    command = ["/usr/bin/python3", "-I", str(file), "setup", "10.0.0.80", "--script", "networkd"]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Address=10.0.0.80/32" in alone.stdout.splitlines()


def test_a_pipe_keeps_its_mode_and_a_file_can_be_run(tmp_path: Path) -> None:
    """As /dev/null does, which everybody writes to."""
    pipe, file = tmp_path / "pipe", tmp_path / "realserver.pyz"
    os.mkfifo(pipe, 0o600)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        for output in (pipe, file):
            realserver.main(["standalone", "-o", str(output)], standalone_mode=False)
        assert archive() == reader.communicate()[0]
    assert [0o600, 0o755] == [path.stat().st_mode & 0o777 for path in (pipe, file)]


@each_umask
def test_the_one_file_can_be_run_by_all_and_written_by_its_owner(
    tmp_path: Path, umask: int
) -> None:
    file = tmp_path / "realserver.pyz"
    with under_umask(umask):
        realserver.main(["standalone", "-o", str(file)], standalone_mode=False)
    assert 0o755 == mode_of(file)


@each_umask
def test_a_record_is_for_its_owner(tmp_path: Path, umask: int) -> None:
    """Also in a directory that is for all, and where a killed command left half a record."""
    records = tmp_path / "records"
    vip = ip_address("10.0.0.80")
    with under_umask(umask):
        file = RecordFile(records)
        with file.locked():
            file.save(Record(vips=(vip,)))
        (written,) = records.iterdir()
        with written.with_suffix(".new").open("w") as half:
            half.write("half")
        file.save(Record(vips=(vip, vip)))
    assert [0o700, 0o600] == [mode_of(records), mode_of(written)]
    assert [written] == [*records.iterdir()]
    assert (vip, vip) == file.load().vips


def test_a_reader_who_has_enough_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "realserver.pyz"
    file.write_bytes(archive())
    reader, writer = os.pipe()
    os.close(reader)
    command = ["/usr/bin/python3", "-I", str(file), "setup", "10.0.0.80", "--script", "sh"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["setup", "web"], ExitStatus.BAD_INPUT, "error: 'web' is not an IP address\nhint: "),
        (["undo"], ExitStatus.BAD_INPUT, "error: undo takes VIPs, or --all\nhint: "),
    ],
)
def test_the_one_file_says_what_is_wrong(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status == main(arguments)
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("arguments", [[], ["setup"], ["sing"], ["setup", "--script", "perl"]])
def test_wrong_usage_of_the_one_file_is_its_own_status(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert ExitStatus.USAGE == end.value.code
    assert "usage: realserver" in capsys.readouterr().err


def test_a_record_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    not_a_directory = tmp_path / "file"
    not_a_directory.touch()
    with pytest.raises(EnvironmentCannotError) as raised:
        RecordFile(not_a_directory).load()
    assert "cannot be read: Not a directory" in raised.value.message
