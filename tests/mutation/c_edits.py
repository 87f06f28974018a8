"""Plausible mistakes in the C sources of the data plane, found with regular expressions.

They rely on clang-format's spaces, which tell ``a * b`` and ``a & b`` from ``*a`` and ``&a``.
"""

from __future__ import annotations

import re
from itertools import chain

from tests.mutation.edits import Edit

_NOT_CODE = re.compile(
    rb"/\*.*?\*/"
    rb'|"(?:\\.|[^"\\])*"'
    rb"|^#(?!define \w+ \S+$)(?:[^\n]*\\\n)*[^\n]*"
    rb"|^_Static_assert\(.*?\);"
    rb"|\basm volatile\(.*?\);",
    re.DOTALL | re.MULTILINE,
)
_SWAPS = {
    "==": ["!="],
    "!=": ["=="],
    "<": ["<="],
    "<=": ["<"],
    ">": [">="],
    ">=": [">"],
    "&&": ["||"],
    "||": ["&&"],
    "+": ["-"],
    "-": ["+"],
    "*": ["+"],
    "/": ["*"],
    "&": ["|"],
    "|": ["&"],
    "<<": [">>"],
    ">>": ["<<"],
    "+=": ["-=", "="],
    "-=": ["+=", "="],
    "|=": ["=", "&="],
    "&=": ["=", "|="],
    "^=": ["="],
    "*=": ["="],
}
_OPERATOR = re.compile(
    rb"(?<=[\s)])(%s)(?=\s)"
    % b"|".join(re.escape(o.encode()) for o in sorted(_SWAPS, key=len)[::-1])
)
_NUMBER = re.compile(rb"(?<![\w.])(0x[0-9a-f]+|\d+)(?=U?L*\b)")
_WORDS = {
    "true": "false",
    "source": "destination",
    "saddr": "daddr",
    "current": "previous",
    "records": "pending",
    "UP": "DOWN",
}
_WORD = re.compile(rb"\b(%s)\b(?!\()" % "|".join([*_WORDS, *_WORDS.values()]).encode())
_OTHER = {
    a.encode(): b.encode() for a, b in [*_WORDS.items(), *zip(_WORDS.values(), _WORDS, strict=True)]
}
_NOT = re.compile(rb"!(?=[\w(])")
_IF = re.compile(rb"\b(?:if|while) \(")
_TYPES = rb"struct|union|enum|const|static|void|bool|int|long|__\w+"
_STATEMENT = re.compile(
    rb"(?<=[;{})]\n)(\t+)(?!(?:%s|return|break|case|default|switch|goto|else|for|if)\b)\w[^;{}]*;"
    % _TYPES
)
_FIELD = re.compile(rb"(?<=[\s{,])\.\w+ = [^;{},]+(?:\([^;{}]*?\))?(?: \? [^;{}]*?)?(?:,| (?=}))")


def c_edits(source: bytes) -> list[Edit]:
    """Return the mistakes that can be made in a file, in the order of the source."""
    code = _NOT_CODE.sub(lambda match: re.sub(rb"[^\n]", b" ", match[0]), source)
    found = chain(_operators(code), _numbers(code), _words(code), _conditions(code), _gaps(code))
    return sorted({*found})


def _operators(code: bytes) -> list[Edit]:
    return [
        Edit(*match.span(), other.encode())
        for match in _OPERATOR.finditer(code)
        for other in _SWAPS[match[0].decode()]
    ]


def _numbers(code: bytes) -> list[Edit]:
    found: list[Edit] = []
    for match in _NUMBER.finditer(code):
        value = int(match[0], 0)
        others = {value + 1, max(value - 1, 0)} - {value}
        found += [Edit(*match.span(), str(other).encode()) for other in others]
    return found


def _words(code: bytes) -> list[Edit]:
    return [Edit(*match.span(), _OTHER[match[1]]) for match in _WORD.finditer(code)]


def _conditions(code: bytes) -> list[Edit]:
    found = [Edit(*match.span(), b"") for match in _NOT.finditer(code)]
    for match in _IF.finditer(code):
        end, depth = match.end(), 1
        while depth:
            depth += {ord("("): 1, ord(")"): -1}.get(code[end], 0)
            end += 1
        condition = code[match.end() : end - 1]
        found.append(Edit(match.end(), end - 1, b"!(" + condition + b")"))
    return found


def _gaps(code: bytes) -> list[Edit]:
    """Leave a statement or the value of a field out."""
    statements = [Edit(match.end(1), match.end(), b";") for match in _STATEMENT.finditer(code)]
    return statements + [Edit(*match.span(), b"") for match in _FIELD.finditer(code)]
