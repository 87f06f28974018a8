"""Manual pages in the man(7) macros, for groff and mandoc."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPECIAL = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", "-": r"\-"}
_CODE = re.compile(r"`+([^`]+)`+")
_OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def literal(text: str) -> str:
    """Return text in ASCII that prints every character as itself, so that it can be copied."""
    escaped = "".join(_SPECIAL.get(each, each) for each in text)
    return "".join(each if ord(each) < 128 else f"\\[u{ord(each):04X}]" for each in escaped)


def bold(text: str) -> str:
    """Return literal text in bold."""
    return rf"\fB{literal(text)}\fR"


def prose(text: str) -> str:
    """Return text with options and backquoted parts in bold; other hyphens stay hyphens."""
    parts = []
    # Every second part was in backquotes.
    for number, part in enumerate(_CODE.split(text)):
        parts.append(bold(part) if number % 2 else _with_options(part))
    return "".join(parts)


def _with_options(text: str) -> str:
    end, parts = 0, []
    for match in _OPTION.finditer(text):
        parts += [_words(text[end : match.start()]), bold(match.group())]
        end = match.end()
    return "".join([*parts, _words(text[end:])])


def _words(text: str) -> str:
    return literal(text).replace(r"\-", "-").replace(r"\(aq", "'")


class Page:
    """A manual page, which methods extend.

    Args:
        name: of the page.
        section: of the manual.
        source: the program and its version.
        summary: the text of the NAME section, without a capital and full stop.
    """

    def __init__(self, name: str, section: int, source: str, summary: str) -> None:
        self._lines = [
            f'.TH {literal(name.upper())} {section} "" "{literal(source)}" "pydsr manual"',
            # No hyphenation and no stretched lines: readers search and copy.
            ".nh",
            ".ad l",
        ]
        self.section("NAME")
        self._text(rf"{literal(name)} \- {_words(summary)}")

    def section(self, title: str) -> None:
        """Start a section."""
        self._lines.append(f".SH {_quoted(title)}")

    def subsection(self, title: str) -> None:
        """Start a subsection."""
        self._lines.append(f".SS {_quoted(title)}")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of prose."""
        self._lines.append(".PP")
        self._text(prose(text))

    def usage(self, command: str, pieces: Iterable[str]) -> None:
        """Add a synopsis: a command and its arguments."""
        self._text(" ".join([bold(command), *(literal(piece) for piece in pieces)]))
        self._lines.append(".br")

    def verbatim(self, lines: Iterable[str]) -> None:
        """Add lines that are printed as they are."""
        self._lines += [".PP", ".EX"]
        for line in lines:
            self._text(literal(line))
        self._lines.append(".EE")

    def item(self, term: str, text: str) -> None:
        """Add a literal term with its description."""
        self._lines += [".TP", bold(term)]
        self._text(prose(text))

    def _text(self, line: str) -> None:
        # roff takes a line that starts with a dot or a quote for a request.
        self._lines.append(rf"\&{line}" if line.startswith((".", "'")) else line)

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def _quoted(title: str) -> str:
    return '"' + literal(title).replace('"', r"\(dq") + '"'
