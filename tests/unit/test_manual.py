"""The manual pages tell all that the help does, and in a form that man reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
import pytest

from docs.manual import STATUSES, context_of, pages, parse_help, subcommands
from docs.roff import Page, literal, prose
from pydsr.cli.main import cli
from pydsr.config.schema import json_schema
from pydsr.model.errors import ExitStatus

PAGES = pages()
ROOT = context_of(cli, "pydsr", None)


def rendered(path: Path) -> str:
    """Return a page as man shows it; what groff warns of fails."""
    done = subprocess.run(
        ["man", "--warnings", "--local-file", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": "/usr/bin:/bin",
            "MANWIDTH": "200",
            "LC_ALL": "C.UTF-8",
            "MAN_KEEP_STDERR": "1",
        },
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_without_a_warning(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(PAGES[name], encoding="ascii")
    shown = rendered(path)
    title, section = name.rsplit(".", 1)
    assert shown.startswith(f"{title.upper()}({section})")
    for heading in ("NAME", "DESCRIPTION", "EXAMPLES", "FILES", "SEE ALSO"):
        assert f"\n{heading}\n" in shown
    if section == "1":
        for heading in ("SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT"):
            assert f"\n{heading}\n" in shown


@pytest.mark.parametrize("context", list(subcommands(ROOT)), ids=lambda context: context.info_name)
def test_a_command_s_page_has_its_commands_options_and_examples(context: click.Context) -> None:
    page = PAGES[f"pydsr-{context.info_name}.1"]
    assert rf"pydsr\-{context.info_name}(1)" in PAGES["pydsr.1"]
    for each in list(subcommands(context)) or [context]:
        assert f"\n\\fB{each.command_path}\\fR " in page
        for parameter in each.command.get_params(each):
            if isinstance(parameter, click.Option):
                assert all(literal(name) in page for name in parameter.opts)
        examples = parse_help(each.command.help or "").examples
        assert examples, f"pydsr {each.command_path} has no example"
        assert all(literal(line) in page for line in examples)


@pytest.mark.parametrize(
    "context",
    [ROOT, *(each for each in subcommands(ROOT) if isinstance(each.command, click.Group))],
    ids=lambda context: context.info_name,
)
def test_the_list_of_commands_cuts_no_description(context: click.Context) -> None:
    commands = context.command.get_help(context).partition("Commands:")[2]
    assert commands
    assert "..." not in commands


def test_the_page_of_the_file_has_every_key() -> None:
    schema = json_schema()
    for shape in (schema, *schema["$defs"].values()):
        for key in shape.get("properties", ()):
            assert rf"\fB{literal(key)}\fR" in PAGES["pydsr.yaml.5"]


def test_every_exit_status_is_told() -> None:
    assert list(ExitStatus) == list(STATUSES)


@pytest.mark.parametrize(
    "line", [".TH of a request", "'quoted at its start", "back\\slash \\fB", "-dash `tick` ^~ ü –"]
)
def test_what_roff_would_take_for_its_own_is_text(line: str, tmp_path: Path) -> None:
    page = Page("test", 1, "test", "is a test")
    page.section("EXAMPLES")
    page.verbatim([line])
    path = tmp_path / "test.1"
    path.write_text(str(page), encoding="ascii")
    assert f"       {line}\n" in rendered(path)


def test_options_and_what_is_in_backquotes_are_bold_in_prose() -> None:
    assert r"see \fB\-\-plan\fR and \fBpydsr run\fR, layer-4" == prose(
        "see --plan and `pydsr run`, layer-4"
    )
