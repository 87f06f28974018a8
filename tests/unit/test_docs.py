"""Commands in the documents can be typed, and the files they name exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pydsr.cli.main import cli
from tests.support.paths import CHECKOUT

PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").rglob("*.md"))]
STANDS_FOR = {
    "VIP": "198.51.100.10",
    "IFACE": "eth0",
    "DIRECTORY": "files",
    "FLAVOUR": "sh",
    "SECONDS": "900",
    "COMMAND": "status",
    "NAME": "stats",
    "FILE": "balancer.yaml",
    "CLIENT": "192.0.2.7",
    "PORT": "80",
    "ADDR": "192.0.2.1",
    "REAL": "192.0.2.21",
    "A": "192.0.2.21",
    "B": "192.0.2.22",
    "ENDPOINT": "198.51.100.10:80",
}
"""What readers put in the place of a word in capitals."""

_COMMAND = re.compile(r"(?:^ {4}(?:.*&& |.*\| )?|`)(pydsr [^`|#&<>\n]+)", re.MULTILINE)
_SOURCE = re.compile(r"`((?:bench|docs|packaging|pydsr|tests|xdp)/[\w./-]+)`")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def commands_in(text: str) -> Iterator[str]:
    """Walk the commands of a page: in blocks of code, and between backquotes."""
    for found in _COMMAND.finditer(text):
        yield found[1].strip()


def parse(command: str) -> None:
    """Have click read a command line as it would when it is typed; nothing is run."""
    for word, value in STANDS_FOR.items():
        command = re.sub(rf"(?<![\w-]){word}(?![\w-])", value, command)
    words = shlex.split(command.replace("…", ""))[1:]
    _parse(cli, "pydsr", words, None)


def _parse(
    command: click.Command, name: str, words: list[str], parent: click.Context | None
) -> None:
    context = command.make_context(name, words, parent=parent)
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and rest:
        name_found, found, left = command.resolve_command(context, rest)
        assert found is not None
        _parse(found, name_found or "", left, context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_commands_in_documents_can_be_typed(page: Path) -> None:
    for command in commands_in(page.read_text(encoding="utf-8")):
        try:
            parse(command)
        except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
            # Only named, in a sentence.
            continue
        except click.ClickException as error:
            pytest.fail(f"{command}: {error.format_message()}")
        except click.exceptions.Exit:
            # By --help or --version.
            continue


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_documents_point_to_what_is_there(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    # Pages of the reference are made with the site, which checks these.
    kept = [link for link in links if "reference/" not in link]
    assert [] == [link for link in kept if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_files_named_in_documents_exist(page: Path) -> None:
    named = _SOURCE.findall(page.read_text(encoding="utf-8"))
    assert [] == [name for name in named if not (CHECKOUT / name).exists()]


def test_every_decision_is_in_their_index() -> None:
    folder = CHECKOUT / "docs" / "decisions"
    index = (folder / "index.md").read_text(encoding="utf-8")
    assert [] == [page.name for page in folder.glob("0*.md") if f"]({page.name})" not in index]


def test_the_readme_has_less_than_900_words() -> None:
    assert len((CHECKOUT / "README.md").read_text(encoding="utf-8").split()) < 900


def test_commands_are_found_in_text_and_tables() -> None:
    text = "Then `pydsr top`.\n\n    pydsr attach eth0  # now\n\n| `pydsr acl list` | x |\n"
    assert ["pydsr top", "pydsr attach eth0", "pydsr acl list"] == [*commands_in(text)]
