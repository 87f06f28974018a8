"""Read YAML as plain values, and find the line of a wrong value.

Scalars follow the core schema of YAML 1.2, without floats: what YAML 1.1 takes for a time of day
or an octal number, such as the MAC 12:34:56:12:34:56, stays text. Keys are plain texts and unique.
Aliases work, merge keys do not. Decision 12 compares this with libraries that keep positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from yaml.composer import ComposerError

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml's loader if PyYAML was built with it: ten times faster."""

_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_NUMBER_BEGINS = frozenset("-0123456789")

_LEVELS_MAX = 100
"""How deep values may be nested: each level takes some of Python's stack."""


Path = tuple[str | int, ...]
"""From the root of a file to a value in it: keys of mappings and positions in lists."""


@dataclass(frozen=True)
class Problem:
    """A problem of a file.

    Attributes:
        path: of the value that is wrong.
        message: a sentence whose subject is the path.
        line: of the value, from 1; None if the path is enough.
    """

    path: Path
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """Return the problem as users read it: ``services[1].backends[0].weight: …``."""
        text = ""
        for step in self.path:
            if isinstance(step, int) or "." in step or ":" in step:
                text += f"[{step}]"
            else:
                text += f".{step}" if text else step
        return f"{text}: {self.message}" if text else self.message


@dataclass(frozen=True)
class YamlSource:
    """The content of a file.

    Attributes:
        name: of the file, as the user wrote it.
        text: of the file.
        value: mappings, lists and scalars; None where the text is not valid YAML.
        problems: everything wrong with the YAML.
    """

    name: str
    text: str
    value: Any
    problems: tuple[Problem, ...] = ()

    @cached_property
    def _positions(self) -> _Reader:
        reader = _Reader(yaml.parse(self.text, _LOADER), keep_lines=True)
        reader.document()
        return reader

    def line(self, path: Path) -> int:
        """Return the line, from 1, of the value at a path, or of the nearest one around it."""
        lines, aliases = self._positions.lines, self._positions.aliases
        where: Path = ()
        line = 1
        for step in path:
            where = (*aliases.get(where, where), step)
            if where not in lines:
                break
            line = lines[where]
        return line


def read(name: str, text: str) -> YamlSource:
    """Read YAML; the problems of the result say what is wrong with it."""
    reader = _Reader(yaml.parse(text, _LOADER))
    try:
        value = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        problem = Problem((), f"is not valid YAML: {words}", mark.line + 1 if mark else 1)
        return YamlSource(name, text, None, (problem,))
    except yaml.YAMLError as error:
        return YamlSource(name, text, None, (Problem((), f"is not valid YAML: {error}", 1),))
    return YamlSource(name, text, value, tuple(reader.problems))


class _Reader:
    """Converts events to values, which is faster than making nodes first.

    Attributes:
        problems: documents and keys that cannot be used.
        lines: the line of each value by its path, where they are kept.
        aliases: the path of its anchor for the path of each alias. The values behind aliases have
            no lines of their own: a few nested aliases stand for billions of values.
    """

    def __init__(self, events: Iterator[Any], keep_lines: bool = False) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[Path, int] = {}
        self.aliases: dict[Path, Path] = {}
        self._keep_lines = keep_lines
        self._events = events
        self._anchors: dict[str, tuple[Path, Any]] = {}

    def document(self) -> Any:
        """Return the value of the first document; None where there is none."""
        value, is_first = None, True
        for event in self._events:
            if type(event) is yaml.DocumentStartEvent:
                if not is_first:
                    self._problem((), event, "has a second document: a file has only one")
                    break
                value, is_first = self._value(next(self._events), ()), False
        return value

    def _value(self, event: Any, path: Path) -> Any:
        kind = type(event)
        value: Any
        if len(path) > _LEVELS_MAX:
            message = f"more than {_LEVELS_MAX} levels are nested"
            raise ComposerError(None, None, message, event.start_mark)
        if kind is yaml.ScalarEvent:
            value = _scalar(event)
        elif kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                message = f"there is no &{event.anchor} before this"
                raise ComposerError(None, None, message, event.start_mark)
            self.aliases[path], value = self._anchors[event.anchor]
            return value
        elif kind is yaml.SequenceStartEvent:
            value = []
            while type(item := next(self._events)) is not yaml.SequenceEndEvent:
                where = (*path, len(value))
                self._note_line(where, item)
                value.append(self._value(item, where))
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = path, value
        return value

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while type(key := next(self._events)) is not yaml.MappingEndEvent:
            if type(key) is not yaml.ScalarEvent:
                self._problem(path, key, "a key must be a plain text")
                self._value(key, (*path, "?"))
                self._value(next(self._events), (*path, "?"))
                continue
            where = (*path, key.value)
            self._note_line(where, key)
            value = self._value(next(self._events), where)
            if key.value in values:
                self._problem(where, key, "is there twice")
            values[key.value] = value
        return values

    def _note_line(self, path: Path, event: Any) -> None:
        if self._keep_lines:
            self.lines.setdefault(path, event.start_mark.line + 1)

    def _problem(self, path: Path, event: Any, message: str) -> None:
        self.problems.append(Problem(path, message, event.start_mark.line + 1))


def _scalar(event: Any) -> Any:
    text = event.value
    if not event.implicit[0]:
        return text  # quoted
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if text[0] in _NUMBER_BEGINS and _NUMBER.fullmatch(text) else text
