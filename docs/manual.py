"""Write the manual pages of the command and its file: ``python -m docs.manual DIRECTORY``.

Of a command, everything is taken from its help; of the file, from its JSON Schema.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from docs.manual_file import file_page
from docs.roff import Page
from pydsr import __version__
from pydsr.cli.main import cli
from pydsr.model.errors import ExitStatus

SOURCE = f"pydsr {__version__}"
STATUSES = {
    ExitStatus.DONE: "Done.",
    ExitStatus.FAILED: "Failed.",
    ExitStatus.USAGE: "Wrong usage.",
    ExitStatus.BAD_INPUT: "Bad configuration or input; nothing was changed.",
    ExitStatus.CANNOT: "Not permitted, or the kernel or the NIC cannot.",
    ExitStatus.NOT_AS_DESIRED: "Not as desired (`status --check`, `diff`, `doctor`).",
    ExitStatus.INTERRUPTED: "Interrupted.",
}
_FILES = {
    "/sys/fs/bpf/pydsr": "The pinned maps: the whole state of the balancer.",
    "/etc/pydsr/balancer.yaml": "The configuration that pydsr.service keeps in force.",
    "/run/pydsr": "The socket of the daemon.",
}
_EXAMPLES = "Examples:"
_STATUS = "Exit status:"


@dataclass(frozen=True)
class Help:
    """The parts of a command's help.

    Attributes:
        sentence: the first one.
        paragraphs: the rest; a list of lines where they are to stay as they are.
        examples: what may be copied, and words between.
    """

    sentence: str
    paragraphs: list[str | list[str]]
    examples: list[str]

    @property
    def summary(self) -> str:
        """The sentence as half of one."""
        return self.sentence[:1].lower() + self.sentence[1:].rstrip(".")


def parse_help(text: str) -> Help:
    """Return the parts of a help text, in which click's mark keeps lines as they are."""
    blocks = [block for block in inspect.cleandoc(text).split("\n\n") if block.strip()]
    found = Help(" ".join(blocks[0].split()), [], [])
    for block in blocks[1:]:
        if not block.startswith("\b"):
            found.paragraphs.append(" ".join(block.split()))
            continue
        lines = block.splitlines()[1:]
        if lines[0].startswith(_EXAMPLES):
            found.examples.extend(line.removeprefix("  ") for line in lines[1:])
        elif not lines[0].startswith(_STATUS):
            found.paragraphs.append(lines)
    return found


def inner(context: click.Context) -> Iterator[click.Context]:
    """Return the commands within one, if it is a group of them."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield context_of(command, name, context)


def context_of(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    """Return what a command would run in."""
    return click.Context(command, parent, info_name=name, **command.context_settings)


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    root = context_of(cli, "pydsr", None)
    written = {"pydsr.1": _overview(root), "pydsr.yaml.5": file_page(SOURCE)}
    for context in inner(root):
        written[f"pydsr-{context.info_name}.1"] = _command_page(context)
    return written


def _overview(root: click.Context) -> str:
    told = parse_help(root.command.help or "")
    page = Page("pydsr", 1, SOURCE, told.summary)
    commands = {f"pydsr-{each.info_name}(1)": each for each in inner(root)}
    _synopsis(page, root)
    _description(page, told)
    page.section("COMMANDS")
    for name, context in commands.items():
        page.item(name, parse_help(context.command.help or "").sentence)
    page.section("OPTIONS")
    _options(page, root)
    _examples(page, told.examples)
    _rest(page, [root], [*commands, "pydsr.yaml(5)"])
    return str(page)


def _command_page(context: click.Context) -> str:
    told = parse_help(context.command.help or "")
    page = Page(f"pydsr-{context.info_name}", 1, SOURCE, told.summary)
    contexts = list(inner(context))
    _synopsis(page, *(contexts or [context]))
    _description(page, told)
    page.section("OPTIONS")
    if not contexts:
        _options(page, context)
    examples = told.examples
    for each in contexts:
        part = parse_help(each.command.help or "")
        page.subsection(each.command_path)
        page.paragraph(part.sentence)
        _paragraphs(page, part)
        _options(page, each)
        examples = examples + part.examples
    _examples(page, examples)
    _rest(page, contexts or [context], ["pydsr(1)", "pydsr.yaml(5)"])
    return str(page)


def _synopsis(page: Page, *contexts: click.Context) -> None:
    page.section("SYNOPSIS")
    for context in contexts:
        page.usage(context.command_path, context.command.collect_usage_pieces(context))


def _description(page: Page, told: Help) -> None:
    page.section("DESCRIPTION")
    page.paragraph(told.sentence)
    _paragraphs(page, told)


def _paragraphs(page: Page, told: Help) -> None:
    for each in told.paragraphs:
        if isinstance(each, str):
            page.paragraph(each)
        else:
            page.verbatim(each)


def _options(page: Page, context: click.Context) -> None:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            page.item(*record)


def _examples(page: Page, examples: list[str]) -> None:
    page.section("EXAMPLES")
    page.verbatim(examples)


def _rest(page: Page, contexts: list[click.Context], related: list[str]) -> None:
    page.section("EXIT STATUS")
    for status, text in STATUSES.items():
        page.item(str(int(status)), text)
    page.section("ENVIRONMENT")
    root = contexts[0].find_root()
    for parameter in {id(p): p for c in (root, *contexts) for p in c.command.params}.values():
        if isinstance(parameter, click.Option) and parameter.envvar:
            page.item(str(parameter.envvar), f"The same as `{parameter.opts[-1]}`.")
    page.section("FILES")
    for name, text in _FILES.items():
        page.item(name, text)
    page.section("SEE ALSO")
    page.paragraph(", ".join(f"`{name}`" for name in related))


def write(directory: Path) -> None:
    """Write every page into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
