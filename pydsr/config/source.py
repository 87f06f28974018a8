"""YAML to plain values, and to the lines that they stand on.

Scalars follow the core schema of YAML 1.2, without floats: what looks like a time of day or an
octal number to YAML 1.1, such as the MAC 12:34:56:12:34:56, stays text. Keys are texts, and no
mapping has one twice. Aliases work; merge keys do not.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml
from yaml.composer import ComposerError

from pydsr.config.problems import Path, Problem

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""That of libyaml, ten times faster, where PyYAML was built with it."""

_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        name: of the file, as the user wrote it.
        text: what is in it.
        value: the same as mappings, lists and scalars; None where it is no YAML.
        problems: what keeps it from being one.
    """

    name: str
    text: str
    value: Any
    problems: tuple[Problem, ...] = ()

    @cached_property
    def _root(self) -> Any:
        return yaml.compose(self.text, _LOADER)

    def line(self, path: Path) -> int:
        """Return the line, from 1, of what is at a path, or of the last part of it there is."""
        node, line = self._root, 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            mark, node = found
            line = mark.line + 1
        return line


def _child(node: Any, step: Hashable) -> tuple[Any, Any] | None:
    """Return where a key or an element of a node begins, and its node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None


def read(name: str, text: str) -> Source:
    """Read YAML; what is wrong with it is in the problems of what is returned."""
    composer = _Composer()
    try:
        value = composer.document(yaml.parse(text, _LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        found = Problem((), f"is no YAML: {what}", line=mark.line + 1 if mark else 1)
        return Source(name, text, None, (found,))
    except yaml.YAMLError as error:
        return Source(name, text, None, (Problem((), f"is no YAML: {error}", line=1),))
    return Source(name, text, value, tuple(composer.problems))


@dataclass
class _Composer:
    """Makes values of YAML's events, which is faster than making nodes of them first."""

    problems: list[Problem] = field(default_factory=list)
    _anchors: dict[str, Any] = field(default_factory=dict)

    def document(self, events: Iterator[Any]) -> Any:
        value, documents = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem((), event, "has a second document: one is all there can be")
                    break
                value = self._value(next(events), events, ())
        return value

    def _problem(self, path: Path, event: Any, message: str) -> None:
        self.problems.append(Problem(path, message, line=event.start_mark.line + 1))

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        kind = type(event)
        value: Any
        if kind is yaml.ScalarEvent:
            value = _scalar(event)
        elif kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                message = f"there is no &{event.anchor} before this"
                raise ComposerError(None, None, message, event.start_mark)
            return self._anchors[event.anchor]
        elif kind is yaml.SequenceStartEvent:
            value = []
            while type(item := next(events)) is not yaml.SequenceEndEvent:
                value.append(self._value(item, events, (*path, len(value))))
        else:
            value = self._mapping(events, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(key := next(events)) is not yaml.MappingEndEvent:
            if type(key) is not yaml.ScalarEvent:
                self._problem(path, key, "a key must be a plain text")
                self._value(key, events, path)
                self._value(next(events), events, path)
                continue
            value = self._value(next(events), events, (*path, key.value))
            if key.value in found:
                self._problem((*path, key.value), key, "is there twice")
            found[key.value] = value
        return found


def _scalar(event: Any) -> Any:
    text = event.value
    if not event.implicit[0]:
        return text  # quoted
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _NUMBER.fullmatch(text) else text
