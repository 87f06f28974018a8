"""Pages in the man(7) macros, as groff and mandoc read them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPECIAL = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", "-": r"\-"}
_CODE = re.compile(r"`+([^`]+)`+")
_OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def literal(text: str) -> str:
    """Return text that is to be copied as it stands: every character is itself, in ASCII."""
    escaped = "".join(_SPECIAL.get(each, each) for each in text)
    return "".join(each if ord(each) < 128 else f"\\[u{ord(each):04X}]" for each in escaped)


def bold(text: str) -> str:
    """Return what is to be typed as it stands."""
    return rf"\fB{literal(text)}\fR"


def prose(text: str) -> str:
    """Return text with what is in backquotes, and options, in bold; its hyphens are hyphens."""
    parts = []
    # Every second part is what was in backquotes.
    for number, part in enumerate(_CODE.split(text)):
        parts.append(bold(part) if number % 2 else _with_options(part))
    return "".join(parts)


def _with_options(text: str) -> str:
    done, parts = 0, []
    for found in _OPTION.finditer(text):
        parts += [_words(text[done : found.start()]), bold(found.group())]
        done = found.end()
    return "".join([*parts, _words(text[done:])])


def _words(text: str) -> str:
    return literal(text).replace(r"\-", "-").replace(r"\(aq", "'")


class Page:
    """A page being written.

    Args:
        name: of the page.
        section: of the manual.
        source: the program and version it is of.
        summary: what it is, in half a sentence.
    """

    def __init__(self, name: str, section: int, source: str, summary: str) -> None:
        self._lines = [
            f'.TH {literal(name.upper())} {section} "" "{literal(source)}" "pydsr manual"',
            # Without hyphenation and stretched lines: what stands here is searched and copied.
            ".nh",
            ".ad l",
        ]
        self.section("NAME")
        self._text(rf"{literal(name)} \- {_words(summary)}")

    def section(self, title: str) -> None:
        """Begin a section."""
        self._lines.append(f".SH {_quoted(title)}")

    def subsection(self, title: str) -> None:
        """Begin a part of a section."""
        self._lines.append(f".SS {_quoted(title)}")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of prose."""
        self._lines.append(".PP")
        self._text(prose(text))

    def usage(self, command: str, pieces: Iterable[str]) -> None:
        """Add a synopsis: a command, and what may follow it."""
        self._text(" ".join([bold(command), *(literal(piece) for piece in pieces)]))
        self._lines.append(".br")

    def verbatim(self, lines: Iterable[str]) -> None:
        """Add lines that stay as they are."""
        self._lines += [".PP", ".EX"]
        for line in lines:
            self._text(literal(line))
        self._lines.append(".EE")

    def item(self, term: str, text: str) -> None:
        """Add a term, as it is typed, with what is said of it."""
        self._lines += [".TP", bold(term)]
        self._text(prose(text))

    def _text(self, line: str) -> None:
        # A line that begins with a dot or a quote would be a request.
        self._lines.append(rf"\&{line}" if line.startswith((".", "'")) else line)

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def _quoted(title: str) -> str:
    return '"' + literal(title).replace('"', r"\(dq") + '"'
