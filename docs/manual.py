"""Write the manual pages of commands and of the file: ``python -m docs.manual DIRECTORY``.

Pages of commands come from their help texts, the page of the file from its JSON Schema.
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
    ExitStatus.USAGE: "Wrong usage of the command line.",
    ExitStatus.BAD_INPUT: "Bad configuration or input; nothing was changed.",
    ExitStatus.CANNOT: "Not permitted, or not supported by the kernel or the NIC.",
    ExitStatus.NOT_AS_DESIRED: "Not as desired (`status --check`, `diff`, `doctor`).",
    ExitStatus.INTERRUPTED: "Interrupted.",
}
_FILES = {
    "/sys/fs/bpf/pydsr": "The pinned maps, which hold the whole state of the balancer.",
    "/etc/pydsr/balancer.yaml": "The configuration that pydsr.service applies.",
    "/run/pydsr": "The socket of the daemon, for root only.",
    "/var/cache/pydsr": "Compiled programs; may be removed at any time.",
}
_EXAMPLES = "Examples:"
_STATUS = "Exit status:"


@dataclass(frozen=True)
class Help:
    """The parts of a help text.

    Attributes:
        sentence: the first sentence.
        paragraphs: the other paragraphs; a list of lines is printed as it is.
        examples: the lines below "Examples:".
    """

    sentence: str
    paragraphs: list[str | list[str]]
    examples: list[str]

    @property
    def summary(self) -> str:
        """The sentence in the style of a NAME section: no capital, no full stop."""
        return self.sentence[:1].lower() + self.sentence[1:].rstrip(".")


def parse_help(text: str) -> Help:
    """Return the parts of a help text; click's mark \\b starts lines to print as they are."""
    blocks = [block for block in inspect.cleandoc(text).split("\n\n") if block.strip()]
    help_ = Help(" ".join(blocks[0].split()), [], [])
    for block in blocks[1:]:
        if not block.startswith("\b"):
            help_.paragraphs.append(" ".join(block.split()))
            continue
        lines = block.splitlines()[1:]
        if lines[0].startswith(_EXAMPLES):
            help_.examples.extend(line.removeprefix("  ") for line in lines[1:])
        elif not lines[0].startswith(_STATUS):
            help_.paragraphs.append(lines)
    return help_


def subcommands(context: click.Context) -> Iterator[click.Context]:
    """Yield the contexts of a group's commands; nothing for a command that is no group."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield context_of(command, name, context)


def context_of(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    """Return a context of a command, for its usage and options."""
    return click.Context(command, parent, info_name=name, **command.context_settings)


def pages() -> dict[str, str]:
    """Return the text of every page, keyed by file name."""
    root = context_of(cli, "pydsr", None)
    texts = {"pydsr.1": _overview(root), "pydsr.yaml.5": file_page(SOURCE)}
    for context in subcommands(root):
        texts[f"pydsr-{context.info_name}.1"] = _command_page(context)
    return texts


def _overview(root: click.Context) -> str:
    help_ = parse_help(root.command.help or "")
    page = Page("pydsr", 1, SOURCE, help_.summary)
    commands = {f"pydsr-{each.info_name}(1)": each for each in subcommands(root)}
    _synopsis(page, root)
    _description(page, help_)
    page.section("COMMANDS")
    for name, context in commands.items():
        page.item(name, parse_help(context.command.help or "").sentence)
    page.section("OPTIONS")
    _options(page, root)
    _examples(page, help_.examples)
    _rest(page, [root], [*commands, "pydsr.yaml(5)"])
    return str(page)


def _command_page(context: click.Context) -> str:
    help_ = parse_help(context.command.help or "")
    page = Page(f"pydsr-{context.info_name}", 1, SOURCE, help_.summary)
    contexts = list(subcommands(context))
    _synopsis(page, *(contexts or [context]))
    _description(page, help_)
    page.section("OPTIONS")
    if not contexts:
        _options(page, context)
    examples = help_.examples
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


def _description(page: Page, help_: Help) -> None:
    page.section("DESCRIPTION")
    page.paragraph(help_.sentence)
    _paragraphs(page, help_)


def _paragraphs(page: Page, help_: Help) -> None:
    for each in help_.paragraphs:
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
            page.item(str(parameter.envvar), f"Default of `{parameter.opts[-1]}`.")
    page.section("FILES")
    for name, text in _FILES.items():
        page.item(name, text)
    page.section("SEE ALSO")
    page.paragraph(", ".join(f"`{name}`" for name in related))


def write(directory: Path) -> None:
    """Write every page into a directory, which is created."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
