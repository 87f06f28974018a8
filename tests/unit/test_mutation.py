"""The mistakes that ``python -m tests.mutation`` makes in sources."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.mutation.c_edits import c_edits
from tests.mutation.python_edits import python_edits

PYTHON = [
    ("a < b", ["a <= b"]),
    ("a is b", ["a is not b"]),
    ("a not in b", ["a in b"]),
    ("a and b and c", ["a or b and c", "a and b or c"]),
    ("(a) + (b)", ["(a) - (b)"]),
    ("not a", ["a"]),
    ("7", ["8"]),
    ("True", ["False"]),
    ("a if b else c", ["a if (not (b)) else c"]),
    ("{a for a in b if c}", ["{a for a in b if (not (c))}"]),
    ("'a' 'text'", []),
    ("f'{a + b}'", []),
]
STATEMENTS = [
    ("def f(a: int | None = 1) -> 'b | c':\n    'Text.'\n    return a", ["= 2", "return None"]),
    ("a: int | str = 1", ["a: int | str = 2"]),
    ("f(a)", ["pass"]),
    ("_log.debug(1 + 2)", []),
    ("a.b = c", ["pass"]),
    ("a = c", []),
    ("a += c", ["pass"]),
    ("raise ValueError(1)", ["pass"]),
    ("try:\n    a = b\nexcept C:\n    d = e\n    g = h", ["except C:\n    raise"]),
    ("if TYPE_CHECKING:\n    a = 1 + 2", []),
    ("while True:\n    break", ["while True:\n    continue"]),
    ("@dataclass(frozen=True)\nclass A:\n    'Text.'", []),
]
C = [
    ("a <= b && c", ["a < b && c", "a <= b || c"]),
    ("x = a ? 3 : b;", ["x = a ? 4 : b;", "x = a ? 2 : b;"]),
    ("*a = &b;", []),
    ("a & b", ["a | b"]),
    ("a->source", ["a->destination"]),
    ("if (a(b) && !c)", ["if (!(a(b) && !c))", "if (a(b) || !c)", "if (a(b) && c)"]),
    ("{\n\tf(a);\n}", ["{\n\t;\n}"]),
    ("{\n\tstruct a b;\n\treturn c;\n}", []),
    ("x = { .a = 0x10, .b = c };", ["x = {  .b = c };", "{ .a = 17,", "{ .a = 15,", "0x10, };"]),
    ("/* a < b */", []),
    ('"a < b"', []),
    ("#define A(b) ((b) < 2)", []),
    ("#define A 30ULL", ["#define A 31ULL", "#define A 29ULL"]),
    ('_Static_assert(a == 2,\n"text");', []),
]


@pytest.mark.parametrize(("source", "mutants"), PYTHON)
def test_an_expression_has_these_mutants(source: str, mutants: list[str]) -> None:
    text = f"x = {source}".encode()
    made = [edit.applied_to(text).decode() for edit in python_edits(text)]
    assert [f"x = {mutant}" for mutant in mutants] == made


@pytest.mark.parametrize(("source", "parts"), STATEMENTS)
def test_a_statement_has_mutants_with_these_parts(source: str, parts: list[str]) -> None:
    made = [edit.applied_to(source.encode()).decode() for edit in python_edits(source.encode())]
    assert len(parts) == len(made)
    for part in parts:
        assert sum(part in mutant for mutant in made) == 1


@pytest.mark.parametrize(("source", "parts"), C)
def test_a_piece_of_c_has_mutants_with_these_parts(source: str, parts: list[str]) -> None:
    made = [edit.applied_to(source.encode()).decode() for edit in c_edits(source.encode())]
    assert len(parts) == len(made), made
    for part in parts:
        assert sum(part in mutant for mutant in made) == 1, part


def test_a_mutant_names_its_line_and_shows_its_diff() -> None:
    source = dedent("""\
        # A naïve comment: columns of ast count bytes.
        a = b < c
        """).encode()
    (edit,) = python_edits(source)
    assert edit.line(source) == 2
    assert edit.diff(source) == "    -a = b < c\n    +a = b <= c"
